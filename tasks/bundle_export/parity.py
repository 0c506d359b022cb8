"""How far the answers of two models lie apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from tasks.bundle.format import ModelCard
from tasks.bundle.predictor import Prediction
from tasks.bundle_export.records import Parity
from tasks.metrics.matching import match_boxes
from tasks.vision.boxes import BoundingBox, DetectedBox

UNSURE = 1e-3
"""A box that lies closer to the lowest confidence told may be told by one model and not by the other."""


@dataclass(frozen=True, slots=True)
class _BoxParity:
    confidence: float
    edge_pixels: float
    unmatched: tuple[DetectedBox, ...]


def measure_parity(card: ModelCard, expected: Sequence[Prediction], found: Sequence[Prediction]) -> Parity:
    """Compare the answers on the same images, one by one; boxes are paired by label and overlap."""
    pairs = list(zip(expected, found, strict=True))
    gaps = [_label_gaps(one.confidences, other.confidences) for one, other in pairs]
    boxes = [_box_parity(card, one.boxes, other.boxes) for one, other in pairs]
    return Parity(
        images=len(pairs),
        confidence_difference=max((*(max(gap) for gap in gaps), *(box.confidence for box in boxes)), default=0.0),
        mean_confidence_difference=float(np.mean(gaps)) if gaps else 0.0,
        edge_difference_pixels=max((box.edge_pixels for box in boxes), default=0.0),
        unmatched_boxes=sum(len(box.unmatched) for box in boxes),
        unmatched_given_boxes=sum(one.is_given for box in boxes for one in box.unmatched),
    )


def _label_gaps(expected: Mapping[str, float], found: Mapping[str, float]) -> list[float]:
    return [abs(found[label] - confidence) for label, confidence in expected.items()]


def _box_parity(card: ModelCard, expected: Sequence[DetectedBox], found: Sequence[DetectedBox]) -> _BoxParity:
    # Matching looks at labels and edges only, and both kinds of boxes have them.
    matches = match_boxes(cast(Sequence[BoundingBox], expected), found)
    pairs = [(expected[place], box) for place, box in zip(matches.truth_of, found, strict=True) if place is not None]
    sure = max(_lowest_told(card, expected), _lowest_told(card, found)) + UNSURE
    partners = [*zip(expected, matches.found_of, strict=True), *zip(found, matches.truth_of, strict=True)]
    return _BoxParity(
        confidence=max((abs(one.confidence - other.confidence) for one, other in pairs), default=0.0),
        edge_pixels=max((_edge_gap(one, other) for one, other in pairs), default=0.0),
        unmatched=tuple(box for box, partner in partners if partner is None and box.confidence > sure),
    )


def _lowest_told(card: ModelCard, boxes: Sequence[DetectedBox]) -> float:
    if card.decoding is None:
        return 0.0
    return boxes[-1].confidence if len(boxes) == card.decoding.max_boxes else card.decoding.score_floor


def _edge_gap(one: DetectedBox, other: DetectedBox) -> float:
    return max(
        abs(one.left - other.left),
        abs(one.top - other.top),
        abs(one.right - other.right),
        abs(one.bottom - other.bottom),
    )
