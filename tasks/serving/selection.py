"""Which of a model's findings are told: at or above a confidence, the surest first, at most so many."""

from collections.abc import Iterator
from dataclasses import dataclass

from tasks.serving.service import Answer
from tasks.vision.boxes import DetectedBox


@dataclass(frozen=True, slots=True)
class RatioBox:
    """A box as ratios of the image's width and height, 0 to 1; it ends within the image."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Selected:
    """One label that is told of an image; `confidence` is 0 to 1, `box` is None where it is the whole image's."""

    label: str
    confidence: float
    box: RatioBox | None = None


def select(answer: Answer, *, min_confidence: float | None = None, max_results: int | None = None) -> list[Selected]:
    """Choose what is told of an image: the surest first, equals by label, then by the box's left and top edges.

    Args:
        answer: of the service.
        min_confidence: 0 to 100: tell every label or box at or above it. None: each label's own threshold decides.
        max_results: tell so many at most; None tells all.
    """
    # An anomaly model's image may be abnormal without a box: then its label is told.
    has_boxes = answer.task == "detection" or answer.prediction.boxes
    found = _boxes(answer, min_confidence) if has_boxes else _labels(answer, min_confidence)
    return sorted(found, key=_order)[:max_results]


def _labels(answer: Answer, min_confidence: float | None) -> Iterator[Selected]:
    for label, confidence in answer.prediction.confidences.items():
        least = answer.thresholds[label] if min_confidence is None else min_confidence / 100
        if confidence >= least:
            yield Selected(label, confidence)


def _boxes(answer: Answer, min_confidence: float | None) -> Iterator[Selected]:
    for box in answer.prediction.boxes:
        if box.is_given if min_confidence is None else box.confidence >= min_confidence / 100:
            yield Selected(box.label, box.confidence, _ratios(box, answer.width, answer.height))


def _ratios(box: DetectedBox, width: int, height: int) -> RatioBox:
    left, top = box.left / width, box.top / height
    # Rounding must not carry a box that touches the image's edge beyond it.
    return RatioBox(left, top, min(box.width / width, 1 - left), min(box.height / height, 1 - top))


def _order(one: Selected) -> tuple[float, str, float, float]:
    left, top = (one.box.left, one.box.top) if one.box else (0.0, 0.0)
    return -one.confidence, one.label, left, top
