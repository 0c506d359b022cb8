"""What a detector's report rests on: each test image with its boxes told apart, right, false or missed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from tasks.dataset.entries import SPLITS
from tasks.evaluate.records import ImagePrediction
from tasks.metrics.detection import DetectionMetrics
from tasks.metrics.matching import match_boxes
from tasks.report.facts import Confusions, RunFacts
from tasks.report.inputs import ReportInputs
from tasks.vision.boxes import BoundingBox, DetectedBox

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class JudgedImage:
    """A test image: what is there, and what the model gave.

    Attributes:
        source_ref: the image.
        true_boxes: all true boxes.
        found: given boxes that match a true box of their label, the surest first.
        false_alarms: given boxes that match none, the surest first.
        missed: true boxes that no given box of their label matches.
        mistaken: of the missed and the false ones those that match but for the label.
        surest_withheld: highest confidence of a box that does not reach its label's threshold; 0 without one.
    """

    source_ref: str
    true_boxes: tuple[BoundingBox, ...]
    found: tuple[DetectedBox, ...]
    false_alarms: tuple[DetectedBox, ...]
    missed: tuple[BoundingBox, ...]
    mistaken: tuple[tuple[BoundingBox, DetectedBox], ...]
    surest_withheld: float

    @property
    def given(self) -> tuple[DetectedBox, ...]:
        """All given boxes, right ones first."""
        return self.found + self.false_alarms

    @property
    def errors(self) -> int:
        """Number of false alarms and missed boxes."""
        return len(self.false_alarms) + len(self.missed)

    @property
    def surest_false_alarm(self) -> float:
        """Highest confidence of a false alarm; 0 without one."""
        return max((box.confidence for box in self.false_alarms), default=0.0)

    @property
    def certainty(self) -> float:
        """How far a right answer is from a wrong one: the least sure box given, or the surest one withheld."""
        return min([1.0 - self.surest_withheld, *(box.confidence for box in self.found)])


def judge_image(prediction: ImagePrediction) -> JudgedImage:
    """Tell the boxes of a test image apart."""
    truths = prediction.true_boxes or ()
    boxes = sorted(prediction.boxes or (), key=lambda box: -box.confidence)
    given = [box for box in boxes if box.is_given]
    matches = match_boxes(truths, given)
    false_alarms = _unmatched(given, matches.truth_of)
    missed = _unmatched(truths, matches.found_of)
    blind = match_boxes(missed, false_alarms, same_label=False)
    return JudgedImage(
        source_ref=prediction.source_ref,
        true_boxes=truths,
        found=tuple(box for box, match in zip(given, matches.truth_of, strict=True) if match is not None),
        false_alarms=false_alarms,
        missed=missed,
        mistaken=tuple((missed[t], false_alarms[f]) for f, t in enumerate(blind.truth_of) if t is not None),
        surest_withheld=max((box.confidence for box in boxes if not box.is_given), default=0.0),
    )


def _unmatched(boxes: Sequence[T], matches: Sequence[int | None]) -> tuple[T, ...]:
    return tuple(box for box, match in zip(boxes, matches, strict=True) if match is None)


def errors_first(images: Sequence[JudgedImage]) -> list[JudgedImage]:
    """Return wrong images, most errors and surest false alarms first; then right ones, the least sure first."""
    wrong = sorted((i for i in images if i.errors), key=lambda i: (-i.errors, -i.surest_false_alarm, i.source_ref))
    right = sorted((i for i in images if not i.errors), key=lambda i: (i.certainty, i.source_ref))
    return wrong + right


class DetectionFacts(RunFacts[DetectionMetrics]):
    """What several rules need of a detector, computed once."""

    def __init__(self, inputs: ReportInputs[DetectionMetrics]) -> None:
        super().__init__(inputs)
        self.images = [judge_image(one) for one in inputs.predictions]

    @cached_property
    def counts(self) -> dict[str, int]:
        """Boxes per label over all splits."""
        per_split = self.boxes_by_split
        return {label: sum(per_split[label].values()) for label in self.inputs.labels}

    @cached_property
    def boxes_by_split(self) -> dict[str, dict[str, int]]:
        """Boxes per label and split."""
        counted = {
            split: Counter(box.label for entry in self.inputs.entries.get(split, ()) for box in entry.truth.boxes or ())
            for split in SPLITS
        }
        return {label: {split: counted[split][label] for split in SPLITS} for label in self.inputs.labels}

    @cached_property
    def tested(self) -> Counter[str]:
        """True boxes of the test images per label."""
        return Counter(box.label for image in self.images for box in image.true_boxes)

    @cached_property
    def missed(self) -> Counter[str]:
        """Missed boxes per label."""
        return Counter(box.label for image in self.images for box in image.missed)

    @cached_property
    def confusions(self) -> Confusions:
        """True boxes that were given another label."""
        mistakes = Counter((truth.label, given.label) for image in self.images for truth, given in image.mistaken)
        return Confusions(self.tested, mistakes)
