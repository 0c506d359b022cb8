"""From any labelled source to manifests of train, validation and test images, with pictures and a data report."""

from prefect import flow
from prefect.runtime import flow_run

from flows.config import DataConfig, GroundTruthConfig, GroundTruthTask, ManifestFormat, MaskConfig, ShardsConfig
from flows.ground_truth_result import GroundTruthResult, collect, finished
from flows.orphaned_runs import begin
from tasks.export.task import export_ground_truth, require_exportable
from tasks.ingest.task import ingest_images
from tasks.manifest.task import build_manifest
from tasks.report.task import write_data_report


@flow(name="ground-truth", persist_result=False)
def ground_truth(
    task: GroundTruthTask = "auto",
    data: DataConfig = DataConfig(),  # noqa: B008 - frozen, and the form shows its fields
    masks: MaskConfig = MaskConfig(),  # noqa: B008
    output: str = "",
    format: ManifestFormat = "ground-truth",
    reference_prefix: str = "",
    shards: ShardsConfig = ShardsConfig(),  # noqa: B008
) -> GroundTruthResult:
    """Turn any labelled source into manifests of train, validation and test images.

    Args:
        task: What the ground truth is for; `auto` takes boxes where the source has boxes or masks.
        data: Where the images come from and how they are divided.
        masks: How masks become bounding boxes.
        output: Folder to write to; empty takes one in Keeneye's home.
        format: The format of the files written.
        reference_prefix: Put before every image reference written.
        shards: Who carries out the work on images.
    """
    config = GroundTruthConfig(
        task=task,
        data=data,
        masks=masks,
        output=output,
        format=format,
        reference_prefix=reference_prefix,
        shards=shards,
    )
    require_exportable(config)
    home = begin()

    images = ingest_images(home, data, shards)
    manifest = build_manifest(home, images, data, masks, task)
    described = write_data_report(home, images, manifest, data, masks)
    exported = export_ground_truth(home, images, manifest, described, config)

    stages = {"ingest": images, "manifest": manifest, "data_report": described, "export": exported}
    return finished(collect(str(flow_run.id or ""), images, manifest, exported, stages))
