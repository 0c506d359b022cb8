"""A detector's evaluation files in the managed service's shape.

The service publishes no IoU for its counts: here a box is right at the IoU of `tasks/metrics/matching.py`, and the
averages of the aggregate are COCO's, over IoU 0.50 to 0.95.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.evaluate.records import ImagePrediction
from tasks.evaluate.service_files import (
    DETAILS_KEY,
    EVALUATION_ATTRIBUTE,
    TRAINING_ATTRIBUTE,
    Outcome,
    answer_metadata,
    outcome_details,
    summary_file,
    truth_metadata,
)
from tasks.ground_truth.manifests import DETECTION_TYPE
from tasks.metrics.detection import DetectionMetrics
from tasks.metrics.matching import match_boxes
from tasks.vision.boxes import BoundingBox, DetectedBox

Listed = tuple[BoundingBox | DetectedBox, float, Outcome]


def detection_summary(
    metrics: DetectionMetrics,
    predictions: Sequence[ImagePrediction],
    labels: Sequence[str],
    training_images: int,
    version_arn: str,
) -> dict[str, Any]:
    """Return the summary file's content; a label's test images are those with a true box of it."""
    images = {label: sum(label in prediction.truth for prediction in predictions) for label in labels}
    aggregate = {"AveragePrecision": metrics.map, "AverageRecall": metrics.mar_100}
    return summary_file(metrics, aggregate, images, labels, training_images, len(predictions), version_arn)


def box_snapshot_line(
    prediction: ImagePrediction, class_ids: Mapping[str, int], size: tuple[int, int]
) -> dict[str, Any]:
    """Return one test image's line: its true boxes; every box given, and every true box that was missed.

    A missed box stands in its true place, with the confidence of the box that was found there but fell short of the
    threshold, or 0 when there is none.

    Args:
        prediction: the image's true boxes and the boxes found.
        class_ids: each label's index.
        size: width and height of the image (pixels).
    """
    truths, listed = prediction.true_boxes or (), list(_listed(prediction))
    boxes = [box for box, _, _ in listed]
    return {
        "source-ref": prediction.source_ref,
        f"{TRAINING_ATTRIBUTE}-0": _annotations(truths, class_ids, size),
        f"{TRAINING_ATTRIBUTE}-0-metadata": {
            "objects": [{"confidence": 1.0} for _ in truths],
            "class-map": _class_map(truths, class_ids),
            **truth_metadata(DETECTION_TYPE),
        },
        EVALUATION_ATTRIBUTE: _annotations(boxes, class_ids, size),
        f"{EVALUATION_ATTRIBUTE}-metadata": {
            "objects": [
                {"confidence": confidence, DETAILS_KEY: outcome_details(outcome)} for _, confidence, outcome in listed
            ],
            "class-map": _class_map(boxes, class_ids),
            **answer_metadata(DETECTION_TYPE),
        },
    }


def _listed(prediction: ImagePrediction) -> Iterator[Listed]:
    truths, found = prediction.true_boxes or (), prediction.boxes or ()
    matches = match_boxes(truths, found)
    for box, truth in zip(found, matches.truth_of, strict=True):
        if box.is_given:
            yield box, box.confidence, "false-positive" if truth is None else "true-positive"
    for true_box, place in zip(truths, matches.found_of, strict=True):
        if place is None:
            yield true_box, 0.0, "false-negative"
        elif not found[place].is_given:
            yield true_box, found[place].confidence, "false-negative"


def _annotations(
    boxes: Sequence[BoundingBox | DetectedBox], class_ids: Mapping[str, int], size: tuple[int, int]
) -> dict[str, Any]:
    width, height = size
    return {
        "image_size": [{"width": width, "height": height, "depth": 3}],
        "annotations": [{"class_id": class_ids[box.label], **_whole_pixels(box, size)} for box in boxes],
    }


def _class_map(boxes: Sequence[BoundingBox | DetectedBox], class_ids: Mapping[str, int]) -> dict[str, str]:
    return {str(class_ids[label]): label for label in sorted({box.label for box in boxes})}


def _whole_pixels(box: BoundingBox | DetectedBox, size: tuple[int, int]) -> dict[str, int]:
    left, width = _whole(box.left, box.right, size[0])
    top, height = _whole(box.top, box.bottom, size[1])
    return {"left": left, "top": top, "width": width, "height": height}


def _whole(start: float, end: float, limit: int) -> tuple[int, int]:
    """Round both ends to the nearest pixel edge; returns start and length, at least 1, within 0 to `limit`."""
    first = min(max(math.floor(start + 0.5), 0), limit - 1)
    last = min(max(math.floor(end + 0.5), first + 1), limit)
    return first, last - first
