"""The result of a training run: the JSON line on stdout, what `train()` returns. Fields are added, never renamed."""

from collections.abc import Mapping
from typing import Literal, cast

from prefect.states import Completed
from pydantic import BaseModel

from tasks.dataset.findings import add_counts
from tasks.evaluate.records import Evaluation
from tasks.inference_test.records import InferenceOutcome, InferenceTest
from tasks.ingest.records import IngestedImages
from tasks.manifest.records import LabelsPerImage, Manifest
from tasks.metrics.task_metrics import TaskMetrics
from tasks.promote.records import VersionComparison
from tasks.register.records import RegisteredVersion
from tasks.report.records import WrittenReport
from tasks.stores.content import StageRecord
from tasks.train.records import TrainedModel, Trial


class Counts(BaseModel, frozen=True):
    """How much of what: `images` and `boxes` by split and label, `findings` by code.

    `negatives` are images known to have no box, or no label, by split; boxes are a detector's. `labels_per_image` is
    `one`, or `any` where a classifier's images may have several labels, or none.
    """

    images: dict[str, dict[str, int]]
    boxes: dict[str, dict[str, int]]
    negatives: dict[str, int]
    findings: dict[str, int]
    labels_per_image: LabelsPerImage = "one"


class Gate(BaseModel, frozen=True):
    """The gate's verdict, with a sentence per limit that was missed.

    `macro_f1` of a classifier, `map_50` of a detector or `image_auroc` of an anomaly model is the figure it judged;
    `judged_on` says per label whether that was `test` or `cross-validation`.
    """

    passed: bool
    reasons: tuple[str, ...]
    macro_f1: float | None
    map_50: float | None
    image_auroc: float | None
    judged_on: dict[str, str]


class TrainResult(BaseModel, frozen=True):
    """Everything a caller needs to know of one training run.

    Attributes:
        status: `staged` (passed and given the alias), `registered` (passed), or `rejected`.
        reasons: why it was rejected, or does not stand in staging yet: it waits for a person who approves it, or
            another move was faster; a sentence each.
        replaced: number of the version that it replaced in staging, or was to; empty when none stood there.
        comparison: of the two on the same images; None when staging was not wanted or not reached.
        report_path: the page; empty when it could not be made.
        warnings: what went wrong without touching the model, such as a page that could not be made; a sentence each.
        trials: what training tried before its choice, what it kept, and what it did not try and why.
        seconds: wall time by stage, of this run.
        reused: by stage, whether its output was there already.
    """

    schema_version: int = 1
    status: Literal["staged", "registered", "rejected"]
    task: str
    model_name: str
    model_version: str
    model_uri: str
    aliases: tuple[str, ...]
    mlflow_run_id: str
    prefect_flow_run_id: str
    dataset_name: str
    dataset_digest: str
    counts: Counts
    metrics: TaskMetrics
    gate: Gate
    inference_test: InferenceOutcome
    reasons: tuple[str, ...]
    replaced: str
    comparison: VersionComparison | None
    report_path: str
    warnings: tuple[str, ...] = ()
    trials: tuple[Trial, ...] = ()
    seconds: dict[str, float]
    reused: dict[str, bool]


def finished(result: TrainResult) -> TrainResult:
    """Let the Prefect UI show the status as the run's state; a caller of the flow still gets the result itself."""
    message = "; ".join(result.reasons) or f"{result.model_name} version {result.model_version}"
    # Prefect hands a caller the state's data.
    return cast(TrainResult, Completed(name=result.status.capitalize(), message=message, data=result))


def collect(
    task: str,
    flow_run_id: str,
    images: IngestedImages,
    manifest: Manifest,
    model: TrainedModel,
    evaluation: Evaluation,
    trial: InferenceTest,
    version: RegisteredVersion,
    report: WrittenReport,
    stages: Mapping[str, StageRecord],
) -> TrainResult:
    """Assemble the result from the stages' records."""
    return TrainResult.model_validate(
        {
            "status": version.status,
            "task": task,
            "model_name": version.model_name,
            "model_version": version.model_version,
            "model_uri": version.model_uri,
            "aliases": version.aliases,
            "mlflow_run_id": version.mlflow_run_id,
            "prefect_flow_run_id": flow_run_id,
            "dataset_name": manifest.dataset_name,
            "dataset_digest": manifest.dataset_digest,
            "counts": Counts(
                images=dict(manifest.images),
                boxes=dict(manifest.boxes),
                negatives=dict(manifest.negatives),
                findings=add_counts(images.findings, manifest.findings),
                labels_per_image=manifest.labels_per_image,
            ),
            "metrics": evaluation.metrics,
            "gate": Gate.model_validate(evaluation.gate.model_dump()),
            "inference_test": trial.outcome,
            "reasons": version.reasons,
            "replaced": version.replaced,
            "comparison": version.comparison,
            "report_path": report.report_path,
            "warnings": report.warnings,
            "trials": model.trials,
            "seconds": {name: record.seconds for name, record in stages.items()},
            "reused": {name: record.reused for name, record in stages.items()},
        }
    )
