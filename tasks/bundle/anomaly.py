"""From distances of patches to a score, a confidence and boxes: how abnormal an image is, and where.

A patch is a place of the backbone's feature map; its distance is that to the nearest patch of normal images (Roth and
others, "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022). Smoothed, the distances are the heat map.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from tasks.bundle.adjustments import Region
from tasks.bundle.format import AnomalyScoring
from tasks.vision.boxes import DetectedBox
from tasks.vision.heat_maps import Heat, HeatMap, enlarge

PIXELS_PER_CELL = 8
"""Of the raster on which regions are outlined: their edges then lie between patches, not only upon them."""
MAX_HEAT_DRIFT = 0.01
"""How far the heat of one bundle may differ, at another time or in another process, as a share of it."""
HALF_A_PIXEL = 0.5


def smooth(distances: Heat, scoring: AnomalyScoring) -> Heat:
    """Return the heat map of one image's distances, rows x columns both."""
    width = scoring.smoothing_cells
    return np.asarray(cv2.GaussianBlur(distances, (0, 0), width, borderType=cv2.BORDER_REPLICATE), np.float32)


def score_of(heat: Heat, scoring: AnomalyScoring) -> float:
    """Return an image's score: the mean of the hottest patches.

    A defect heats all patches that see a part of it. One hot patch alone is more often an odd speck, so that the mean
    tells the two apart better than the maximum (measured on transistors: area under ROC 0.998 against 0.993).
    """
    count = max(1, round(scoring.top_share * heat.size))
    return float(np.partition(heat, heat.size - count, axis=None)[-count:].mean(dtype=np.float64))


def confidence_of(score: float, scoring: AnomalyScoring) -> float:
    """Return the confidence, 0 to 1, in an anomaly: a logistic function of the logarithm, one half at the limit."""
    if score <= 0.0:
        return 0.0
    exponent = scoring.steepness * (math.log(scoring.limit) - math.log(score))
    return 1.0 / (1.0 + math.exp(min(exponent, 700.0)))


def find_regions(
    heat: Heat, scoring: AnomalyScoring, label: str, confidence: float, seen: Region, *, is_given: bool
) -> tuple[DetectedBox, ...]:
    """Return boxes around the hot regions of an image, the hottest first; `seen` is the part that the heat map covers.

    The confidence is the image's: a model that was shown normal images only knows how abnormal an image is, and its
    regions tell where.
    """
    rows, columns = (cells * PIXELS_PER_CELL for cells in heat.shape)
    fine = enlarge(heat, columns, rows)
    found, regions, corners, _ = cv2.connectedComponentsWithStats((fine >= scoring.region_limit).astype(np.uint8))
    peaks = np.zeros(found, np.float32)
    np.maximum.at(peaks, np.asarray(regions.ravel(), np.intp), fine.ravel())
    hottest = [region for region in np.argsort(-peaks, kind="stable").tolist() if region][: scoring.max_boxes]
    across, down = seen.width / columns, seen.height / rows
    return tuple(
        DetectedBox(
            label,
            seen.left + left * across,
            seen.top + top * down,
            wide * across,
            high * down,
            confidence,
            is_given,
        )
        for left, top, wide, high in (corners[region, :4].tolist() for region in hottest)
    )


def are_its_regions(
    boxes: Sequence[DetectedBox], heat_map: HeatMap, scoring: AnomalyScoring, width: int, height: int
) -> bool:
    """Return whether boxes lie around the hot regions of a heat map whose heat may be off by `MAX_HEAT_DRIFT`.

    By a rounding a place at the limit is hot or not, so that a region is told or not, and two are one: no box can be
    paired then. But each lies within a region of a lower limit, and each region of a higher limit within a box.

    Args:
        boxes: told of an image, in its pixels.
        heat_map: of the same image.
        scoring: of the model.
        width: of the image (pixels).
        height: of the image (pixels).
    """
    left, top, wide, high = heat_map.part
    seen = Region(round(left * width), round(top * height), round(wide * width), round(high * height))
    heat = heat_map.heat()

    def regions(limit: float) -> tuple[DetectedBox, ...]:
        asked = scoring.model_copy(update={"region_limit": limit, "max_boxes": heat.size * PIXELS_PER_CELL**2})
        return find_regions(heat, asked, "", 0.0, seen, is_given=False)

    lower, higher = (regions(scoring.region_limit * share) for share in (1 - MAX_HEAT_DRIFT, 1 + MAX_HEAT_DRIFT))
    if len(boxes) > scoring.max_boxes or not all(any(_holds(region, box) for region in lower) for box in boxes):
        return False
    return len(boxes) == scoring.max_boxes or all(any(_holds(box, region) for box in boxes) for region in higher)


def _holds(outer: DetectedBox, inner: DetectedBox) -> bool:
    starts = (inner.left - outer.left, inner.top - outer.top)
    ends = (outer.right - inner.right, outer.bottom - inner.bottom)
    return min(*starts, *ends) >= -HALF_A_PIXEL
