"""From a detector's raw outputs to boxes: scores, decoding, suppression of overlaps.

The detector is FCOS (Tian and others, "FCOS: A Simple and Strong Anchor-free Object Detector", arXiv 2006.09214), with
the conventions of `torchvision.models.detection.fcos`: a location is the upper left corner of its cell, and the score
of a label is the geometric mean, here a weighted one, of its probability and the location's centreness.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.bundle.format import BoxDecoding
from tasks.bundle.preprocessing import Edges

MIN_SIDE_PIXELS = 1e-3
"""Boxes less wide or high than this, in pixels of the input, lie in the padding or are no boxes."""

RawOutputs = Mapping[str, NDArray[np.float32]]
"""One image's outputs over all A locations: `class_logits` A x L, `box_regression` A x 4 (distances to the left, top,
right and bottom edge in strides), `centreness` A x 1 (logit). Levels in order of strides, rows, then columns."""


@dataclass(frozen=True, slots=True)
class ScoredBoxes:
    """K boxes: edges in pixels of the input, scores 0 to 1, and the labels' places in the model's list."""

    edges: Edges
    scores: NDArray[np.float32]
    labels: NDArray[np.intp]

    def __getitem__(self, chosen: NDArray[np.intp]) -> "ScoredBoxes":
        return ScoredBoxes(self.edges[chosen], self.scores[chosen], self.labels[chosen])


def output_shapes(decoding: BoxDecoding, input_size: int, label_count: int) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of a detector's outputs for one image with `input_size` pixels a side."""
    locations = sum((input_size // stride) ** 2 for stride in decoding.strides)
    return {"class_logits": (locations, label_count), "box_regression": (locations, 4), "centreness": (locations, 1)}


def find_boxes(outputs: RawOutputs, decoding: BoxDecoding, input_size: int, content: tuple[int, int]) -> ScoredBoxes:
    """Return the boxes of one image, the surest first; equally sure ones in order of level, location and label.

    Args:
        outputs: the network's, of one image.
        decoding: settings.
        input_size: pixels a side of the network's input.
        content: width and height of the part of the input that shows the image; boxes are clipped to it.
    """
    levels = []
    start = 0
    for stride in decoding.strides:
        end = start + (input_size // stride) ** 2
        level = {name: values[start:end] for name, values in outputs.items()}
        levels.append(_decode_level(level, decoding, stride, input_size // stride, content))
        start = end
    found = ScoredBoxes(
        np.concatenate([level.edges for level in levels]),
        np.concatenate([level.scores for level in levels]),
        np.concatenate([level.labels for level in levels]),
    )
    sides = found.edges[:, 2:] - found.edges[:, :2]
    found = found[np.flatnonzero((sides >= MIN_SIDE_PIXELS).all(axis=1))]
    if decoding.merge_power is None:
        return found[suppress_overlaps(found, decoding.nms_iou, decoding.max_boxes)]
    return merge_overlaps(found, decoding.nms_iou, decoding.max_boxes, decoding.merge_power)


def suppress_overlaps(found: ScoredBoxes, max_iou: float, limit: int) -> NDArray[np.intp]:
    """Return the places of the boxes that stay, the surest first, at most `limit`.

    A box goes when it overlaps a surer one of its own label that stays, by an intersection over union above `max_iou`;
    as `torchvision.ops.batched_nms`.
    """
    return np.array([places[0] for places in _overlapping(found, max_iou, limit)], np.intp)


def merge_overlaps(found: ScoredBoxes, max_iou: float, limit: int, power: float) -> ScoredBoxes:
    """Return the boxes that `suppress_overlaps` keeps, each moved to the mean of itself and those it makes go.

    The mean of the edges is weighted by the scores to the power `power`; scores stay. Neighbouring locations see the
    same thing and err in different directions: their mean lies better than the surest of them. (Box voting: Gidaris and
    Komodakis, "Object Detection via a Multi-region and Semantic Segmentation-aware CNN Model", arXiv 1505.01749.)
    """
    groups = list(_overlapping(found, max_iou, limit))
    kept = found[np.array([places[0] for places in groups], np.intp)]
    weights = found.scores.astype(np.float64) ** power
    edges = [np.average(found.edges[places], axis=0, weights=weights[places]) for places in groups]
    return ScoredBoxes(np.array(edges, np.float32).reshape(-1, 4), kept.scores, kept.labels)


def _overlapping(found: ScoredBoxes, max_iou: float, limit: int) -> Iterator[NDArray[np.intp]]:
    """Yield the places of each box that stays and of those that go for it, the surest first in both respects."""
    order = np.argsort(-found.scores, kind="stable")
    edges, labels = np.ascontiguousarray(found.edges[order].T), found.labels[order]
    stays = np.ones(len(order), bool)
    rivals: dict[int, NDArray[np.intp]] = {}
    kept = 0
    for place, label in enumerate(labels.tolist()):
        if kept == limit:
            break
        if stays[place]:
            kept += 1
            others = rivals[label] if label in rivals else np.flatnonzero(labels == label)
            overlaps = _iou(edges[:, place], edges[:, others]) > np.float64(max_iou)
            gone = others[overlaps]
            stays[gone] = False
            rivals[label] = others[~overlaps]
            # A box without area does not overlap even itself.
            yield order[np.append(place, gone[gone != place])]


def _decode_level(
    level: RawOutputs, decoding: BoxDecoding, stride: int, columns: int, content: tuple[int, int]
) -> ScoredBoxes:
    logits = level["class_logits"]
    scores = _scores(_sigmoid(logits), _sigmoid(level["centreness"]), decoding.centreness_weight).ravel()
    chosen = _surest(scores, decoding.score_floor, decoding.candidates_per_level)
    location, label = np.divmod(chosen, logits.shape[1])
    row, column = np.divmod(location, columns)
    point = np.stack([column, row], axis=1).astype(np.float32) * stride
    reach = level["box_regression"][location] * stride
    edges = np.concatenate([point - reach[:, :2], point + reach[:, 2:]], axis=1)
    return ScoredBoxes(np.clip(edges, 0, np.array(content * 2, np.float32)), scores[chosen], label)


def _scores(probabilities: NDArray[np.float32], centreness: NDArray[np.float32], weight: float) -> NDArray[np.float32]:
    if weight == 0.5:  # twice as fast as powers, and torchvision's to the last bit
        return np.asarray(np.sqrt(probabilities * centreness), np.float32)
    return np.asarray(probabilities ** (1.0 - weight) * centreness**weight, np.float32)


def _surest(scores: NDArray[np.float32], floor: float, count: int) -> NDArray[np.intp]:
    above = np.flatnonzero(scores > floor)
    if len(above) > count:
        # A full sort of half a million scores takes over ten times as long as finding the last one that counts.
        last = np.partition(scores[above], -count)[-count]
        above = above[scores[above] >= last]
    return above[np.argsort(-scores[above], kind="stable")[:count]]


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # exp(100) is infinite in single precision, and 1 / infinity the right answer
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def _iou(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    # Edges come first here: four long rows are several times as fast as many short ones.
    left, top, right, bottom = others
    width = np.minimum(box[2], right) - np.maximum(box[0], left)
    height = np.minimum(box[3], bottom) - np.maximum(box[1], top)
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    areas = (right - left) * (bottom - top)
    return np.asarray(shared / ((box[2] - box[0]) * (box[3] - box[1]) + areas - shared), np.float32)
