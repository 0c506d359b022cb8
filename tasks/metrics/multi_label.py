"""What the numbers of a classifier mean whose images carry several labels or none.

Shapes as in `classification.py`: `truths` is N x L booleans, `confidences` N x L floats, 0 to 1.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from tasks.metrics.classification import (
    Confidences,
    LabelMetrics,
    Truths,
    calibration_error,
    macro,
    measure_given,
)
from tasks.metrics.importance import Importances


class CrossValidatedMultiLabel(BaseModel, frozen=True, extra="forbid"):
    """The k-fold estimate: every image is predicted once, by a model that did not see it.

    Attributes:
        macro_f1: of all out-of-fold predictions pooled.
        macro_f1_std: standard deviation of the folds' own macro-F1.
        exact_match: of all out-of-fold predictions pooled.
        mean_average_precision: likewise; None when no image carries any label.
        folds: number of folds.
        images: number of images predicted.
        per_label: of the pooled predictions; `threshold` is the mean over the folds.
        importances: what each kind of features is worth, in these folds, to a classifier on features; None of a
            network and in older records.
    """

    macro_f1: float
    macro_f1_std: float
    exact_match: float
    mean_average_precision: float | None
    folds: int
    images: int
    per_label: dict[str, LabelMetrics]
    importances: Importances | None = None


class MultiLabelMetrics(BaseModel, frozen=True, extra="forbid"):
    """A classifier of several labels, measured; everything but the average precisions at the labels' thresholds.

    Attributes:
        exact_match: share of images given their labels and no other.
        macro_precision: mean over the labels that some image carries, as are `macro_recall` and `macro_f1`.
        micro_precision: of all labels given, the share that is true.
        micro_recall: of all labels carried, the share that is given.
        micro_f1: harmonic mean of these two.
        mean_average_precision: mean of `average_precision`; None when no image carries any label.
        per_label: every label's figures.
        average_precision: of every label that some image carries.
        calibration_error: of all answers, one per image and label, as `calibration_error` in `classification.py`.
        cross_validated: the k-fold estimate, where there is one.
    """

    exact_match: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    micro_precision: float
    micro_recall: float
    micro_f1: float
    mean_average_precision: float | None
    per_label: dict[str, LabelMetrics]
    average_precision: dict[str, float]
    calibration_error: float
    cross_validated: CrossValidatedMultiLabel | None = None


def measure_multi_label(
    truths: Truths,
    confidences: Confidences,
    labels: Sequence[str],
    thresholds: Mapping[str, float],
    cross_validated: CrossValidatedMultiLabel | None = None,
) -> MultiLabelMetrics:
    """Measure confidences of one image or more against the truth."""
    given = confidences >= np.array([thresholds[label] for label in labels])
    per_label = measure_given(truths, given, labels, thresholds)
    micro = measure_given(truths.reshape(-1, 1), given.reshape(-1, 1), ["all"], {"all": 0.0})["all"]
    precisions = average_precisions(truths, confidences, labels)
    return MultiLabelMetrics(
        exact_match=exact_match(truths, given),
        macro_precision=macro(per_label, "precision"),
        macro_recall=macro(per_label, "recall"),
        macro_f1=macro(per_label, "f1"),
        micro_precision=micro.precision,
        micro_recall=micro.recall,
        micro_f1=micro.f1,
        mean_average_precision=mean_of(precisions),
        per_label=per_label,
        average_precision=precisions,
        calibration_error=calibration_error(*one_column(truths, confidences)),
        cross_validated=cross_validated,
    )


def exact_match(truths: Truths, given: NDArray[np.bool_]) -> float:
    """Share of images given their labels and no other."""
    return float((truths == given).all(axis=1).mean())


def one_column(truths: Truths, confidences: Confidences) -> tuple[Truths, Confidences]:
    """Return every answer as a row of its own, NL x 1: what is measured of them holds for all labels together."""
    return truths.reshape(-1, 1), confidences.reshape(-1, 1)


def average_precisions(truths: Truths, confidences: Confidences, labels: Sequence[str]) -> dict[str, float]:
    """Return the average precision of every label that some image carries."""
    return {
        label: average_precision(truths[:, place], confidences[:, place])
        for place, label in enumerate(labels)
        if truths[:, place].any()
    }


def mean_of(average_precision: Mapping[str, float]) -> float | None:
    """Return the mean over labels; None without any."""
    return float(np.mean(list(average_precision.values()))) if average_precision else None


def average_precision(truth: NDArray[np.bool_], confidence: NDArray[np.float64]) -> float:
    """Mean precision over the images that carry a label, each at its own confidence.

    The sum over thresholds of precision times gain in recall, without interpolation: Zhu, "Recall, Precision and
    Average Precision", 2004. Images of equal confidence are found together.

    Args:
        truth: N booleans, one of them true at least.
        confidence: N floats.
    """
    order = np.argsort(-confidence, kind="stable")
    ranked, hits = confidence[order], np.cumsum(truth[order])
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    gains = np.diff(hits[last], prepend=0)
    return float((hits[last] / (last + 1) * gains).sum() / hits[-1])
