"""What the numbers of an anomaly model mean: how well scores tell abnormal images and pixels from normal ones.

Scores are 0 or more, higher where it is abnormal. Those of pixels are counted in half precision, whose numbers from 0
on are few enough to count each: figures over any number of pixels are exact, and take a few hundred kilobytes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from tasks.metrics.bootstrap import MAX_CELLS, Counts, Figures
from tasks.metrics.classification import LabelMetrics, measure_given

ANOMALY = "anomaly"
"""The one label of an anomaly model; what does not carry it is normal."""
PRO_MAX_FALSE_POSITIVE_RATE = 0.3
"""Where Bergmann et al. end the integral of the per-region overlap: beyond it a map marks a third of what is good."""
_BINS = int(np.array(np.inf, np.float16).view(np.uint16)) + 1
"""Bit patterns of the half-precision numbers from 0 to infinity, which stand in the order of the numbers."""

Scores = NDArray[np.floating]
Flags = NDArray[np.bool_]


class AnomalyMetrics(BaseModel, frozen=True, extra="forbid"):
    """An anomaly model measured on a test split; all figures lie in 0 to 1.

    Attributes:
        image_auroc: area under the ROC curve of the images' scores; None without normal or without abnormal images.
        pixel_auroc: the same of pixels, over normal images and those with a mask; None without a mask.
        region_overlap: PRO: the mean share of each abnormal region that is marked, as the mean over false positive
            rates of pixels up to 0.3 (Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021); None without
            a mask.
        macro_precision: of the images given the label `anomaly`, the share that are abnormal.
        macro_recall: of the abnormal images, the share given it.
        macro_f1: their harmonic mean. Named as the figures of models with several labels are.
        false_alarm_rate: of the normal images, the share given it; 0 without any.
        normal_images: number of normal images.
        masked_images: number of abnormal images with a mask.
        per_label: the one label's figures at its threshold.
        cross_validated: no such estimate is made.
    """

    image_auroc: float | None
    pixel_auroc: float | None
    region_overlap: float | None
    macro_precision: float
    macro_recall: float
    macro_f1: float
    false_alarm_rate: float
    normal_images: int
    masked_images: int
    per_label: dict[str, LabelMetrics]
    cross_validated: None = None


@dataclass(frozen=True, slots=True)
class PixelCounts:
    """Pixels by score, one bin per half-precision number from 0 on.

    Attributes:
        normal: number of normal pixels.
        abnormal: number of abnormal pixels.
        shares: abnormal pixels, each as its share of its region.
        regions: number of abnormal regions.
        masked_images: number of images with an abnormal pixel.
    """

    normal: NDArray[np.int64]
    abnormal: NDArray[np.int64]
    shares: NDArray[np.float64]
    regions: int
    masked_images: int


def measure_anomalies(
    truth: Flags, confidences: Scores, threshold: float, pixels: PixelCounts | None
) -> AnomalyMetrics:
    """Measure the answers on test images.

    Args:
        truth: N booleans, whether the image is abnormal.
        confidences: N floats, 0 to 1.
        threshold: 0 to 1: the lowest confidence at which an image is given the label.
        pixels: of images whose abnormal pixels are known; None without any.
    """
    given = confidences >= threshold
    per_label = measure_given(truth[:, None], given[:, None], (ANOMALY,), {ANOMALY: threshold})
    figures, normal = per_label[ANOMALY], int((~truth).sum())
    return AnomalyMetrics(
        image_auroc=area_under_roc(truth, confidences),
        pixel_auroc=pixel_auroc(pixels) if pixels else None,
        region_overlap=region_overlap(pixels) if pixels else None,
        macro_precision=figures.precision,
        macro_recall=figures.recall,
        macro_f1=figures.f1,
        false_alarm_rate=float((given & ~truth).sum()) / normal if normal else 0.0,
        normal_images=normal,
        masked_images=pixels.masked_images if pixels else 0,
        per_label=per_label,
    )


def area_under_roc(truth: Flags, scores: Scores) -> float | None:
    """Return the probability that a true one scores higher than a false one, ties counted half; None without either."""
    if truth.all() or not truth.any():
        return None
    return float(auroc_of_resamples(truth, scores, np.ones((1, len(truth)), np.int64))[0])


def auroc_of_resamples(truth: Flags, scores: Scores, counts: Counts) -> Figures:
    """Return the area under the ROC curve of each resample; NaN where it holds true ones only, or false ones only.

    Args:
        truth: N booleans.
        scores: N floats.
        counts: resamples x N: how often each is drawn.
    """
    _, place = np.unique(scores, return_inverse=True)
    step = max(1, MAX_CELLS // (int(place.max()) + 1))
    return np.concatenate([_auroc_of(truth, place, counts[i : i + step]) for i in range(0, len(counts), step)])


def _auroc_of(truth: Flags, place: NDArray[np.intp], counts: Counts) -> Figures:
    """Return the areas of some resamples; `place` is where each image's score stands among the distinct ones."""
    drawn = np.zeros((2, len(counts), int(place.max()) + 1))
    for index, is_true in enumerate(truth):
        drawn[int(is_true), :, place[index]] += counts[:, index]
    false, true = drawn
    pairs = false.sum(axis=1) * true.sum(axis=1)
    wins = (true * (np.cumsum(false, axis=1) - false / 2)).sum(axis=1)
    areas: Figures = np.where(pairs > 0, wins / np.maximum(pairs, 1), np.nan)
    return areas


def count_pixels(images: Iterable[tuple[Scores, Flags]]) -> PixelCounts:
    """Count the pixels of images, one image at a time.

    Args:
        images: scores, height x width, and which pixels are abnormal. Abnormal pixels that touch, at corners too, are
            one region.
    """
    normal, abnormal = np.zeros(_BINS, np.int64), np.zeros(_BINS, np.int64)
    shares = np.zeros(_BINS)
    regions = masked = 0
    for scores, mask in images:
        bins = np.minimum(np.abs(scores), np.finfo(np.float16).max).astype(np.float16).view(np.uint16)
        normal += np.bincount(bins[~mask], minlength=_BINS)
        if not mask.any():
            continue
        found, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        share = 1.0 / np.maximum(np.bincount(labels.ravel(), minlength=found), 1)
        abnormal += np.bincount(bins[mask], minlength=_BINS)
        shares += np.bincount(bins[mask], weights=share[labels[mask]], minlength=_BINS)
        regions += found - 1
        masked += 1
    return PixelCounts(normal, abnormal, shares, regions, masked)


def pixel_curves(pixels: PixelCounts) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the shares of normal pixels, of abnormal ones and of each region marked, as the limit falls from above."""
    moves = np.flatnonzero(pixels.normal + pixels.abnormal)
    rates = (_rates(counted[moves]) for counted in (pixels.normal, pixels.abnormal, pixels.shares))
    false_rate, true_rate, overlap = rates
    return false_rate, true_rate, overlap


def pixel_auroc(pixels: PixelCounts) -> float | None:
    """Return the area under the ROC curve of pixels; None without normal or without abnormal ones."""
    if not pixels.normal.any() or not pixels.abnormal.any():
        return None
    return float(np.trapezoid(_rates(pixels.abnormal), _rates(pixels.normal)))


def region_overlap(pixels: PixelCounts) -> float | None:
    """Return the mean overlap per region up to `PRO_MAX_FALSE_POSITIVE_RATE`; None as `pixel_auroc` does."""
    if not pixels.normal.any() or not pixels.regions:
        return None
    false_rate, overlap = _rates(pixels.normal), _rates(pixels.shares)
    limit = PRO_MAX_FALSE_POSITIVE_RATE
    below = int(np.searchsorted(false_rate, limit, side="right"))
    ends = np.append(false_rate[:below], limit), np.append(overlap[:below], np.interp(limit, false_rate, overlap))
    return float(np.trapezoid(ends[1], ends[0]) / limit)


def _rates(counted: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share that is marked as the limit falls, from none to all."""
    marked = np.concatenate([[0.0], np.cumsum(counted[::-1], dtype=np.float64)])
    shares: NDArray[np.float64] = marked / marked[-1]
    return shares
