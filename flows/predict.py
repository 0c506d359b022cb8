"""From a registered model and any images to predictions as tables, with a summary."""

from prefect import flow
from prefect.runtime import flow_run

from flows.config import ModelAddress, ShardsConfig
from flows.orphaned_runs import begin
from flows.predict_config import ImagesConfig, OverlayCount, Overlays, Percent, PredictConfig, ShardSize
from flows.predict_result import PredictResult, collect, finished
from tasks.ingest.task import list_images
from tasks.predict.task import fetch_model, predict_images, require_predictable, write_predictions


@flow(name="predict", persist_result=False)
def predict(
    model: ModelAddress,
    source: str = PredictConfig.model_fields["source"].default,
    output: str = "",
    min_confidence: Percent | None = None,
    manifest: bool = False,
    reference_prefix: str = "",
    overlays: Overlays = "none",
    max_overlays: OverlayCount = 100,
    shard_size: ShardSize = 256,
    images: ImagesConfig = ImagesConfig(),  # noqa: B008 - frozen, and the form shows its fields
    shards: ShardsConfig = ShardsConfig(),  # noqa: B008
) -> PredictResult:
    """Run a registered model over a folder, an archive or a manifest of images.

    Args:
        model: The registered version: NAME@ALIAS, NAME/VERSION, or the same after models:/.
        source: Folder of images, archive of one, or Ground Truth manifest.
        output: Folder to write to; empty takes one in Keeneye's home.
        min_confidence: Tell every label or box at or above this confidence (0 to 100); empty takes their thresholds.
        manifest: Also write a Ground Truth manifest with machine labels, to correct and train on.
        reference_prefix: Put before every image reference of the manifest.
        overlays: Also draw pictures with labels and boxes, of images where something was found or of all.
        max_overlays: Pictures drawn at most, of the first images.
        shard_size: Images that are kept together as they are done; a stopped run goes on after them.
        images: Which image files are read.
        shards: Who carries out the work on images.
    """
    config = PredictConfig(
        model=model,
        source=source,
        output=output,
        min_confidence=min_confidence,
        manifest=manifest,
        reference_prefix=reference_prefix,
        overlays=overlays,
        max_overlays=max_overlays,
        shard_size=shard_size,
        images=images,
        shards=shards,
    )
    require_predictable(config)
    home = begin()

    fetched = fetch_model(home, config.model)
    listed = list_images(home, config.source, images.image_root, images.rewrite)
    predicted = predict_images(home, fetched, listed, config)
    written = write_predictions(home, fetched, listed, predicted, config)

    stages = {"model": fetched, "list": listed, "predict": predicted, "write": written}
    return finished(collect(str(flow_run.id or ""), fetched, listed, predicted, written, stages))
