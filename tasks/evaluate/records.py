"""What the evaluate stage tells the stages after it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from tasks.metrics.matching import match_boxes
from tasks.metrics.task_metrics import TaskMetrics
from tasks.stores.content import StageRecord
from tasks.vision.boxes import BoundingBox, DetectedBox
from tasks.vision.heat_maps import HeatMap

PREDICTIONS_FILE = "predictions.jsonl"
SUMMARY_FILE = "EvaluationResultSummary.json"
SNAPSHOT_FILE = "EvaluationSnapshot.manifest"
FIGURES_FOLDER = "figures"


class GateVerdict(BaseModel, frozen=True, extra="forbid"):
    """Whether the figures reach the limits; a reason is a sentence per limit that was missed.

    `judged_on` names, per label, which figures were judged: `test` or `cross-validation`, or `too few boxes` when a
    detector's label was not judged by itself. `macro_f1` is the figure of a classifier, `map_50` that of a detector,
    `image_auroc` that of an anomaly model; None when there was nothing to judge.
    """

    passed: bool
    reasons: tuple[str, ...]
    judged_on: dict[str, str]
    macro_f1: float | None = None
    map_50: float | None = None
    image_auroc: float | None = None


NOT_JUDGED = GateVerdict(passed=False, reasons=("the gate was not judged",), judged_on={})


class ImagePrediction(BaseModel, frozen=True, extra="forbid"):
    """One test image with its truth and the model's answer.

    `confidences` holds all labels, highest first; `given` those at or above their thresholds. A detector's answer has
    boxes besides: `true_boxes` in the order of the manifest, `boxes` the surest first; both are None for a classifier.
    An anomaly model's has boxes around hot regions and a `heat_map`, which others have not. `labels_per_image` is that
    of the model's card.
    """

    source_ref: str
    sha256: str
    truth: tuple[str, ...]
    confidences: dict[str, float]
    given: tuple[str, ...]
    true_boxes: tuple[BoundingBox, ...] | None = None
    boxes: tuple[DetectedBox, ...] | None = None
    heat_map: HeatMap | None = None
    labels_per_image: Literal["any"] | None = None

    @property
    def top_label(self) -> str:
        """The label with the highest confidence."""
        return next(iter(self.confidences))

    @property
    def given_boxes(self) -> tuple[DetectedBox, ...]:
        """The boxes that reach their label's threshold, the surest first."""
        return tuple(box for box in self.boxes or () if box.is_given)

    @property
    def is_correct(self) -> bool:
        """Whether the top label is true; of a detector, whether its given boxes are the true ones, none more or less.

        A given box is a true one when label and place agree, the latter as `tasks/metrics/matching.py` has it. An
        anomaly model is right when it gives its label to an abnormal image, or none to a normal one, and a classifier
        of any number of labels when it gives those that are true and no other.
        """
        if self.heat_map is not None or self.labels_per_image == "any":
            return set(self.given) == set(self.truth)
        if self.boxes is None:
            return self.top_label in self.truth
        matches = match_boxes(self.true_boxes or (), self.given_boxes)
        return None not in matches.truth_of and None not in matches.found_of


class Evaluation(StageRecord, frozen=True):
    """A model bundle measured on the test split.

    Attributes:
        entry_path: the store entry with predictions, figures and the service-shaped files.
        bundle_digest: of the bundle that was measured.
        manifest_digest: of the manifests whose test images it was measured on.
        metrics: the figures.
        gate: the verdict; set for each run anew, since limits may change while figures stay.
    """

    entry_path: str = ""
    bundle_digest: str
    manifest_digest: str
    metrics: TaskMetrics
    gate: GateVerdict = NOT_JUDGED

    @property
    def figures_path(self) -> Path:
        """Folder of the figures, each as PNG and SVG."""
        return Path(self.entry_path) / FIGURES_FOLDER

    @property
    def predictions_path(self) -> Path:
        """File with one `ImagePrediction` per line."""
        return Path(self.entry_path) / PREDICTIONS_FILE


def read_predictions(path: Path) -> Iterator[ImagePrediction]:
    """Yield the predictions of a file, one line at a time."""
    with path.open("rb") as stream:
        for line in stream:
            yield ImagePrediction.model_validate_json(line)
