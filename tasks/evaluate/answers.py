"""What the evaluation of any task starts from, and what it comes to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tasks.dataset.entries import ImageEntry
from tasks.evaluate.records import ImagePrediction
from tasks.metrics.task_metrics import Estimate, TaskMetrics

if TYPE_CHECKING:
    from tasks.evaluate.shared_figures import Drawings

MetricsT = TypeVar("MetricsT", bound=TaskMetrics, covariant=True)


@dataclass(frozen=True, slots=True)
class Answers:
    """A model's answers on the test images, and what its files tell besides.

    Attributes:
        predictions: one per test image.
        sizes: width and height of each test image (pixels), in the same order.
        labels: the model's, in its order.
        thresholds: per label, 0 to 1.
        class_ids: each label's index in the manifest.
        training_images: number of images that the model learned from.
        version_arn: names the model in the service's files.
        cross_validated: the k-fold estimate that training made, or None.
        entries: the test images, in the same order.
        root: folder to which their references are relative.
    """

    predictions: Sequence[ImagePrediction]
    sizes: Sequence[tuple[int, int]]
    labels: Sequence[str]
    thresholds: Mapping[str, float]
    class_ids: Mapping[str, int]
    training_images: int
    version_arn: str
    cross_validated: Estimate | None = None
    entries: Sequence[ImageEntry] = ()
    root: Path = Path()


@dataclass(frozen=True, slots=True)
class Measured(Generic[MetricsT]):
    """What one evaluation leaves.

    Attributes:
        metrics: the figures.
        drawings: matplotlib figures by name.
        summary: content of the service's summary file.
        snapshot: lines of the service's snapshot, one per test image.
    """

    metrics: MetricsT
    drawings: "Drawings"
    summary: dict[str, Any]
    snapshot: Sequence[dict[str, Any]]
