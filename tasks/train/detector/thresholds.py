"""Each label's threshold, from boxes found in images the network did not learn from, as far as there are enough."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from tasks.metrics.detection import box_threshold
from tasks.metrics.matching import FoundBoxes, TrueBoxes
from tasks.vision.boxes import BoundingBox, DetectedBox

MIN_VALIDATION_BOXES = 10
DEFAULT_THRESHOLD = 0.5
_ANY = "any"

Box = TypeVar("Box", BoundingBox, DetectedBox)


@dataclass(frozen=True, slots=True)
class Judged:
    """Images with what was found in them, and whether the network had learned from them."""

    name: str
    truths: TrueBoxes
    detections: FoundBoxes
    was_learned_from: bool = False


def choose_thresholds(labels: Sequence[str], judged: Sequence[Judged]) -> tuple[dict[str, float], dict[str, str]]:
    """Return each label's best-F1 threshold, and what it was chosen on.

    A label takes the first of `judged` that holds `MIN_VALIDATION_BOXES` true boxes of it, if that one was not learned
    from. Where none does, one threshold is chosen for all such labels together, on the first of `judged` with so many
    true boxes, else the first with any: a rough common value is better than one that a single box decides.
    """
    unseen = [one for one in judged if not one.was_learned_from]
    common = None
    thresholds, sources = {}, {}
    for label in labels:
        enough = next((one for one in unseen if _count(one.truths, label) >= MIN_VALIDATION_BOXES), None)
        if enough:
            thresholds[label], sources[label] = box_threshold(enough.truths, enough.detections, label), enough.name
        else:
            common = common or _common(judged)
            thresholds[label], sources[label] = common
    return thresholds, sources


def _common(judged: Sequence[Judged]) -> tuple[float, str]:
    enough = [one for one in judged if sum(map(len, one.truths)) >= MIN_VALIDATION_BOXES]
    for one in enough or judged:
        if any(one.truths):
            truths = [[_as_any(box) for box in boxes] for boxes in one.truths]
            found = [[_as_any(box) for box in boxes] for boxes in one.detections]
            return box_threshold(truths, found, _ANY), f"{one.name}, all labels together"
    return DEFAULT_THRESHOLD, "nothing"


def _as_any(box: Box) -> Box:
    return replace(box, label=_ANY)


def _count(truths: TrueBoxes, label: str) -> int:
    return sum(box.label == label for boxes in truths for box in boxes)
