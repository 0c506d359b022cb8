"""What the export of a bundle tells the flow: where it comes from, what was made, how both compare, where it lies."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from tasks.evaluate.records import GateVerdict
from tasks.manifest.records import Manifest
from tasks.metrics.anomaly import AnomalyMetrics
from tasks.metrics.detection import DetectionMetrics
from tasks.metrics.task_metrics import TaskMetrics
from tasks.stores.content import StageRecord
from tasks.train.records import TrainedModel

ExportFormat = Literal["onnx", "onnx-int8", "openvino"]
EXPORT_FOLDER = "export"
REPORT_FILE = "export.json"
TABLE_FILE = "export.md"


class FoundVersion(StageRecord, frozen=True):
    """A registered version: its bundle, and what this machine has of the evidence for it.

    Attributes:
        model_name: registered model.
        model_version: its version.
        model_uri: its `models:/` address.
        bundle_digest: digest of the registered bundle.
        bundle_path: where the fetched bundle lies.
        manifest: the version's own manifests, whose roots hold the images; None when they are not here.
        predictions_path: the answers to the test images that it was evaluated by; empty when they are not here.
    """

    model_name: str
    model_version: str
    model_uri: str
    bundle_digest: str
    bundle_path: str
    manifest: Manifest | None = None
    predictions_path: str = ""


class ExportSource(FoundVersion, frozen=True):
    """A registered version with what it learned from and was measured on.

    Attributes:
        manifest: the version's own manifests; their roots hold the images.
        model: the training that made the bundle.
    """

    manifest: Manifest
    model: TrainedModel


class ExportedBundle(StageRecord, frozen=True):
    """An export in the content store, not yet compared with the registered bundle.

    Attributes:
        entry_path: the store entry that holds the folder.
        format: what was made.
        digest: of the export: that of its `model.json` or `openvino.json`.
        calibration_images: training images that the ranges of 8-bit numbers were taken from; 0 for floats.
    """

    entry_path: str = ""
    format: ExportFormat
    digest: str
    calibration_images: int

    @property
    def folder(self) -> Path:
        """The exported files."""
        return Path(self.entry_path) / EXPORT_FOLDER


class ModelFigures(BaseModel, frozen=True, extra="forbid"):
    """One row of the table.

    Attributes:
        megabytes: of the files that a prediction opens, in millions of bytes.
        milliseconds: per image, one image at a time, framed already; the best of several rounds.
        metric: macro-F1 of a classifier, mAP50 of a detector, image AUROC of an anomaly model, on the test images;
            0 to 1.
    """

    megabytes: float
    milliseconds: float
    metric: float


class Parity(BaseModel, frozen=True, extra="forbid"):
    """How far the answers of an export lie from those of the registered bundle, over all test images.

    Attributes:
        images: number of images compared.
        confidence_difference: the largest difference of a confidence, 0 to 1.
        mean_confidence_difference: the mean difference of a label's confidence in an image, 0 to 1.
        edge_difference_pixels: the largest difference of an edge of boxes found by both, in pixels of the image; 0 for
            a classifier.
        unmatched_boxes: boxes that only one of the two found, however unsure; 0 for a classifier.
        unmatched_given_boxes: those of them that reach their label's threshold.
    """

    images: int
    confidence_difference: float
    mean_confidence_difference: float
    edge_difference_pixels: float
    unmatched_boxes: int
    unmatched_given_boxes: int


class Comparison(StageRecord, frozen=True):
    """The registered bundle and its export, side by side on the same images in the same process."""

    original: ModelFigures
    exported: ModelFigures
    parity: Parity
    metrics: TaskMetrics
    """Of the export, on the test images, with the cross-validated figures of the training."""

    @property
    def metric_name(self) -> str:
        """The figure that a loss is counted in."""
        if isinstance(self.metrics, AnomalyMetrics):
            return "image AUROC"
        return "mAP50" if isinstance(self.metrics, DetectionMetrics) else "macro-F1"

    @property
    def metric_loss(self) -> float:
        """What the export loses of it; below 0 when it gains."""
        return self.original.metric - self.exported.metric


class ExportReport(BaseModel, frozen=True):
    """Everything told of one export: `export.json`, and the greater part of the flow's result.

    Attributes:
        status: `exported`, or `rejected`; then nothing was written and `reasons` say why.
        folder: where the export lies; empty when it was rejected.
        digest: of the export.
        bundle_digest: of the registered bundle.
        files: references of all files in `folder`, with a slash.
        max_metric_loss: the largest loss allowed, absolute.
        gate: the verdict on the exported bundle's figures.
    """

    schema_version: int = 1
    status: Literal["exported", "rejected"]
    reasons: tuple[str, ...]
    format: ExportFormat
    folder: str
    digest: str
    files: tuple[str, ...]
    model_name: str
    model_version: str
    model_uri: str
    bundle_digest: str
    task: str
    dataset_name: str
    dataset_digest: str
    calibration_images: int
    metric: str
    metric_loss: float
    max_metric_loss: float
    original: ModelFigures
    exported: ModelFigures
    parity: Parity
    metrics: TaskMetrics
    gate: GateVerdict


class PublishedExport(StageRecord, frozen=True):
    """An export that was written to its folder, or refused."""

    report: ExportReport
