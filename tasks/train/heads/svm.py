"""Support vector machines, one label against the rest, with straight or curved borders.

All candidates share the products of the images. Decision values become probabilities in `calibration.py`;
scikit-learn's own way, Platt scaling inside the classifier, is deprecated, random, and fits several times.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.special import softmax
from sklearn.svm import SVC

from tasks.train.heads.graphs import written
from tasks.train.heads.linear import LinearModel
from tasks.train.heads.model import HeadKind, Indices, Matrix, Options, Probabilities
from tasks.train.heads.scaling import ROWS, Scaling

_PENALTIES, _CURVED_PENALTIES, _GAMMAS = (0.1, 1.0, 10.0), (1.0, 10.0), (0.1, 0.3, 1.0)
_STRAIGHT: tuple[Options, ...] = tuple({"kernel": "linear", "penalty": penalty} for penalty in _PENALTIES)
_CURVED: tuple[Options, ...] = tuple(
    {"kernel": "rbf", "gamma": gamma, "penalty": penalty} for gamma in _GAMMAS for penalty in _CURVED_PENALTIES
)
CANDIDATES = (*_STRAIGHT, *_CURVED)
"""`penalty` is that of an image on the wrong side (SVC's C). Kernels are divided by the number of features, so that
`penalty` and `gamma` mean the same for any."""

_RADIAL = f"""
    {ROWS}
    squares = ReduceSumSquare <axes = [1], keepdims = 1> (rows)
    products = MatMul (rows, twice_the_support)
    nearness = Sub (products, squares)
    negative_distances = Sub (nearness, support_squares)
    exponents = Mul (negative_distances, gamma)
    kernel = Exp (exponents)
    sums = MatMul (kernel, weights)
    decisions = Add (sums, intercepts)
    shares = Softmax <axis = 1> (decisions)
    probabilities = Cast <to = 1> (shares)
"""


@dataclass(frozen=True, slots=True)
class RadialMachine:
    """Curved borders: `support` are S x F scaled rows, `weights` S x L, `intercepts` L numbers."""

    scaling: Scaling
    support: NDArray[np.float64]
    weights: NDArray[np.float64]
    intercepts: NDArray[np.float64]
    gamma: float

    def probabilities(self, features: Matrix) -> Probabilities:
        """Return N x L shares: the softmax of the decision values."""
        kernel = np.exp(-self.gamma * cdist(self.scaling.rows(features), self.support, "sqeuclidean"))
        return np.asarray(softmax(kernel @ self.weights + self.intercepts, axis=1))

    def to_onnx(self) -> onnx.ModelProto:
        """Return the same as a graph."""
        constants = {
            **self.scaling.constants,
            "twice_the_support": 2.0 * self.support.T,
            "support_squares": np.square(self.support).sum(axis=1),
            "gamma": self.gamma,
            "weights": self.weights,
            "intercepts": self.intercepts,
        }
        return written(_RADIAL, self.support.shape[1], self.weights.shape[1], constants)


def fit_svm(
    features: Matrix, y: Indices, candidates: Sequence[Options], seed: int
) -> Iterator[LinearModel | RadialMachine]:
    """Fit the same images with each candidate in turn; nothing here is random."""
    scaling = Scaling.of(features)
    rows = scaling.rows(features)
    width = rows.shape[1]
    products = rows @ rows.T / width
    squares = products.diagonal()
    distances = squares[:, None] + squares - 2.0 * products
    for options in candidates:
        if options["kernel"] == "linear":
            weights, intercepts = _machines(products, y, options["penalty"])
            yield LinearModel(scaling, rows.T @ weights / width, intercepts)
        else:
            gamma = float(options["gamma"])
            weights, intercepts = _machines(np.exp(-gamma * distances), y, options["penalty"])
            supports = weights.any(axis=1)
            yield RadialMachine(scaling, rows[supports], weights[supports], intercepts, gamma / width)


def _machines(
    kernel: NDArray[np.float64],
    y: Indices,
    penalty: Any,  # noqa: ANN401 - a value of `Options`
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit one machine per label on an N x N kernel; returns N x L weights of the images and L intercepts."""
    labels = int(y.max()) + 1
    weights, intercepts = np.zeros((len(y), labels)), np.zeros(labels)
    for label in range(labels):
        machine = SVC(C=penalty, kernel="precomputed", class_weight="balanced").fit(kernel, y == label)
        weights[machine.support_, label] = machine.dual_coef_[0]
        intercepts[label] = machine.intercept_[0]
    return weights, intercepts


SVM = HeadKind(CANDIDATES, fit_svm)
