"""Fit a head of any kind: choose its options by cross-validation, then fit on everything."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_limits

from tasks.train.heads.calibration import Calibrated, calibrated, fit_temperature
from tasks.train.heads.ensemble import mean_of
from tasks.train.heads.folds import stratified_folds
from tasks.train.heads.forest import FOREST
from tasks.train.heads.logistic import LOGISTIC
from tasks.train.heads.model import FittedHead, HeadKind, HeadName, Indices, Matrix, Probabilities
from tasks.train.heads.neighbours import KNN
from tasks.train.heads.svm import SVM

INNER_FOLDS = 4
KINDS: Mapping[HeadName, HeadKind] = {"logistic": LOGISTIC, "svm": SVM, "knn": KNN, "random_forest": FOREST}
MEMBERS: Mapping[HeadName, HeadKind] = {
    # A mean wants members that are equally sure.
    "logistic": replace(LOGISTIC, is_calibrated=False),
    "svm": SVM,
    "random_forest": FOREST,
}
"""Of the ensemble."""


def fit_head(name: HeadName, features: Matrix, y: Indices, seed: int) -> FittedHead:
    """Choose a head's options by cross-validation (lowest class-balanced log loss), then fit on everything.

    Of equally good candidates the simpler model is taken.

    Args:
        name: the kind of head; `ensemble` fits several.
        features: N x F.
        y: N label indices, every label on two images or more.
        seed: of the division into folds, and of the forest.
    """
    # Matrices of a few hundred rows: threads of the algebra library cost more than they give (measured 4 times).
    with threadpool_limits(1):
        if name == "ensemble":
            return mean_of([_search(member, kind, features, y, seed) for member, kind in MEMBERS.items()])
        return _search(name, KINDS[name], features, y, seed)


def _search(name: HeadName, kind: HeadKind, features: Matrix, y: Indices, seed: int) -> FittedHead:
    trials = _out_of_fold(kind, features, y, seed)
    losses = [_balanced_log_loss(kind, shares, y) for shares in trials]
    best = int(np.argmin(np.round(losses, 4)))
    chosen, shares = kind.candidates[best], trials[best]
    model = next(kind.fit(features, y, [chosen], seed))
    if kind.is_calibrated:
        return FittedHead(name, chosen, model, shares)
    temperature = fit_temperature(shares, y)
    chosen = {**chosen, "temperature": temperature}
    return FittedHead(name, chosen, Calibrated(model, temperature), calibrated(shares, temperature))


def _out_of_fold(kind: HeadKind, features: Matrix, y: Indices, seed: int) -> list[Probabilities]:
    """Return N x L shares per candidate, each row by a model that did not see it."""
    trials = [np.zeros((len(y), int(y.max()) + 1)) for _ in kind.candidates]
    for train, held_out in stratified_folds(y, INNER_FOLDS, seed):
        fitted = kind.fit(features[train], y[train], kind.candidates, seed)
        for shares, model in zip(trials, fitted, strict=True):
            shares[held_out] = model.probabilities(features[held_out])
    return trials


def _balanced_log_loss(kind: HeadKind, shares: Probabilities, y: Indices) -> float:
    """Return the loss with every label weighing alike, at the temperature that is best for it."""
    weights = compute_sample_weight("balanced", y)
    answers = shares if kind.is_calibrated else calibrated(shares, fit_temperature(shares, y, weights))
    own = np.clip(answers[np.arange(len(y)), y], 1e-12, 1.0)
    return float(np.average(-np.log(own), weights=weights))
