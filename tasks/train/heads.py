"""The classifier on top of the features: scaled logistic regression, its strength chosen by cross-validation.

Knows arrays only. X is N x F features, y is N label indices.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_limits

from tasks.metrics.classification import best_f1_threshold

STRENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 1.0)
"""Inverse regularisation to choose from; pooled features of a few hundred images want strong regularisation."""
INNER_FOLDS = 4
MAX_ITERATIONS = 2000
MIN_VALIDATION_IMAGES = 10
"""A label with fewer validation images takes its threshold from out-of-fold predictions."""

Indices = NDArray[np.intp]
Matrix = NDArray[np.float32]
Probabilities = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FittedHead:
    """A fitted classifier with the choice that led to it.

    Attributes:
        pipeline: scaler and logistic regression, fitted.
        strength: the chosen inverse regularisation.
        out_of_fold: N x L probabilities of the images it was fitted on, each by a model that did not see it.
    """

    pipeline: Pipeline
    strength: float
    out_of_fold: Probabilities

    def probabilities(self, features: Matrix) -> Probabilities:
        """Return N x L probabilities; no rows for no rows."""
        if not len(features):
            return np.zeros((0, self.out_of_fold.shape[1]))
        return np.asarray(self.pipeline.predict_proba(features.astype(np.float64)))


def fit_head(features: Matrix, y: Indices, seed: int) -> FittedHead:
    """Choose the regularisation by cross-validation (lowest class-balanced log loss), then fit on everything.

    Of equally good strengths the simpler model, with more regularisation, is taken.
    """
    # Matrices of a few hundred rows: threads of the algebra library cost more than they give (measured 4 times).
    with threadpool_limits(1):
        trials = _out_of_fold(features, y, seed)
        losses = [_balanced_log_loss(y, probabilities) for probabilities in trials]
        best = int(np.argmin(np.round(losses, 4)))
        pipeline = next(_fit_path(features, y, STRENGTHS[best : best + 1]))
    return FittedHead(pipeline, STRENGTHS[best], trials[best])


def stratified_folds(y: Indices, folds: int, seed: int) -> list[tuple[Indices, Indices]]:
    """Return (train, held-out) index pairs; no more folds than the rarest label has images, and two at least."""
    rarest = int(np.bincount(y).min())
    splitter = StratifiedKFold(max(2, min(folds, rarest)), shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(len(y)), y))


def choose_thresholds(
    head: FittedHead, y: Indices, validation: tuple[Probabilities, Indices], labels: Sequence[str]
) -> dict[str, float]:
    """Return each label's best-F1 threshold.

    Args:
        head: fitted on images with the label indices `y`.
        y: label indices of the images the head was fitted on.
        validation: probabilities and label indices of the validation images.
        labels: label names by index.
    """
    probabilities, truth = validation
    thresholds = {}
    for index, label in enumerate(labels):
        enough = int((truth == index).sum()) >= MIN_VALIDATION_IMAGES
        scores, hits = (probabilities, truth) if enough else (head.out_of_fold, y)
        thresholds[label] = best_f1_threshold(hits == index, scores[:, index])
    return thresholds


def _out_of_fold(features: Matrix, y: Indices, seed: int) -> list[Probabilities]:
    """Return N x L probabilities per strength, each row by a model that did not see it."""
    trials = [np.zeros((len(y), int(y.max()) + 1)) for _ in STRENGTHS]
    for train, held_out in stratified_folds(y, INNER_FOLDS, seed):
        fitted = _fit_path(features[train], y[train], STRENGTHS)
        for probabilities, pipeline in zip(trials, fitted, strict=True):
            probabilities[held_out] = pipeline.predict_proba(features[held_out].astype(np.float64))
    return trials


def _fit_path(features: Matrix, y: Indices, strengths: Sequence[float]) -> Iterator[Pipeline]:
    """Fit the same images with each strength in turn.

    With fewer images than features the solution lies in the span of the images, and the penalty does not change
    under rotation: fitting in that span's coordinates gives the same model at a tenth of the time.
    """
    scaler = StandardScaler().fit(features.astype(np.float64))
    scaled = scaler.transform(features.astype(np.float64))
    basis = np.linalg.svd(scaled, full_matrices=False)[2] if len(scaled) < scaled.shape[1] else None
    rows = scaled @ basis.T if basis is not None else scaled
    for strength in strengths:
        classifier = LogisticRegression(C=strength, class_weight="balanced", max_iter=MAX_ITERATIONS)
        with warnings.catch_warnings():
            # A fit that stops early is judged like any other, by its loss on images it did not see.
            warnings.simplefilter("ignore", ConvergenceWarning)
            classifier.fit(rows, y)
        if basis is not None:
            classifier.coef_ = classifier.coef_ @ basis
            classifier.n_features_in_ = scaled.shape[1]
        yield Pipeline([("scale", scaler), ("classify", classifier)])


def _balanced_log_loss(y: Indices, probabilities: Probabilities) -> float:
    own = np.clip(probabilities[np.arange(len(y)), y], 1e-12, 1.0)
    return float(np.average(-np.log(own), weights=compute_sample_weight("balanced", y)))
