"""Scaled logistic regression: a straight border between labels, held back by a penalty."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from tasks.train.heads.graphs import written
from tasks.train.heads.model import HeadKind, Indices, Matrix, Options, Probabilities
from tasks.train.heads.scaling import ROWS

STRENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 1.0)
"""Inverse regularisation to choose from; pooled features of a few hundred images want strong regularisation."""
MAX_ITERATIONS = 2000
_GRAPH = f"""
    {ROWS}
    products = MatMul (rows, weights)
    decisions = Add (products, intercepts)
    shares = Softmax <axis = 1> (decisions)
    probabilities = Cast <to = 1> (shares)
"""


@dataclass(frozen=True, slots=True)
class LogisticModel:
    """A fitted scaler and logistic regression."""

    pipeline: Pipeline

    def probabilities(self, features: Matrix) -> Probabilities:
        """Return N x L probabilities."""
        return np.asarray(self.pipeline.predict_proba(features.astype(np.float64)))

    def to_onnx(self) -> onnx.ModelProto:
        """Return scaler and classifier as a graph."""
        scaler, classifier = self.pipeline.named_steps["scale"], self.pipeline.named_steps["classify"]
        weights, intercepts = classifier.coef_, classifier.intercept_
        if len(weights) == 1:
            # The sigmoid of a number is the softmax of its negative half and its half.
            weights, intercepts = np.vstack([-weights, weights]) / 2, np.concatenate([-intercepts, intercepts]) / 2
        scaling = {"mean": scaler.mean_, "inverse_spread": 1.0 / scaler.scale_}
        labels, width = weights.shape
        return written(_GRAPH, width, labels, {**scaling, "weights": weights.T, "intercepts": intercepts})


def fit_logistic(features: Matrix, y: Indices, candidates: Sequence[Options], seed: int) -> Iterator[LogisticModel]:
    """Fit the same images with each strength in turn; nothing here is random.

    With fewer images than features the solution lies in the span of the images, and the penalty does not change
    under rotation: fitting in that span's coordinates gives the same model at a tenth of the time.
    """
    scaler = StandardScaler().fit(features.astype(np.float64))
    scaled = scaler.transform(features.astype(np.float64))
    basis = np.linalg.svd(scaled, full_matrices=False)[2] if len(scaled) < scaled.shape[1] else None
    rows = scaled @ basis.T if basis is not None else scaled
    for options in candidates:
        classifier = LogisticRegression(C=options["strength"], class_weight="balanced", max_iter=MAX_ITERATIONS)
        with warnings.catch_warnings():
            # A fit that stops early is judged like any other, by its loss on images it did not see.
            warnings.simplefilter("ignore", ConvergenceWarning)
            classifier.fit(rows, y)
        if basis is not None:
            classifier.coef_ = classifier.coef_ @ basis
            classifier.n_features_in_ = scaled.shape[1]
        yield LogisticModel(Pipeline([("scale", scaler), ("classify", classifier)]))


LOGISTIC = HeadKind(tuple({"strength": strength} for strength in STRENGTHS), fit_logistic, is_calibrated=True)
