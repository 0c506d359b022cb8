"""The bootstrap: how far a headline figure would move, had other test images of the same kind been drawn.

A resample draws as many images as there are, with replacement (Efron, "Bootstrap Methods: Another Look at the
Jackknife", Annals of Statistics 1979). It is a row of `Counts`: how often each image was drawn. Two models measured on
the same rows are compared pair by pair, so that images hard for both do not widen the interval of their difference.

What images contribute is found once; a figure of all resamples is then arithmetic on whole arrays.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.classification import Truths
from tasks.metrics.detection import MAX_BOXES
from tasks.metrics.matching import FoundBoxes, TrueBoxes, match_boxes
from tasks.vision.boxes import DetectedBox

Counts = NDArray[np.int64]
"""Resamples x images: how often each image was drawn."""
Figures = NDArray[np.float64]
"""One figure per resample, 0 to 1; NaN where its images give none."""

RECALL_POINTS = np.linspace(0.0, 1.0, 101)
"""Where COCO's average precision reads the precision."""
MAX_CELLS = 2**22
"""Resamples x boxes, or x scores, held at a time: 32 MB per array."""


@dataclass(frozen=True, slots=True)
class _RankedBoxes:
    """A label's found boxes over all images, the surest first.

    Attributes:
        images: the place of each box's image.
        hits: whether the box matches a true box at IoU 0.5.
        support: number of true boxes in each image.
    """

    images: NDArray[np.intp]
    hits: NDArray[np.bool_]
    support: NDArray[np.int64]


def draw_resamples(images: int, resamples: int, seed: int) -> Counts:
    """Return how often each of the images is in each resample; every row sums to `images`, which is 1 or more."""
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=resamples)


def percentile_interval(figures: Figures, confidence: float) -> tuple[float, float]:
    """Return the interval that holds the middle `confidence` (0 to 1) of the figures; 0 to 0 when all are NaN.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13. Those that are NaN are left out.
    """
    known = figures[~np.isnan(figures)]
    if not known.size:
        return 0.0, 0.0
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(known, [tail, 1 - tail])
    return float(lower), float(upper)


def macro_f1_of_resamples(truths: Truths, given: NDArray[np.bool_], counts: Counts) -> Figures:
    """Return the macro-F1 of each resample; a label that none of its images carries is left out, as in `measure`.

    Args:
        truths: images x labels.
        given: images x labels, the labels that reach their thresholds.
        counts: the resamples.
    """
    # As floats, which BLAS multiplies; counts are whole numbers and stay exact.
    weights = counts.astype(np.float64)
    hits, predicted, support = (weights @ table.astype(np.float64) for table in (truths & given, given, truths))
    return _mean_of_supported(2 * hits / np.maximum(predicted + support, 1), support)


def map_50_of_resamples(truths: TrueBoxes, detections: FoundBoxes, labels: Sequence[str], counts: Counts) -> Figures:
    """Return COCO's mAP at IoU 0.50 of each resample, over the labels that its images have true boxes of.

    Equal to `measure_detections(...).map_50` on images repeated as `counts` says; equally sure boxes stand in the order
    of the images.

    Args:
        truths: true boxes of each image.
        detections: boxes found in each image.
        labels: of all boxes.
        counts: the resamples.
    """
    ranked = _rank_boxes(truths, detections, labels)
    support = np.stack([counts @ boxes.support for boxes in ranked], axis=1)
    return _mean_of_supported(np.stack([_average_precision(boxes, counts) for boxes in ranked], axis=1), support)


def _mean_of_supported(figures: NDArray[np.float64], support: NDArray[np.integer | np.floating]) -> Figures:
    """Return each row's mean over the labels with support; 0 without any."""
    measured = support > 0
    means: Figures = (figures * measured).sum(axis=1) / np.maximum(measured.sum(axis=1), 1)
    return means


def _rank_boxes(truths: TrueBoxes, detections: FoundBoxes, labels: Sequence[str]) -> list[_RankedBoxes]:
    rows: dict[str, list[tuple[float, int, bool]]] = {label: [] for label in labels}
    for image, (true_boxes, found_boxes) in enumerate(zip(truths, detections, strict=True)):
        surest = _surest(found_boxes)
        # Of true boxes that overlap equally, COCO's code takes the last; `match_boxes` takes the first.
        matches = match_boxes(true_boxes[::-1], surest)
        for box, truth in zip(surest, matches.truth_of, strict=True):
            rows[box.label].append((box.confidence, image, truth is not None))
    return [_ranked(rows[label], [sum(box.label == label for box in boxes) for boxes in truths]) for label in labels]


def _surest(found: Sequence[DetectedBox]) -> list[DetectedBox]:
    """Return the boxes of an image that COCO's figures look at, the surest first."""
    kept, taken = [], Counter[str]()
    for box in sorted(found, key=lambda box: -box.confidence):
        taken[box.label] += 1
        if taken[box.label] <= MAX_BOXES:
            kept.append(box)
    return kept


def _ranked(rows: list[tuple[float, int, bool]], support: list[int]) -> _RankedBoxes:
    ordered = sorted(rows, key=lambda row: -row[0])
    return _RankedBoxes(
        images=np.array([image for _, image, _ in ordered], np.intp),
        hits=np.array([is_hit for _, _, is_hit in ordered], np.bool_),
        support=np.array(support, np.int64),
    )


def _average_precision(ranked: _RankedBoxes, counts: Counts) -> Figures:
    """Return COCO's average precision of one label in each resample; 0 where it has no true box."""
    step = max(1, MAX_CELLS // max(1, len(ranked.images)))
    parts = [_average_precision_of(ranked, counts[start : start + step]) for start in range(0, len(counts), step)]
    return np.concatenate(parts)


def _average_precision_of(ranked: _RankedBoxes, counts: Counts) -> Figures:
    drawn = counts[:, ranked.images]
    # Precision is highest right after a hit, so the curve is looked at there only: resamples x hits.
    given = np.cumsum(drawn, axis=1)[:, ranked.hits]
    hits = np.cumsum(drawn[:, ranked.hits], axis=1)
    precision = hits / np.maximum(given, 1)
    recall = hits / np.maximum(counts @ ranked.support, 1)[:, None]
    # A recall point has the best precision at its recall or beyond, and belongs to the first hit that reaches it.
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    points = np.diff(np.searchsorted(RECALL_POINTS, recall, side="right"), axis=1, prepend=0)
    averages: Figures = (points * best).sum(axis=1) / len(RECALL_POINTS)
    return averages
