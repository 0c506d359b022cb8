"""All that a report shows, gathered: the report reads nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.dataset.entries import ImageEntry, Split
from tasks.dataset.findings import Finding
from tasks.evaluate.records import GateVerdict, ImagePrediction
from tasks.inference_test.records import InferenceOutcome
from tasks.metrics.classification import ClassificationMetrics


@dataclass(frozen=True, slots=True)
class OutOfFoldPrediction:
    """A cross-validated image: its label, and the confidences of a model that did not see it."""

    source_ref: str
    label: str
    confidences: dict[str, float]


@dataclass(frozen=True, slots=True)
class ReportInputs:
    """One training run, as its report needs it.

    Attributes:
        model_name: registered model.
        model_version: its version.
        status: `staged`, `registered` or `rejected`.
        labels: all labels, sorted.
        metrics: the figures on the test split, with the cross-validated ones.
        gate: the gate's verdict.
        inference: the inference test's outcome.
        predictions: every test image's prediction.
        out_of_fold: every cross-validated image's prediction (train and validation splits).
        entries: the images of each split.
        roots: per split, the folder to which references are relative.
        findings: what was found wrong at ingest.
        figures_path: folder with NAME.svg and NAME.png of confusion_matrix, per_label, precision_recall, roc,
            calibration.
        provenance: what made this model (name to value), in the order to show.
    """

    model_name: str
    model_version: str
    status: str
    labels: Sequence[str]
    metrics: ClassificationMetrics
    gate: GateVerdict
    inference: InferenceOutcome
    predictions: Sequence[ImagePrediction]
    out_of_fold: Sequence[OutOfFoldPrediction]
    entries: Mapping[Split, Sequence[ImageEntry]]
    roots: Mapping[Split, Path]
    findings: Sequence[Finding]
    figures_path: Path
    provenance: Mapping[str, str]
