"""The result of a prediction run: the JSON line on stdout, what `predict()` returns. No field is ever renamed."""

from collections.abc import Mapping
from typing import Literal, cast

from prefect.states import Completed
from pydantic import BaseModel

from tasks.dataset.findings import add_counts
from tasks.ingest.records import ListedImages
from tasks.predict.records import FetchedModel, PredictedImages, WrittenPredictions
from tasks.stores.content import StageRecord


class PredictResult(BaseModel, frozen=True):
    """Everything a caller needs to know of one prediction run.

    Attributes:
        images: number of images of the source.
        predicted: number of them that were predicted; the others are named in the findings.
        with_predictions: number of images of which something was told.
        predictions: number of labels or boxes told, by label.
        findings: number of findings by code.
        shards: number of shards, and `shards_reused` those that an earlier run had done.
        files: references of all files in `output`.
        seconds: wall time by stage, of this run.
        reused: by stage, whether its output was there already.
    """

    schema_version: int = 1
    status: Literal["written"]
    task: str
    model_name: str
    model_version: str
    model_uri: str
    bundle_digest: str
    root: str
    images: int
    predicted: int
    with_predictions: int
    predictions: dict[str, int]
    findings: dict[str, int]
    shards: int
    shards_reused: int
    output: str
    files: tuple[str, ...]
    report_path: str
    prefect_flow_run_id: str
    seconds: dict[str, float]
    reused: dict[str, bool]


def finished(result: PredictResult) -> PredictResult:
    """Let the Prefect UI show what was done as the run's state; a caller of the flow still gets the result itself."""
    message = f"{result.predicted} of {result.images} images with {result.model_uri}"
    # Prefect hands a caller the state's data.
    return cast(PredictResult, Completed(name=result.status.capitalize(), message=message, data=result))


def collect(
    flow_run_id: str,
    model: FetchedModel,
    images: ListedImages,
    predicted: PredictedImages,
    written: WrittenPredictions,
    stages: Mapping[str, StageRecord],
) -> PredictResult:
    """Assemble the result from the stages' records."""
    return PredictResult(
        status="written",
        task=model.task,
        model_name=model.model_name,
        model_version=model.model_version,
        model_uri=model.model_uri,
        bundle_digest=model.bundle_digest,
        root=images.root,
        images=predicted.images,
        predicted=predicted.predicted,
        with_predictions=written.with_predictions,
        predictions=written.predictions,
        findings=add_counts(images.findings, predicted.findings),
        shards=predicted.shards,
        shards_reused=predicted.shards_reused,
        output=written.folder,
        files=written.files,
        report_path=written.report_path,
        prefect_flow_run_id=flow_run_id,
        seconds={name: record.seconds for name, record in stages.items()},
        reused={name: record.reused for name, record in stages.items()},
    )
