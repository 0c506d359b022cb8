"""What the numbers of a classifier mean: counts per label, precision, recall, F1, thresholds, calibration.

Arrays share one shape convention: `truths` is N x L booleans (image has label), `confidences` is N x L floats, 0 to 1,
columns in the order of `labels`. No plots, no files.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from tasks.metrics.importance import Importances

Truths = NDArray[np.bool_]
Confidences = NDArray[np.float64]


class LabelMetrics(BaseModel, frozen=True, extra="forbid"):
    """How one label fares at its threshold; all but `support` lie in 0 to 1.

    precision = TP / (TP + FP), recall = TP / (TP + FN), f1 their harmonic mean; 0 where the denominator is 0.
    `support` is the number of images that carry the label.
    """

    precision: float
    recall: float
    f1: float
    threshold: float
    support: int


class CalibrationBin(NamedTuple):
    """Images of similar confidence: mean confidence and accuracy (0 to 1), and their number."""

    confidence: float
    accuracy: float
    images: int


class CrossValidated(BaseModel, frozen=True, extra="forbid"):
    """The k-fold estimate: every image is predicted once, by a model that did not see it.

    Attributes:
        macro_f1: of all out-of-fold predictions pooled.
        macro_f1_std: standard deviation of the folds' own macro-F1.
        accuracy: of all out-of-fold predictions pooled.
        folds: number of folds.
        images: number of images predicted.
        per_label: of the pooled predictions; `threshold` is the mean over the folds.
        calibration_error: expected calibration error of all out-of-fold predictions pooled; None in older records.
        calibration: the bins of it.
        importances: what each kind of features is worth, in these folds, to a classifier on features; None of a
            network and in older records.
    """

    macro_f1: float
    macro_f1_std: float
    accuracy: float
    folds: int
    images: int
    per_label: dict[str, LabelMetrics]
    calibration_error: float | None = None
    calibration: tuple[CalibrationBin, ...] = ()
    importances: Importances | None = None


class ClassificationMetrics(BaseModel, frozen=True, extra="forbid"):
    """A classifier measured on a test split.

    Accuracy uses the label with the highest confidence; everything per label uses that label's threshold; macro is
    the unweighted mean over labels, F1 included, as the managed service aggregates. Labels that no image of the
    split carries have no figures and are left out of the mean.
    """

    accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    per_label: dict[str, LabelMetrics]
    calibration_error: float
    cross_validated: CrossValidated | None = None


def truths_of(label_sets: Sequence[Sequence[str]], labels: Sequence[str]) -> Truths:
    """Return the N x L truth array of images given as label sets."""
    columns = {label: index for index, label in enumerate(labels)}
    truths = np.zeros((len(label_sets), len(labels)), dtype=np.bool_)
    for row, names in enumerate(label_sets):
        truths[row, [columns[name] for name in names]] = True
    return truths


def best_f1_threshold(truth: NDArray[np.bool_], confidence: NDArray[np.float64], positives: int | None = None) -> float:
    """Return the threshold with the best F1, in the middle of the widest gap that has it.

    Args:
        truth: N booleans.
        confidence: N floats, 0 to 1.
        positives: how many there are to find; by default those among `truth`. Boxes may be missed altogether.

    Returns:
        A value in 0 to 1; 0.5 when no image carries the label, for then no threshold is better than another.
    """
    if not truth.any():
        return 0.5
    order = np.argsort(-confidence, kind="stable")
    ranked, hits = confidence[order], np.cumsum(truth[order])
    # Predicting the k highest needs a threshold between the k-th confidence and the next one below.
    given = np.arange(1, len(ranked) + 1)
    f1 = 2.0 * hits / (given + (truth.sum() if positives is None else positives))
    below = np.append(ranked[1:], 0.0)
    gap = ranked - below
    f1[:-1][gap[:-1] <= 0.0] = -1.0  # the last place is cut at 0 if need be, which gives the label to all
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    widest = best[np.argmax(gap[best])]
    return float((ranked[widest] + below[widest]) / 2.0)


def measure_labels(
    truths: Truths, confidences: Confidences, labels: Sequence[str], thresholds: Mapping[str, float]
) -> dict[str, LabelMetrics]:
    """Return every label's metrics at its threshold."""
    cuts = np.array([thresholds[label] for label in labels])
    return measure_given(truths, confidences >= cuts, labels, thresholds)


def measure_given(
    truths: Truths, given: NDArray[np.bool_], labels: Sequence[str], thresholds: Mapping[str, float]
) -> dict[str, LabelMetrics]:
    """Return every label's metrics from the labels given (N x L booleans)."""
    hits = (truths & given).sum(axis=0)
    predicted, support = given.sum(axis=0), truths.sum(axis=0)
    return {
        label: LabelMetrics(
            precision=_ratio(hits[i], predicted[i]),
            recall=_ratio(hits[i], support[i]),
            f1=_ratio(2 * hits[i], predicted[i] + support[i]),
            threshold=float(thresholds[label]),
            support=int(support[i]),
        )
        for i, label in enumerate(labels)
    }


def macro(per_label: Mapping[str, LabelMetrics], figure: str) -> float:
    """Unweighted mean of `precision`, `recall` or `f1` over the labels that some image carries."""
    return float(np.mean([getattr(metrics, figure) for metrics in per_label.values() if metrics.support] or [0.0]))


def accuracy(truths: Truths, confidences: Confidences) -> float:
    """Share of images whose label with the highest confidence is true."""
    return float(truths[np.arange(len(truths)), confidences.argmax(axis=1)].mean())


def confusion_matrix(truths: Truths, confidences: Confidences) -> NDArray[np.int64]:
    """Count images by true label (rows) and label with the highest confidence (columns)."""
    size = truths.shape[1]
    matrix = np.zeros((size, size), dtype=np.int64)
    np.add.at(matrix, (truths.argmax(axis=1), confidences.argmax(axis=1)), 1)
    return matrix


def calibration_bins(truths: Truths, confidences: Confidences, bins: int = 10) -> list[CalibrationBin]:
    """Bin images by their highest confidence; bins without images are left out."""
    highest = confidences.max(axis=1)
    correct = truths[np.arange(len(truths)), confidences.argmax(axis=1)]
    places = np.minimum((highest * bins).astype(int), bins - 1)
    rows = []
    for place in range(bins):
        members = places == place
        if members.any():
            confidence, hit = float(highest[members].mean()), float(correct[members].mean())
            rows.append(CalibrationBin(confidence, hit, int(members.sum())))
    return rows


def calibration_error(truths: Truths, confidences: Confidences, bins: int = 10) -> float:
    """Expected calibration error: mean distance of confidence and accuracy over bins, weighted by images.

    Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015.
    """
    rows = calibration_bins(truths, confidences, bins)
    return float(sum(abs(confidence - hit) * count for confidence, hit, count in rows) / len(truths))


def measure(
    truths: Truths,
    confidences: Confidences,
    labels: Sequence[str],
    thresholds: Mapping[str, float],
    cross_validated: CrossValidated | None = None,
) -> ClassificationMetrics:
    """Measure a classifier's confidences against the truth."""
    per_label = measure_labels(truths, confidences, labels, thresholds)
    return ClassificationMetrics(
        accuracy=accuracy(truths, confidences),
        macro_precision=macro(per_label, "precision"),
        macro_recall=macro(per_label, "recall"),
        macro_f1=macro(per_label, "f1"),
        per_label=per_label,
        calibration_error=calibration_error(truths, confidences),
        cross_validated=cross_validated,
    )


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
