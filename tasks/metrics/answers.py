"""A bundle's answers on images with known truth, measured the same way wherever they come from."""

from collections.abc import Sequence

import numpy as np

from tasks.bundle.format import ModelCard
from tasks.bundle.predictor import Prediction
from tasks.dataset.entries import ImageEntry
from tasks.metrics.bootstrap import Counts, Figures, macro_f1_of_resamples, map_50_of_resamples
from tasks.metrics.classification import (
    ClassificationMetrics,
    Confidences,
    CrossValidated,
    Truths,
    measure,
    truths_of,
)
from tasks.metrics.detection import CrossValidatedDetection, DetectionMetrics, measure_detections
from tasks.metrics.matching import FoundBoxes, TrueBoxes


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
        folds = estimate if isinstance(estimate, CrossValidatedDetection) else None
        return measure_detections(*_boxes(entries, answers), card.labels, card.thresholds, folds)
    folds_of_labels = estimate if isinstance(estimate, CrossValidated) else None
    return measure(*_labels(card, entries, answers), card.labels, card.thresholds, folds_of_labels)


def headline(metrics: ClassificationMetrics | DetectionMetrics) -> float:
    """Return the figure that a loss is counted in: mAP50 of a detector, macro-F1 of a classifier."""
    return metrics.map_50 if isinstance(metrics, DetectionMetrics) else metrics.macro_f1


def headline_of_resamples(
    card: ModelCard, entries: Sequence[ImageEntry], answers: Sequence[Prediction], counts: Counts
) -> Figures:
    """Return the `headline` of the answers on each resample of the images, drawn by `draw_resamples`."""
    if card.task == "detection":
        return map_50_of_resamples(*_boxes(entries, answers), card.labels, counts)
    truths, confidences = _labels(card, entries, answers)
    given = confidences >= np.array([card.thresholds[label] for label in card.labels])
    return macro_f1_of_resamples(truths, given, counts)


def _labels(
    card: ModelCard, entries: Sequence[ImageEntry], answers: Sequence[Prediction]
) -> tuple[Truths, Confidences]:
    confidences = np.array([[answer.confidences[label] for label in card.labels] for answer in answers])
    return truths_of([entry.truth.labels for entry in entries], card.labels), confidences


def _boxes(entries: Sequence[ImageEntry], answers: Sequence[Prediction]) -> tuple[TrueBoxes, FoundBoxes]:
    return [entry.truth.boxes or () for entry in entries], [answer.boxes for answer in answers]
