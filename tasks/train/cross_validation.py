"""The k-fold estimate: everything that learns is repeated inside each fold."""

from collections.abc import Callable, Sequence

import numpy as np

from tasks.metrics.classification import (
    CrossValidated,
    accuracy,
    calibration_bins,
    calibration_error,
    macro,
    measure_given,
)
from tasks.train.heads.folds import stratified_folds
from tasks.train.heads.model import FittedHead, Indices, Matrix, Probabilities
from tasks.train.heads.thresholds import choose_thresholds, one_label_each

Fit = Callable[[Matrix, Indices], FittedHead]
"""Learns from features (N x F) and label indices (N), all choices included."""


def cross_validate(
    fit: Fit,
    features: Matrix,
    y: Indices,
    labels: Sequence[str],
    folds: int,
    seed: int,
    report: Callable[[int, int], None],
) -> tuple[CrossValidated, Probabilities]:
    """Estimate what a training procedure reaches on images it has not seen.

    Args:
        fit: the procedure.
        features: N x F.
        y: N label indices.
        labels: label names by index.
        folds: number of folds; fewer when a label has fewer images.
        seed: of the division into folds.
        report: called with folds done and their number.

    Returns:
        The estimate, and N x L out-of-fold probabilities.
    """
    splits = stratified_folds(y, folds, seed)
    truths = one_label_each(y, len(labels))
    given = np.zeros_like(truths)
    pooled = np.zeros(truths.shape)
    cuts, fold_scores = [], []
    for done, (train, held_out) in enumerate(splits, start=1):
        head = fit(features[train], y[train])
        thresholds = choose_thresholds((head.out_of_fold, truths[train]), None, labels)
        probabilities = head.probabilities(features[held_out])
        pooled[held_out] = probabilities
        given[held_out] = probabilities >= np.array([thresholds[label] for label in labels])
        fold = measure_given(truths[held_out], given[held_out], labels, thresholds)
        fold_scores.append(macro(fold, "f1"))
        cuts.append(thresholds)
        report(done, len(splits))
    mean_thresholds = {label: float(np.mean([cut[label] for cut in cuts])) for label in labels}
    per_label = measure_given(truths, given, labels, mean_thresholds)
    estimate = CrossValidated(
        macro_f1=macro(per_label, "f1"),
        macro_f1_std=float(np.std(fold_scores, ddof=1)),
        accuracy=accuracy(truths, pooled),
        folds=len(splits),
        images=len(y),
        per_label=per_label,
        calibration_error=calibration_error(truths, pooled),
        calibration=tuple(calibration_bins(truths, pooled)),
    )
    return estimate, pooled
