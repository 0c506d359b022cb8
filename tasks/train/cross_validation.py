"""The k-fold estimate: everything that learns is repeated inside each fold."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

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
from tasks.train.heads.model import Indices, Probabilities
from tasks.train.heads.thresholds import choose_thresholds, one_label_each

Features = NDArray[np.float32]
"""N x ...: whatever the procedure learns from, a row for each image."""


class Fitted(Protocol):
    """What learning gives."""

    @property
    def out_of_fold(self) -> Probabilities:
        """N x L probabilities of the images learned from, each by a model that did not see it."""

    def probabilities(self, features: Features) -> Probabilities:
        """Return N x L probabilities of images."""


Fit = Callable[[Features, Indices], Fitted]
"""Learns from features and N label indices, all choices included."""


@dataclass(frozen=True, slots=True)
class FoldAnswers:
    """What was learned without a fold says of it: thresholds by label, and a row of probabilities for each image."""

    thresholds: Mapping[str, float]
    probabilities: Probabilities


LearnFold = Callable[[int, Indices, Indices], FoldAnswers]
"""Called with the fold's number, the places to learn from and those that are held out."""


def cross_validate(
    fit: Fit,
    features: Features,
    y: Indices,
    labels: Sequence[str],
    folds: int,
    seed: int,
    report: Callable[[int, int], None],
) -> tuple[CrossValidated, Probabilities]:
    """Estimate what a training procedure reaches on images it has not seen.

    Args:
        fit: the procedure.
        features: of N images.
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
