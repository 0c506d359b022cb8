"""Fit a head of any kind: choose its options by cross-validation, then fit on everything."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_limits

from tasks.train.heads.calibration import Calibrated, calibrated, fit_temperature
from tasks.train.heads.ensemble import mean_of
from tasks.train.heads.folds import Folds, stratified_folds
from tasks.train.heads.forest import FOREST
from tasks.train.heads.logistic import LOGISTIC
from tasks.train.heads.model import FittedHead, HeadKind, HeadName, Indices, Matrix, Options, Probabilities, Views
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

SeenBy = Callable[[Indices], Views]
"""Called with the places of the images that are learned from; gives N x V x F features of all N images. What features
themselves learn, such as visual words, they learn from those places alone."""


def fit_head(name: HeadName, features: Matrix, y: Indices, seed: int, groups: Indices | None = None) -> FittedHead:
    """Fit a head on N x F features that learn nothing themselves; see `fit_head_and_features`."""
    return fit_head_and_features(name, lambda _: features[:, None], y, seed, groups)


def fit_head_and_features(
    name: HeadName,
    seen_by: SeenBy,
    y: Indices,
    seed: int,
    groups: Indices | None = None,
    divided: Folds | None = None,
) -> FittedHead:
    """Choose a head's options by cross-validation (lowest class-balanced log loss), then fit on everything.

    Of equally good candidates the simpler model is taken. Options are chosen on the images themselves; further views
    of an image are learned from where the image is, and never judged on.

    Args:
        name: the kind of head; `ensemble` fits several.
        seen_by: gives the features, as a model sees them that learned from some of the images.
        y: N label indices, every label on two images or more.
        seed: of the division into folds, and of the forest.
        groups: number of each image's group, which no division parts; None when each image is one.
        divided: folds to choose on, every label on each learning side; None makes `INNER_FOLDS` or fewer.
    """
    divided = divided or stratified_folds(y, INNER_FOLDS, seed, groups)
    # Matrices of a few hundred rows: threads of the algebra library cost more than they give (measured 4 times).
    with threadpool_limits(1):
        if name == "ensemble":
            return mean_of([_search(member, kind, seen_by, y, seed, divided) for member, kind in MEMBERS.items()])
        return _search(name, KINDS[name], seen_by, y, seed, divided)


def balanced_losses(probabilities: Probabilities, y: Indices) -> NDArray[np.float64]:
    """Return the log losses (nats) of N images by N x L probabilities; in their mean labels weigh alike."""
    own = np.clip(probabilities[np.arange(len(y)), y], 1e-12, 1.0)
    return np.asarray(-np.log(own) * compute_sample_weight("balanced", y), np.float64)


def balanced_log_loss(probabilities: Probabilities, y: Indices) -> float:
    """Return the mean log loss of N x L probabilities, every label weighing alike however many images it has."""
    return float(balanced_losses(probabilities, y).mean())


def _search(name: HeadName, kind: HeadKind, seen_by: SeenBy, y: Indices, seed: int, divided: Folds) -> FittedHead:
    trials = _out_of_fold(kind, kind.candidates, lambda places: seen_by(places)[:, :1], y, seed, divided)
    losses = [_loss_at_best_temperature(kind, shares, y) for shares in trials]
    best = int(np.argmin(np.round(losses, 4)))
    chosen, shares = kind.candidates[best], trials[best]
    views = seen_by(np.arange(len(y)))
    if views.shape[1] > 1:
        (shares,) = _out_of_fold(kind, [chosen], seen_by, y, seed, divided)
    (model,) = kind.fit(*_as_rows(views, y), [chosen], seed)
    if kind.is_calibrated:
        return FittedHead(name, chosen, model, shares)
    temperature = fit_temperature(shares, y)
    chosen = {**chosen, "temperature": temperature}
    return FittedHead(name, chosen, Calibrated(model, temperature), calibrated(shares, temperature))


def _out_of_fold(
    kind: HeadKind, candidates: Sequence[Options], seen_by: SeenBy, y: Indices, seed: int, divided: Folds
) -> list[Probabilities]:
    """Return N x L shares per candidate, each row by a model that saw the image in no view."""
    trials = [np.zeros((len(y), int(y.max()) + 1)) for _ in candidates]
    for train, held_out in divided:
        views = seen_by(train)
        fitted = kind.fit(*_as_rows(views[train], y[train]), candidates, seed)
        for shares, model in zip(trials, fitted, strict=True):
            shares[held_out] = model.probabilities(views[held_out, 0])
    return trials


def _as_rows(views: Views, y: Indices) -> tuple[Matrix, Indices]:
    return views.reshape(-1, views.shape[2]), np.repeat(y, views.shape[1])


def _loss_at_best_temperature(kind: HeadKind, shares: Probabilities, y: Indices) -> float:
    if kind.is_calibrated:
        return balanced_log_loss(shares, y)
    weights = compute_sample_weight("balanced", y)
    return balanced_log_loss(calibrated(shares, fit_temperature(shares, y, weights)), y)
