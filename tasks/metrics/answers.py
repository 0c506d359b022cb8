"""A bundle's answers on images with known truth, measured the same way wherever they come from."""

from collections.abc import Sequence

import numpy as np

from tasks.bundle.format import ModelCard
from tasks.bundle.predictor import Prediction
from tasks.dataset.entries import ImageEntry
from tasks.metrics.anomaly import (
    ANOMALY,
    AnomalyMetrics,
    Flags,
    Scores,
    auroc_of_resamples,
    measure_anomalies,
)
from tasks.metrics.bootstrap import Counts, Figures, macro_f1_of_resamples, map_50_of_resamples
from tasks.metrics.classification import (
    Confidences,
    CrossValidated,
    Truths,
    measure,
    truths_of,
)
from tasks.metrics.detection import CrossValidatedDetection, DetectionMetrics, measure_detections
from tasks.metrics.matching import FoundBoxes, TrueBoxes
from tasks.metrics.multi_label import CrossValidatedMultiLabel, measure_multi_label
from tasks.metrics.task_metrics import Estimate, TaskMetrics


def measure_answers(
    card: ModelCard,
    entries: Sequence[ImageEntry],
    answers: Sequence[Prediction],
    estimate: Estimate | None,
) -> TaskMetrics:
    """Measure the answers on images with known truth, as the evaluation of a training does.

    `estimate` is the k-fold estimate of the training, which stands beside the figures and is not measured anew.
    """
    if card.task == "anomaly":
        return measure_anomalies(*_anomalies(entries, answers), card.thresholds[ANOMALY], None)
    if card.task == "detection":
        folds = estimate if isinstance(estimate, CrossValidatedDetection) else None
        return measure_detections(*_boxes(entries, answers), card.labels, card.thresholds, folds)
    if card.is_multi_label:
        folds_of_any = estimate if isinstance(estimate, CrossValidatedMultiLabel) else None
        return measure_multi_label(*_labels(card, entries, answers), card.labels, card.thresholds, folds_of_any)
    folds_of_labels = estimate if isinstance(estimate, CrossValidated) else None
    return measure(*_labels(card, entries, answers), card.labels, card.thresholds, folds_of_labels)


def headline(metrics: TaskMetrics) -> float:
    """Return the figure that a loss is counted in: mAP50, macro-F1, or of an anomaly model its image AUROC, else 0."""
    if isinstance(metrics, AnomalyMetrics):
        return metrics.image_auroc or 0.0
    return metrics.map_50 if isinstance(metrics, DetectionMetrics) else metrics.macro_f1


def headline_of_resamples(
    card: ModelCard, entries: Sequence[ImageEntry], answers: Sequence[Prediction], counts: Counts
) -> Figures:
    """Return the `headline` of the answers on each resample of the images, drawn by `draw_resamples`.

    NaN where the images of a resample give none: normal ones only, or abnormal ones only.
    """
    if card.task == "anomaly":
        return auroc_of_resamples(*_anomalies(entries, answers), counts)
    if card.task == "detection":
        return map_50_of_resamples(*_boxes(entries, answers), card.labels, counts)
    truths, confidences = _labels(card, entries, answers)
    given = confidences >= np.array([card.thresholds[label] for label in card.labels])
    return macro_f1_of_resamples(truths, given, counts)


def _anomalies(entries: Sequence[ImageEntry], answers: Sequence[Prediction]) -> tuple[Flags, Scores]:
    truth = np.array([bool(entry.truth.labels) for entry in entries], np.bool_)
    return truth, np.array([answer.confidences[ANOMALY] for answer in answers])


def _labels(
    card: ModelCard, entries: Sequence[ImageEntry], answers: Sequence[Prediction]
) -> tuple[Truths, Confidences]:
    confidences = np.array([[answer.confidences[label] for label in card.labels] for answer in answers])
    return truths_of([entry.truth.labels for entry in entries], card.labels), confidences


def _boxes(entries: Sequence[ImageEntry], answers: Sequence[Prediction]) -> tuple[TrueBoxes, FoundBoxes]:
    return [entry.truth.boxes or () for entry in entries], [answer.boxes for answer in answers]
