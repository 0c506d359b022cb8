"""The k-fold estimate: everything that learns is repeated inside each fold."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from tasks.dataset.entries import ImageEntry
from tasks.metrics.classification import (
    CrossValidated,
    Truths,
    accuracy,
    calibration_bins,
    calibration_error,
    macro,
    measure_given,
)
from tasks.metrics.multi_label import CrossValidatedMultiLabel, average_precisions, exact_match, mean_of
from tasks.train.heads.folds import Folds
from tasks.train.heads.model import Indices, Probabilities
from tasks.train.heads.targets import Targets, are_multi_label, as_truths, divide
from tasks.train.heads.thresholds import choose_thresholds


class Rows(Protocol):
    """Whatever the procedure learns from, such as an array of features: a row for each image."""

    def __getitem__(self, places: Indices, /) -> Self:
        """Return the rows of some images."""


RowsT = TypeVar("RowsT", bound=Rows)
LearnedFrom = TypeVar("LearnedFrom", bound=Rows, contravariant=True)


LabelEstimate = CrossValidated | CrossValidatedMultiLabel


class Fitted(Protocol[LearnedFrom]):
    """What learning gives."""

    @property
    def out_of_fold(self) -> Probabilities:
        """N x L probabilities of the images learned from, each by a model that did not see it."""

    def probabilities(self, features: LearnedFrom) -> Probabilities:
        """Return N x L probabilities of images."""


Given = TypeVar("Given", bound=Fitted[Any], covariant=True)
FittedT = TypeVar("FittedT", bound=Fitted[Any])
Watch = Callable[[FittedT, Mapping[str, float], Indices], None]
"""Called with what was learned without a fold, the thresholds by label, and the places of the fold's images."""


class Fit(Protocol[LearnedFrom, Given]):
    """Learns from the features and targets of N images, and the number of each image's group, all choices included."""

    def __call__(self, features: LearnedFrom, targets: Targets, /, *, groups: Indices | None) -> Given:
        """Fit."""


@dataclass(frozen=True, slots=True)
class FoldAnswers:
    """What was learned without a fold says of it: thresholds by label, and a row of probabilities for each image."""

    thresholds: Mapping[str, float]
    probabilities: Probabilities


@dataclass(frozen=True, slots=True)
class FoldScore:
    """How the answers to a fold's images fare: macro-F1 of the labels given, accuracy of the highest confidences.

    Where an image may have any number of labels, `accuracy` is the share of images given theirs and no other.
    """

    macro_f1: float
    accuracy: float


LearnFold = Callable[[int, Indices, Indices], FoldAnswers]
"""Called with the fold's number, the places to learn from and those that are held out."""


def cross_validate(
    fit: Fit[RowsT, FittedT],
    features: RowsT,
    targets: Targets,
    labels: Sequence[str],
    folds: int,
    seed: int,
    report: Callable[[int, int], None],
    groups: Indices | None = None,
    watch: Watch[FittedT] | None = None,
    keep: Callable[[FoldAnswers], None] = lambda _: None,
) -> tuple[LabelEstimate, Probabilities]:
    """Estimate what a training procedure reaches on images it has not seen.

    Args:
        fit: the procedure.
        features: of N images.
        targets: of the images.
        labels: label names by index.
        folds: number of folds; fewer when a label has fewer groups.
        seed: of the division into folds.
        report: called with folds done and their number.
        groups: number of each image's group, which no division parts; None when each image is one.
        watch: sees each fold's model before it is forgotten.
        keep: called with the answers to each fold.

    Returns:
        The estimate, and N x L out-of-fold probabilities.
    """

    def learn(_: int, train: Indices, held_out: Indices) -> FoldAnswers:
        own_groups = None if groups is None else groups[train]
        fitted, thresholds = fit_fold(fit, features[train], targets[train], own_groups, labels)
        if watch:
            watch(fitted, thresholds, held_out)
        answers = FoldAnswers(thresholds, fitted.probabilities(features[held_out]))
        keep(answers)
        return answers

    return estimate_by_folds(learn, targets, labels, folds, seed, report, groups)


def fit_fold(
    fit: Fit[RowsT, Given], features: RowsT, targets: Targets, groups: Indices | None, labels: Sequence[str]
) -> tuple[Given, dict[str, float]]:
    """Learn from the images that a fold leaves, and choose thresholds on their own out-of-fold answers."""
    fitted = fit(features, targets, groups=groups)
    return fitted, choose_thresholds((fitted.out_of_fold, as_truths(targets, len(labels))), None, labels)


def given_labels(answers: FoldAnswers, labels: Sequence[str]) -> Truths:
    """Return the labels that an answer gives each image, N x L booleans."""
    return np.asarray(answers.probabilities >= np.array([answers.thresholds[label] for label in labels]))


def score_fold(answers: FoldAnswers, targets: Targets, labels: Sequence[str]) -> FoldScore:
    """Judge the answers to a fold's images, whose targets are given."""
    truths, given = as_truths(targets, len(labels)), given_labels(answers, labels)
    right = exact_match(truths, given) if are_multi_label(targets) else accuracy(truths, answers.probabilities)
    return FoldScore(macro(measure_given(truths, given, labels, answers.thresholds), "f1"), right)


def estimate_by_folds(
    learn: LearnFold,
    targets: Targets,
    labels: Sequence[str],
    folds: int,
    seed: int,
    report: Callable[[int, int], None],
    groups: Indices | None = None,
) -> tuple[LabelEstimate, Probabilities]:
    """Estimate as `cross_validate` does, whatever it is that learns."""
    splits = divide(targets, folds, seed, groups)
    return estimate_of(learn_folds(learn, splits, report), splits, targets, labels)


def learn_folds(learn: LearnFold, splits: Folds, report: Callable[[int, int], None]) -> list[FoldAnswers]:
    """Return the answers to the images of each fold, each learned without it."""
    answers = []
    for number, (train, held_out) in enumerate(splits):
        answers.append(learn(number, train, held_out))
        report(number + 1, len(splits))
    return answers


def estimate_of(
    answers: Sequence[FoldAnswers], splits: Folds, targets: Targets, labels: Sequence[str]
) -> tuple[LabelEstimate, Probabilities]:
    """Return the estimate that the answers to all folds make, and N x L out-of-fold probabilities.

    Args:
        answers: of each fold.
        splits: places of the images learned from and held out, by fold.
        targets: of all images.
        labels: label names by index.
    """
    truths = as_truths(targets, len(labels))
    given = np.zeros_like(truths)
    pooled = np.zeros(truths.shape)
    fold_scores = []
    for one, (_, held_out) in zip(answers, splits, strict=True):
        pooled[held_out] = one.probabilities
        given[held_out] = given_labels(one, labels)
        fold_scores.append(score_fold(one, targets[held_out], labels).macro_f1)
    return _estimate(targets, labels, given, pooled, [one.thresholds for one in answers], fold_scores), pooled


def _estimate(
    targets: Targets,
    labels: Sequence[str],
    given: Truths,
    pooled: Probabilities,
    cuts: Sequence[Mapping[str, float]],
    fold_scores: Sequence[float],
) -> LabelEstimate:
    truths = as_truths(targets, len(labels))
    mean_thresholds = {label: float(np.mean([cut[label] for cut in cuts])) for label in labels}
    per_label = measure_given(truths, given, labels, mean_thresholds)
    shared = {
        "macro_f1": macro(per_label, "f1"),
        "macro_f1_std": float(np.std(fold_scores, ddof=1)),
        "folds": len(cuts),
        "images": len(truths),
        "per_label": per_label,
    }
    if are_multi_label(targets):
        precision = mean_of(average_precisions(truths, pooled, labels))
        matched = exact_match(truths, given)
        return CrossValidatedMultiLabel(**shared, exact_match=matched, mean_average_precision=precision)
    return CrossValidated(
        **shared,
        accuracy=accuracy(truths, pooled),
        calibration_error=calibration_error(truths, pooled),
        calibration=tuple(calibration_bins(truths, pooled)),
    )


def write_out_of_fold(path: Path, entries: Sequence[ImageEntry], labels: Sequence[str], pooled: Probabilities) -> None:
    """Write a line for each image: its reference, its labels, and the confidence of every label (N x L)."""
    with path.open("w", encoding="utf-8") as stream:
        for entry, row in zip(entries, pooled, strict=True):
            confidences = {label: round(float(value), 6) for label, value in zip(labels, row, strict=True)}
            line = {"source_ref": entry.source_ref, "truth": entry.truth.labels, "confidences": confidences}
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
