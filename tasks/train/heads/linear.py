"""A straight border between labels: scaled features, weighted and summed, as shares of the labels."""

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from scipy.special import softmax

from tasks.train.heads.graphs import written
from tasks.train.heads.model import Matrix, Probabilities
from tasks.train.heads.scaling import ROWS, Scaling

_GRAPH = f"""
    {ROWS}
    products = MatMul (rows, weights)
    decisions = Add (products, intercepts)
    shares = Softmax <axis = 1> (decisions)
    probabilities = Cast <to = 1> (shares)
"""


@dataclass(frozen=True, slots=True)
class LinearModel:
    """Straight borders: `weights` are F x L, `intercepts` L numbers."""

    scaling: Scaling
    weights: NDArray[np.float64]
    intercepts: NDArray[np.float64]

    def probabilities(self, features: Matrix) -> Probabilities:
        """Return N x L shares: the softmax of the decision values."""
        return np.asarray(softmax(self.scaling.rows(features) @ self.weights + self.intercepts, axis=1))

    def to_onnx(self) -> onnx.ModelProto:
        """Return the same as a graph."""
        constants = {**self.scaling.constants, "weights": self.weights, "intercepts": self.intercepts}
        width, labels = self.weights.shape
        return written(_GRAPH, width, labels, constants)
