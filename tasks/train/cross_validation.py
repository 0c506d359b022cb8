"""The k-fold estimate: everything that learns is repeated inside each fold."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.dataset.entries import ImageEntry
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


@dataclass(frozen=True, slots=True)
class FoldAnswers:
    """What was learned without a fold says of it: thresholds by label, and a row of probabilities for each image."""

    thresholds: Mapping[str, float]
    probabilities: Probabilities


LearnFold = Callable[[int, Indices, Indices], FoldAnswers]
"""Called with the fold's number, the places to learn from and those that are held out."""


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
    truths = one_label_each(y, len(labels))

    def learn(_: int, train: Indices, held_out: Indices) -> FoldAnswers:
        head = fit(features[train], y[train])
        thresholds = choose_thresholds((head.out_of_fold, truths[train]), None, labels)
        return FoldAnswers(thresholds, head.probabilities(features[held_out]))

    return estimate_by_folds(learn, y, labels, folds, seed, report)


def estimate_by_folds(
    learn: LearnFold, y: Indices, labels: Sequence[str], folds: int, seed: int, report: Callable[[int, int], None]
) -> tuple[CrossValidated, Probabilities]:
    """Estimate as `cross_validate` does, whatever it is that learns."""
    splits = stratified_folds(y, folds, seed)
    truths = one_label_each(y, len(labels))
    given = np.zeros_like(truths)
    pooled = np.zeros(truths.shape)
    cuts, fold_scores = [], []
    for number, (train, held_out) in enumerate(splits):
        answers = learn(number, train, held_out)
        pooled[held_out] = answers.probabilities
        given[held_out] = answers.probabilities >= np.array([answers.thresholds[label] for label in labels])
        fold = measure_given(truths[held_out], given[held_out], labels, answers.thresholds)
        fold_scores.append(macro(fold, "f1"))
        cuts.append(answers.thresholds)
        report(number + 1, len(splits))
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


def write_out_of_fold(path: Path, entries: Sequence[ImageEntry], labels: Sequence[str], pooled: Probabilities) -> None:
    """Write a line for each image: its reference, its label, and the confidence of every label (N x L)."""
    with path.open("w", encoding="utf-8") as stream:
        for entry, row in zip(entries, pooled, strict=True):
            confidences = {label: round(float(value), 6) for label, value in zip(labels, row, strict=True)}
            line = {"source_ref": entry.source_ref, "label": entry.truth.stratum, "confidences": confidences}
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
