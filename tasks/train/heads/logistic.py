"""Scaled logistic regression: a straight border between labels, held back by a penalty."""

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from tasks.train.heads.linear import LinearModel
from tasks.train.heads.model import HeadKind, Indices, Matrix, Options
from tasks.train.heads.scaling import Scaling

STRENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 1.0)
"""Inverse regularisation to choose from; pooled features of a few hundred images want strong regularisation."""
MAX_ITERATIONS = 2000


def fit_logistic(features: Matrix, y: Indices, candidates: Sequence[Options], seed: int) -> Iterator[LinearModel]:
    """Fit the same images with each strength in turn; nothing here is random.

    With fewer images than features the solution lies in the span of the images, and the penalty does not change
    under rotation: fitting in that span's coordinates gives the same model at a tenth of the time.
    """
    scaling = Scaling.of(features)
    scaled = scaling.rows(features)
    basis = np.linalg.svd(scaled, full_matrices=False)[2] if len(scaled) < scaled.shape[1] else None
    rows = scaled @ basis.T if basis is not None else scaled
    for options in candidates:
        classifier = LogisticRegression(C=options["strength"], class_weight="balanced", max_iter=MAX_ITERATIONS)
        with warnings.catch_warnings():
            # A fit that stops early is judged like any other, by its loss on images it did not see.
            warnings.simplefilter("ignore", ConvergenceWarning)
            classifier.fit(rows, y)
        yield _model(scaling, classifier, basis)


def _model(scaling: Scaling, classifier: LogisticRegression, basis: Matrix | None) -> LinearModel:
    weights, intercepts = classifier.coef_, classifier.intercept_
    if basis is not None:
        weights = weights @ basis
    if len(weights) == 1:
        # The sigmoid of a number is the softmax of its negative half and its half.
        weights, intercepts = np.vstack([-weights, weights]) / 2, np.concatenate([-intercepts, intercepts]) / 2
    return LinearModel(scaling, weights.T, intercepts)


LOGISTIC = HeadKind(tuple({"strength": strength} for strength in STRENGTHS), fit_logistic, is_calibrated=True)
