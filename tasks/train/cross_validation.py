"""The k-fold estimate: scaling, choice of regularisation and thresholds are repeated inside each fold."""

from collections.abc import Callable, Sequence

import numpy as np

from tasks.metrics.classification import CrossValidated, accuracy, macro, measure_given, truths_of
from tasks.train.heads import Indices, Matrix, Probabilities, choose_thresholds, fit_head, stratified_folds


def cross_validate(
    features: Matrix, y: Indices, labels: Sequence[str], folds: int, seed: int, report: Callable[[int, int], None]
) -> tuple[CrossValidated, Probabilities]:
    """Estimate what the training procedure reaches on images it has not seen.

    Args:
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
    truths = truths_of([[labels[i]] for i in y], labels)
    given = np.zeros_like(truths)
    pooled = np.zeros(truths.shape)
    cuts, fold_scores = [], []
    for done, (train, held_out) in enumerate(splits, start=1):
        head = fit_head(features[train], y[train], seed)
        nothing = (np.zeros((0, len(labels))), np.zeros(0, dtype=np.intp))
        thresholds = choose_thresholds(head, y[train], nothing, labels)
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
    )
    return estimate, pooled
