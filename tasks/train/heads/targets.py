"""What is learned of images: one label each, or any number of labels, none among it; both by the same calls."""

from collections.abc import Sequence
from typing import TypeGuard, cast

import numpy as np
from numpy.typing import NDArray

from tasks.dataset.entries import ImageEntry
from tasks.metrics.classification import Truths, truths_of
from tasks.train.heads.calibration import calibrated, fit_temperature
from tasks.train.heads.folds import Folds, iterative_folds, stratified_folds
from tasks.train.heads.model import FittedHead, HeadName, Indices, Probabilities
from tasks.train.heads.multi_label import fit_multi_label_head
from tasks.train.heads.search import SeenBy, balanced_losses, fit_head_and_features
from tasks.train.heads.thresholds import one_label_each

Targets = Indices | Truths
"""N label indices of images with one label each; N x L booleans where an image may have several, or none."""


def are_multi_label(targets: Targets) -> TypeGuard[Truths]:
    """Whether an image may have several labels, or none."""
    return targets.ndim == 2


def targets_of(entries: Sequence[ImageEntry], labels: Sequence[str], *, is_multi_label: bool) -> Targets:
    """Return what is to be learned of images, whose labels are among `labels`."""
    if is_multi_label:
        return truths_of([entry.truth.labels for entry in entries], labels)
    places = {label: place for place, label in enumerate(labels)}
    return np.array([places[entry.truth.stratum] for entry in entries], dtype=np.intp)


def as_truths(targets: Targets, labels: int) -> Truths:
    """Return which image carries which label, N x L."""
    return targets if are_multi_label(targets) else one_label_each(_indices(targets), labels)


def fit(name: HeadName, seen_by: SeenBy, targets: Targets, seed: int, groups: Indices | None = None) -> FittedHead:
    """Fit a head of one kind, as `fit_head_and_features` and `fit_multi_label_head` do."""
    if are_multi_label(targets):
        return fit_multi_label_head(name, seen_by, targets, seed, groups)
    return fit_head_and_features(name, seen_by, _indices(targets), seed, groups)


def image_losses(probabilities: Probabilities, targets: Targets) -> NDArray[np.float64]:
    """Return the log losses (nats) of N images by N x L probabilities, weighted as `log_loss` says."""
    if not are_multi_label(targets):
        return balanced_losses(probabilities, _indices(targets))
    sides = (_two_sides(column) for column in probabilities.T)
    losses = [balanced_losses(side, truth.astype(np.intp)) for side, truth in zip(sides, targets.T, strict=True)]
    return np.asarray(np.mean(losses, axis=0), np.float64)


def log_loss(probabilities: Probabilities, targets: Targets) -> float:
    """Return the mean log loss of N x L probabilities, every label, and its absence, weighing alike."""
    return float(image_losses(probabilities, targets).mean())


def temperature_of(shares: Probabilities, targets: Targets) -> float:
    """Return the temperature that calibrates N x L shares; where labels stand alone, one for all of them together."""
    if are_multi_label(targets):
        return fit_temperature(_two_sides(shares.ravel()), targets.ravel().astype(np.intp))
    return fit_temperature(shares, _indices(targets))


def calibrated_by(temperature: float, shares: Probabilities, targets: Targets) -> Probabilities:
    """Return N x L probabilities of N x L shares; `targets` tell what kind they are, their values play no part."""
    if are_multi_label(targets):
        return calibrated(_two_sides(shares.ravel()), temperature)[:, 1].reshape(shares.shape)
    return calibrated(shares, temperature)


def divide(targets: Targets, folds: int, seed: int, groups: Indices | None = None) -> Folds:
    """Return (train, held-out) index pairs in which every label has its share; groups stay on one side."""
    if are_multi_label(targets):
        return iterative_folds(targets, folds, seed, groups)
    return stratified_folds(_indices(targets), folds, seed, groups)


def _two_sides(shares: Probabilities) -> Probabilities:
    """Return the N x 2 probabilities without a label and with it of N probabilities."""
    return np.column_stack([1.0 - shares, shares])


def _indices(targets: Targets) -> Indices:
    return cast(Indices, targets)
