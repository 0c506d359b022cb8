"""The figures of the table: the metric on the test images, the time per image, the size of the files."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tasks.bundle.format import ModelCard
from tasks.bundle.predictor import Prediction, Predictor, PreparedImage
from tasks.dataset.entries import ImageEntry
from tasks.metrics.classification import ClassificationMetrics, CrossValidated, measure, truths_of
from tasks.metrics.detection import CrossValidatedDetection, DetectionMetrics, measure_detections

ROUNDS = 10
TIMED_IMAGES = 8
NOT_FOR_PREDICTION = frozenset({"weights.safetensors", "README.md", "predict.py"})


def measure_answers(
    card: ModelCard,
    entries: Sequence[ImageEntry],
    answers: Sequence[Prediction],
    estimate: CrossValidated | CrossValidatedDetection | None,
) -> ClassificationMetrics | DetectionMetrics:
    """Measure the answers on images with known truth, as the evaluation of a training does.

    `estimate` is the k-fold estimate of the training, which stands beside the figures and is not measured anew.
    """
    if card.task == "detection":
        truths = [entry.truth.boxes or () for entry in entries]
        boxes = [answer.boxes for answer in answers]
        folds = estimate if isinstance(estimate, CrossValidatedDetection) else None
        return measure_detections(truths, boxes, card.labels, card.thresholds, folds)
    confidences = np.array([[answer.confidences[label] for label in card.labels] for answer in answers])
    labelled = truths_of([entry.truth.labels for entry in entries], card.labels)
    folds_of_labels = estimate if isinstance(estimate, CrossValidated) else None
    return measure(labelled, confidences, card.labels, card.thresholds, folds_of_labels)


def headline(metrics: ClassificationMetrics | DetectionMetrics) -> float:
    """Return the figure that a loss is counted in: mAP50 of a detector, macro-F1 of a classifier."""
    return metrics.map_50 if isinstance(metrics, DetectionMetrics) else metrics.macro_f1


def milliseconds_per_image(models: Sequence[Predictor], images: Sequence[PreparedImage]) -> list[float]:
    """Return each model's time per image, one image at a time: the mean over images of the best of `ROUNDS` rounds.

    The models take turns image by image, so that whatever else the machine does meets all of them.
    """
    best = np.full((len(models), len(images)), np.inf)
    for _ in range(ROUNDS):
        for column, image in enumerate(images):
            for row, model in enumerate(models):
                start = time.perf_counter()
                model.predict_prepared([image])
                best[row, column] = min(best[row, column], time.perf_counter() - start)
    return [round(1000 * float(np.mean(seconds)), 3) if images else 0.0 for seconds in best]


def megabytes(folder: Path) -> float:
    """Return the size of the files that a prediction opens, in millions of bytes."""
    sizes = [path.stat().st_size for path in folder.iterdir() if path.name not in NOT_FOR_PREDICTION]
    return round(sum(sizes) / 1e6, 3)
