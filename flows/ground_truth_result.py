"""The result of a ground-truth run: the JSON line on stdout, what `ground_truth()` returns."""

from collections.abc import Mapping
from typing import Literal, cast

from prefect.states import Completed
from pydantic import BaseModel

from tasks.dataset.entries import Split
from tasks.export.records import ExportedGroundTruth
from tasks.ingest.records import IngestedImages
from tasks.manifest.records import Manifest
from tasks.stores.content import StageRecord


class GroundTruthResult(BaseModel, frozen=True):
    """Everything a caller needs to know of one ground-truth run.

    Attributes:
        status: `written`, or `rejected` when the managed service's rules were asked for and the dataset as a whole
            breaks one; the files are written all the same.
        reasons: the rules it breaks, a sentence each.
        totals: number of images by split.
        images: number of images by split and label.
        boxes: number of boxes by split and label.
        negatives: number of images by split that are known to have no box.
        groups: number of groups of images that stay together.
        findings: number of findings by code.
        files: references of all files in `output`.
        seconds: wall time by stage, of this run.
        reused: by stage, whether its output was there already.
    """

    schema_version: int = 1
    status: Literal["written", "rejected"]
    reasons: tuple[str, ...]
    task: str
    dataset_name: str
    dataset_digest: str
    manifest_digest: str
    layout: str
    root: str
    labels: tuple[str, ...]
    totals: dict[Split, int]
    images: dict[Split, dict[str, int]]
    boxes: dict[Split, dict[str, int]]
    negatives: dict[Split, int]
    groups: int
    findings: dict[str, int]
    output: str
    format: str
    files: tuple[str, ...]
    report_path: str
    mlflow_run_id: str
    prefect_flow_run_id: str
    seconds: dict[str, float]
    reused: dict[str, bool]


def finished(result: GroundTruthResult) -> GroundTruthResult:
    """Let the Prefect UI show the status as the run's state; a caller of the flow still gets the result itself."""
    message = "; ".join(result.reasons) or f"{result.dataset_name} version {result.dataset_digest[:12]}"
    # Prefect hands a caller the state's data.
    return cast(GroundTruthResult, Completed(name=result.status.capitalize(), message=message, data=result))


def collect(
    flow_run_id: str,
    images: IngestedImages,
    manifest: Manifest,
    exported: ExportedGroundTruth,
    stages: Mapping[str, StageRecord],
) -> GroundTruthResult:
    """Assemble the result from the stages' records."""
    return GroundTruthResult(
        status="rejected" if exported.reasons else "written",
        reasons=exported.reasons,
        task=manifest.task,
        dataset_name=manifest.dataset_name,
        dataset_digest=manifest.dataset_digest,
        manifest_digest=manifest.manifest_digest,
        layout=images.layout,
        root=images.root,
        labels=manifest.labels,
        totals=manifest.totals,
        images=manifest.images,
        boxes=manifest.boxes,
        negatives=manifest.negatives,
        groups=manifest.groups,
        findings=exported.findings,
        output=exported.folder,
        format=exported.format,
        files=exported.files,
        report_path=exported.report_path,
        mlflow_run_id=exported.mlflow_run_id,
        prefect_flow_run_id=flow_run_id,
        seconds={name: record.seconds for name, record in stages.items()},
        reused={name: record.reused for name, record in stages.items()},
    )
