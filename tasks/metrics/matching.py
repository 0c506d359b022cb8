"""Which found box is which true box: overlap, greedy matching, and the confusion of labels with the background.

A found box and a true box match when their intersection over union (IoU) is at least `MATCH_IOU`. Boxes are half-open
and in pixels of the image, as everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.vision.boxes import BoundingBox, DetectedBox

TrueBoxes = Sequence[Sequence[BoundingBox]]
FoundBoxes = Sequence[Sequence[DetectedBox]]

MATCH_IOU = 0.5
"""Lowest IoU of a match: that of PASCAL VOC and of COCO's AP50; the managed service publishes none."""
MAX_BOX_SHIFT_PIXELS = 0.5
"""How far an edge may lie from where the same bundle found it, at another time or in another process."""


@dataclass(frozen=True, slots=True)
class Matches:
    """Pairs of one image's true boxes and found boxes; every box is in at most one pair.

    Attributes:
        truth_of: for each found box the index of its true box, None without one.
        found_of: for each true box the index of its found box, None when it was missed.
    """

    truth_of: tuple[int | None, ...]
    found_of: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class RankedBoxes:
    """All found boxes of one label, the surest first.

    Attributes:
        confidences: F floats, 0 to 1, falling.
        hits: F booleans: whether the box matches a true box at IoU 0.5.
        given: F booleans: whether the box is given, `DetectedBox.is_given`.
        support: number of true boxes of the label, found or not.
    """

    confidences: NDArray[np.float64]
    hits: NDArray[np.bool_]
    given: NDArray[np.bool_]
    support: int


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """Precision and recall of one label's boxes at IoU 0.5, one entry per distinct confidence, falling."""

    thresholds: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


def box_overlaps(truths: Sequence[BoundingBox], found: Sequence[DetectedBox]) -> NDArray[np.float64]:
    """Return the intersection over union of every pair: T x F floats, 0 to 1."""
    true_edges, found_edges = _edges(truths)[:, None, :], _edges(found)[None, :, :]
    starts = np.maximum(true_edges[..., :2], found_edges[..., :2])
    ends = np.minimum(true_edges[..., 2:], found_edges[..., 2:])
    shared = np.prod(np.clip(ends - starts, 0.0, None), axis=-1)
    whole = _areas(true_edges) + _areas(found_edges) - shared
    overlaps: NDArray[np.float64] = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0.0)
    return overlaps


def match_boxes(truths: Sequence[BoundingBox], found: Sequence[DetectedBox], *, same_label: bool = True) -> Matches:
    """Match the found boxes of one image, surest first, equally sure ones in the order given.

    Each takes the free true box of highest IoU, if that reaches `MATCH_IOU`. What a box takes depends on surer boxes
    only: leaving out those below a threshold changes no match of the others.

    Args:
        truths: true boxes of the image.
        found: boxes found in the image, in any order.
        same_label: match boxes of equal label only.
    """
    overlaps = box_overlaps(truths, found)
    if same_label:
        overlaps[~_same_labels(truths, found)] = 0.0
    return _greedy(overlaps, overlaps, found)


def pair_same_boxes(
    found: Sequence[DetectedBox], expected: Sequence[DetectedBox], max_difference: float
) -> tuple[list[tuple[DetectedBox, DetectedBox]], list[DetectedBox]]:
    """Pair the boxes of two answers to one image; those that are about equally sure may have changed places.

    Args:
        found: one answer's boxes.
        expected: the other's.
        max_difference: of the confidences of one pair, whose labels are equal.

    Returns:
        The pairs in the order of `found`, and the boxes of either answer that the other has not.
    """
    pairs, unpaired, left = [], [], list(expected)
    for box in found:
        same_label = [one for one in left if one.label == box.label]
        near = [one for one in same_label if abs(one.confidence - box.confidence) <= max_difference]
        if near:
            closest = min(near, key=lambda one: edge_difference(one, box))
            left.remove(closest)
            pairs.append((box, closest))
        else:
            unpaired.append(box)
    return pairs, [*unpaired, *left]


def edge_difference(one: DetectedBox, other: DetectedBox) -> float:
    """Return the largest distance between equal edges of two boxes (pixels)."""
    return float(np.abs(_edges([one]) - _edges([other])).max())


def rank_boxes(truths: TrueBoxes, detections: FoundBoxes, labels: Sequence[str]) -> dict[str, RankedBoxes]:
    """Match all boxes of the given labels, and rank each label's found boxes over all images."""
    rows: dict[str, list[tuple[float, bool, bool]]] = {label: [] for label in labels}
    support = dict.fromkeys(labels, 0)
    for true_boxes, found_boxes in zip(truths, detections, strict=True):
        for true_box in true_boxes:
            if true_box.label in support:
                support[true_box.label] += 1
        matches = match_boxes(true_boxes, found_boxes)
        for box, truth in zip(found_boxes, matches.truth_of, strict=True):
            if box.label in rows:
                rows[box.label].append((box.confidence, truth is not None, box.is_given))
    return {label: _ranked(rows[label], support[label]) for label in labels}


def precision_recall(ranked: RankedBoxes) -> PrecisionRecall:
    """Return precision against recall of one label's boxes, which has true boxes."""
    # Boxes of equal confidence are given together or not at all.
    last = np.flatnonzero(np.diff(ranked.confidences, append=-1.0))
    hits = np.cumsum(ranked.hits)[last]
    return PrecisionRecall(ranked.confidences[last], hits / (last + 1), hits / ranked.support)


def precision_recall_at_50(
    truths: TrueBoxes, detections: FoundBoxes, labels: Sequence[str]
) -> dict[str, PrecisionRecall]:
    """Return precision against recall of every label that has true boxes."""
    ranked = rank_boxes(truths, detections, labels)
    return {label: precision_recall(boxes) for label, boxes in ranked.items() if boxes.support}


def confusion_with_background(truths: TrueBoxes, given: FoundBoxes, labels: Sequence[str]) -> NDArray[np.int64]:
    """Count boxes by true label (rows) and given label (columns); the last row and column are the background.

    Boxes are matched whatever their labels, surest first; among the free true boxes that overlap enough, one of the
    same label goes before all others. The last row counts given boxes where nothing is, the last column true boxes
    that were missed; the last cell is 0.

    Args:
        truths: per image, its true boxes.
        given: per image, the boxes that reach their label's threshold.
        labels: the L labels, in the order of rows and columns.

    Returns:
        (L + 1) x (L + 1) counts; a row sums to the label's true boxes, a column to the label's given boxes.
    """
    places = {label: place for place, label in enumerate(labels)}
    background = len(labels)
    matrix = np.zeros((background + 1, background + 1), dtype=np.int64)
    for true_boxes, given_boxes in zip(truths, given, strict=True):
        matches = _label_blind(true_boxes, given_boxes)
        for box, truth in zip(given_boxes, matches.truth_of, strict=True):
            row = background if truth is None else places[true_boxes[truth].label]
            matrix[row, places[box.label]] += 1
        for true_box, taken_by in zip(true_boxes, matches.found_of, strict=True):
            matrix[places[true_box.label], background] += taken_by is None
    return matrix


def _ranked(rows: list[tuple[float, bool, bool]], support: int) -> RankedBoxes:
    rows = sorted(rows, key=lambda row: -row[0])
    confidences, hits, given = zip(*rows, strict=True) if rows else ((), (), ())
    return RankedBoxes(np.array(confidences, np.float64), np.array(hits, np.bool_), np.array(given, np.bool_), support)


def _label_blind(truths: Sequence[BoundingBox], found: Sequence[DetectedBox]) -> Matches:
    overlaps = box_overlaps(truths, found)
    # IoU ends at 1: one more puts every box of the same label before all others.
    return _greedy(overlaps, overlaps + _same_labels(truths, found), found)


def _greedy(overlaps: NDArray[np.float64], preference: NDArray[np.float64], found: Sequence[DetectedBox]) -> Matches:
    free = overlaps >= MATCH_IOU
    truth_of: list[int | None] = [None] * overlaps.shape[1]
    found_of: list[int | None] = [None] * overlaps.shape[0]
    for place in sorted(range(len(found)), key=lambda place: -found[place].confidence):
        if not free[:, place].any():
            continue
        truth = int(np.where(free[:, place], preference[:, place], -1.0).argmax())
        truth_of[place], found_of[truth] = truth, place
        free[truth] = False
    return Matches(tuple(truth_of), tuple(found_of))


def _same_labels(truths: Sequence[BoundingBox], found: Sequence[DetectedBox]) -> NDArray[np.bool_]:
    rows = [[truth.label == box.label for box in found] for truth in truths]
    return np.array(rows, dtype=np.bool_).reshape(len(truths), len(found))


def _edges(boxes: Sequence[BoundingBox] | Sequence[DetectedBox]) -> NDArray[np.float64]:
    rows = [(box.left, box.top, box.right, box.bottom) for box in boxes]
    return np.array(rows, dtype=np.float64).reshape(len(rows), 4)


def _areas(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    widths, heights = edges[..., 2] - edges[..., 0], edges[..., 3] - edges[..., 1]
    return widths * heights
