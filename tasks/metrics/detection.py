"""What the numbers of a detector mean: COCO's average precision, and counts of boxes at the labels' thresholds.

Average precision and recall are COCO's, as its evaluation code defines them: IoU 0.50 to 0.95 in steps of 0.05, 101
recall points, at most 100 boxes per image and label (Lin et al., "Microsoft COCO: Common Objects in Context", ECCV
2014). Precision, recall and F1 count boxes that reach their label's threshold, matched at IoU 0.5
(`tasks/metrics/matching.py`). No plots, no files.

`truths` and `detections` hold one sequence of boxes per image, in the same order; their labels are among `labels`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from tasks.metrics.classification import LabelMetrics, best_f1_threshold, macro
from tasks.metrics.matching import FoundBoxes, TrueBoxes, rank_boxes
from tasks.vision.boxes import DetectedBox

SizeClass = Literal["small", "medium", "large"]

MAX_BOXES = 100
"""Boxes per image and label that COCO's figures look at, the surest first."""
COCO_IOUS = tuple(np.linspace(0.50, 0.95, 10).tolist())
PLACE_50, PLACE_75 = 0, 5
MAX_AREA = 1e5**2
SIZE_AREAS: dict[SizeClass, tuple[float, float]] = {
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, MAX_AREA),
}
"""Lowest and highest area of COCO's size classes (square pixels of the image); a box on a limit is in both."""


class BoxLabelMetrics(LabelMetrics, frozen=True, extra="forbid"):
    """How one label's boxes fare; all but `support` lie in 0 to 1.

    Precision, recall and F1 count the boxes that reach `threshold`; `support` is the number of true boxes.
    `average_precision` is COCO's mean over IoU 0.50 to 0.95, `average_precision_50` that at IoU 0.50; both are 0
    without a true box.
    """

    average_precision: float
    average_precision_50: float


class CrossValidatedDetection(BaseModel, frozen=True, extra="forbid"):
    """The k-fold estimate: every image is searched once, by a model that did not see it.

    Attributes:
        map: mean average precision (IoU 0.50 to 0.95) of all out-of-fold boxes pooled.
        map_50: mean average precision at IoU 0.50 of all out-of-fold boxes pooled.
        map_50_std: standard deviation of the folds' own mAP50; a fold without a label's boxes leaves that label out.
        macro_f1: of all out-of-fold boxes pooled.
        folds: number of folds.
        images: number of images searched.
        per_label: of the pooled boxes; `threshold` is the mean over the folds.
    """

    map: float
    map_50: float
    map_50_std: float
    macro_f1: float
    folds: int
    images: int
    per_label: dict[str, BoxLabelMetrics]


class DetectionMetrics(BaseModel, frozen=True, extra="forbid"):
    """A detector measured on a test split.

    Means are over labels; labels without a true box in the split have no figures and are left out of them. Without any
    true box all means are 0.

    Attributes:
        map: COCO's mean average precision, IoU 0.50 to 0.95.
        map_50: mean average precision at IoU 0.50.
        map_75: mean average precision at IoU 0.75.
        mar_100: COCO's mean average recall with at most 100 boxes per image and label, IoU 0.50 to 0.95.
        map_by_size: `map` of the true boxes of COCO's size classes; None without a true box of the size.
        macro_precision: mean of the labels' precision.
        macro_recall: mean of the labels' recall.
        macro_f1: mean of the labels' F1.
        per_label: figures of every label.
        cross_validated: the k-fold estimate, when one was made.
    """

    map: float
    map_50: float
    map_75: float
    mar_100: float
    map_by_size: dict[SizeClass, float | None]
    macro_precision: float
    macro_recall: float
    macro_f1: float
    per_label: dict[str, BoxLabelMetrics]
    cross_validated: CrossValidatedDetection | None = None


def measure_detections(
    truths: TrueBoxes,
    detections: FoundBoxes,
    labels: Sequence[str],
    thresholds: Mapping[str, float],
    cross_validated: CrossValidatedDetection | None = None,
) -> DetectionMetrics:
    """Measure found boxes against the true ones; a box is given when it reaches its label's threshold."""
    precision, recall = _coco_figures(truths, detections, labels)
    whole = precision[..., 0]
    per_label = _per_label(truths, mark_given(detections, thresholds), labels, thresholds, whole)
    return DetectionMetrics(
        map=_mean(whole) or 0.0,
        map_50=_mean(whole[PLACE_50]) or 0.0,
        map_75=_mean(whole[PLACE_75]) or 0.0,
        mar_100=_mean(recall[..., 0]) or 0.0,
        map_by_size={size: _mean(precision[..., place]) for place, size in enumerate(SIZE_AREAS, start=1)},
        macro_precision=macro(per_label, "precision"),
        macro_recall=macro(per_label, "recall"),
        macro_f1=macro(per_label, "f1"),
        per_label=per_label,
        cross_validated=cross_validated,
    )


def measure_given_boxes(
    truths: TrueBoxes, detections: FoundBoxes, labels: Sequence[str], thresholds: Mapping[str, float]
) -> dict[str, BoxLabelMetrics]:
    """Return every label's figures, where `DetectedBox.is_given` tells which boxes are given.

    For boxes of several models with thresholds of their own, as in cross-validation; `thresholds` are those told.
    """
    precision, _ = _coco_figures(truths, detections, labels)
    return _per_label(truths, detections, labels, thresholds, precision[..., 0])


def mark_given(detections: FoundBoxes, thresholds: Mapping[str, float]) -> list[list[DetectedBox]]:
    """Return the boxes with `is_given` set by the labels' thresholds."""
    return [[replace(box, is_given=box.confidence >= thresholds[box.label]) for box in boxes] for boxes in detections]


def coco_map_50(truths: TrueBoxes, detections: FoundBoxes, labels: Sequence[str]) -> float:
    """Return COCO's mean average precision at IoU 0.50 over the labels that have true boxes; 0 without any."""
    precision, _ = _coco(truths, detections, labels, COCO_IOUS[:1], [(0.0, MAX_AREA)])
    return _mean(precision) or 0.0


def box_threshold(truths: TrueBoxes, detections: FoundBoxes, label: str) -> float:
    """Return the label's threshold with the best F1 of boxes, in the middle of the widest gap that has it.

    Returns:
        A value in 0 to 1; 0.5 when no image has a true box of the label, or no true box was found.
    """
    ranked = rank_boxes(truths, detections, (label,))[label]
    return best_f1_threshold(ranked.hits, ranked.confidences, ranked.support)


def count_by_size(truths: TrueBoxes) -> dict[SizeClass, int]:
    """Count true boxes by COCO's size classes, limits as in `SIZE_AREAS`."""
    areas = [box.width * box.height for boxes in truths for box in boxes]
    return {size: sum(low <= area <= high for area in areas) for size, (low, high) in SIZE_AREAS.items()}


def _per_label(
    truths: TrueBoxes,
    detections: FoundBoxes,
    labels: Sequence[str],
    thresholds: Mapping[str, float],
    precision: NDArray[np.float64],
) -> dict[str, BoxLabelMetrics]:
    # `precision` is IoUs x recall points x labels.
    figures = {}
    for place, (label, ranked) in enumerate(rank_boxes(truths, detections, labels).items()):
        hits, given = int((ranked.hits & ranked.given).sum()), int(ranked.given.sum())
        figures[label] = BoxLabelMetrics(
            precision=hits / given if given else 0.0,
            recall=hits / ranked.support if ranked.support else 0.0,
            f1=2 * hits / (given + ranked.support) if given + ranked.support else 0.0,
            threshold=float(thresholds[label]),
            support=ranked.support,
            average_precision=_mean(precision[:, :, place]) or 0.0,
            average_precision_50=_mean(precision[PLACE_50, :, place]) or 0.0,
        )
    return figures


def _coco_figures(
    truths: TrueBoxes, detections: FoundBoxes, labels: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return _coco(truths, detections, labels, COCO_IOUS, [(0.0, MAX_AREA), *SIZE_AREAS.values()])


def _coco(
    truths: TrueBoxes,
    detections: FoundBoxes,
    labels: Sequence[str],
    ious: Sequence[float],
    areas: Sequence[tuple[float, float]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return precision (IoUs x 101 recall points x labels x areas) and recall (IoUs x labels x areas).

    -1 stands where a label has no true box of the area.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    places = {label: place for place, label in enumerate(labels, start=1)}
    images = [{"id": number} for number, _ in enumerate(truths)]
    categories = [{"id": place, "name": label} for label, place in places.items()]
    known = COCO({"images": images, "categories": categories, "annotations": _annotations(truths, places)})
    evaluation = COCOeval_faster(known, known.loadRes(_results(detections, places)), "bbox", print_function=_silent)
    evaluation.params.iouThrs = np.array(ious)
    evaluation.params.areaRng = [list(limits) for limits in areas]
    evaluation.params.areaRngLbl = [f"{low:g} to {high:g}" for low, high in areas]
    evaluation.params.maxDets = [MAX_BOXES]
    evaluation.evaluate()
    evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"])[..., 0], np.asarray(evaluation.eval["recall"])[..., 0]


def _annotations(truths: TrueBoxes, places: Mapping[str, int]) -> list[dict[str, Any]]:
    boxes = [(image, box) for image, of_image in enumerate(truths) for box in of_image]
    return [
        {
            # 0 would mean "unmatched" to the library.
            "id": number,
            "image_id": image,
            "category_id": places[box.label],
            "bbox": [box.left, box.top, box.width, box.height],
            "area": box.width * box.height,
            "iscrowd": 0,
        }
        for number, (image, box) in enumerate(boxes, start=1)
    ]


def _results(detections: FoundBoxes, places: Mapping[str, int]) -> list[dict[str, Any]]:
    return [
        {
            "image_id": image,
            "category_id": places[box.label],
            "bbox": [box.left, box.top, box.width, box.height],
            "score": box.confidence,
        }
        for image, boxes in enumerate(detections)
        for box in boxes
    ]


def _mean(figures: NDArray[np.float64]) -> float | None:
    measured = figures[figures > -1.0]
    return float(measured.mean()) if measured.size else None


def _silent(*_: object) -> None:
    return None
