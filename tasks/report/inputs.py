"""All that a report shows, gathered: the report reads nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeVar

from tasks.dataset.entries import ImageEntry, Split
from tasks.dataset.findings import Finding
from tasks.evaluate.records import GateVerdict, ImagePrediction
from tasks.explain.records import ExplainedImage
from tasks.inference_test.records import InferenceOutcome
from tasks.metrics.task_metrics import TaskMetrics
from tasks.promote.records import VersionComparison

MetricsT = TypeVar("MetricsT", bound=TaskMetrics)
Task = Literal["classification", "detection", "anomaly"]


@dataclass(frozen=True, slots=True)
class OutOfFoldPrediction:
    """A cross-validated image: its labels, and the confidences of a model that did not see it."""

    source_ref: str
    truth: tuple[str, ...]
    confidences: dict[str, float]


@dataclass(frozen=True, slots=True)
class ReportInputs(Generic[MetricsT]):
    """One training run, as its report needs it.

    Attributes:
        task: what the model does; it tells of which kind the metrics are.
        model_name: registered model.
        model_version: its version.
        status: `staged`, `registered` or `rejected`.
        labels: all labels, sorted.
        metrics: the figures on the test split, with the cross-validated ones.
        gate: the gate's verdict.
        inference: the inference test's outcome.
        predictions: every test image's prediction.
        out_of_fold: every cross-validated image's prediction (train and validation splits); a detector has none.
        entries: the images of each split.
        roots: per split, the folder to which references are relative.
        findings: what was found wrong at ingest.
        figures_path: folder with NAME.svg and NAME.png of the figures that `wording.py` names for the task.
        provenance: what made this model (name to value), in the order to show.
        input_size: side of the square the network sees (pixels).
        chosen: what training settled on (name to value); `best_epoch` is the epoch that was kept.
        history: per epoch its figures by name: `epoch`, `loss` and its parts `classification_loss`, `box_loss` and
            `centreness_loss`, `validation_map_50` where there is a validation split, `learning_rate`, `seconds`;
            empty for a model that is not trained in epochs.
        staging_reasons: why a version that passed gate and inference test does not stand in staging.
        comparison: with the version that stood in staging before; None when that was not reached.
        trials: what was tried before the choice, and its log loss on images that it did not learn from; empty where
            there was nothing to choose.
        untried: what was not tried, or not to the end, and why.
        kept: which of `trials` the model is.
        explained: where a classifier looks in test images, errors first; empty where that was not asked for.
    """

    task: Task
    model_name: str
    model_version: str
    status: str
    labels: Sequence[str]
    metrics: MetricsT
    gate: GateVerdict
    inference: InferenceOutcome
    predictions: Sequence[ImagePrediction]
    out_of_fold: Sequence[OutOfFoldPrediction]
    entries: Mapping[Split, Sequence[ImageEntry]]
    roots: Mapping[Split, Path]
    findings: Sequence[Finding]
    figures_path: Path
    provenance: Mapping[str, str]
    input_size: int
    chosen: Mapping[str, str | int | float] = field(default_factory=dict)
    history: Sequence[Mapping[str, float]] = ()
    staging_reasons: Sequence[str] = ()
    comparison: VersionComparison | None = None
    trials: Mapping[str, float] = field(default_factory=dict)
    untried: Mapping[str, str] = field(default_factory=dict)
    kept: str = ""
    explained: Sequence[ExplainedImage] = ()
