"""Nearest neighbours: an image is what the training images most like it are.

The nearer a neighbour, the more it counts, down to nothing at the distance of the first one that is no neighbour any
more: Hechenbichler and Schliep, "Weighted k-Nearest-Neighbor Techniques and Ordinal Classification", 2004, with
Epanechnikov's kernel. Answers then change smoothly with the features, and equal distances need no order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.utils.class_weight import compute_sample_weight

from tasks.train.heads.graphs import written
from tasks.train.heads.model import HeadKind, Indices, Matrix, Options, Probabilities
from tasks.train.heads.scaling import ROWS, Scaling

CANDIDATES: tuple[Options, ...] = tuple(
    {"neighbours": neighbours, "components": components} for components in (32, 256) for neighbours in (15, 7, 3)
)
"""`components`: the principal components in which distances are measured."""
SHARED_VOTE = 0.01
"""One vote spread evenly over the labels, for images that have no neighbour nearer than the first other one."""
MIN_REACH = 1e-9
"""Smallest squared distance of the first other image, for images that are all equal."""

BLOCK_IMAGES = 1024
"""So many images are compared with those known at a time: the distances of all would be more than a machine holds."""

_NEIGHBOURS = f"""
    {ROWS}
    places = MatMul (rows, basis)
    squares = ReduceSumSquare <axes = [1], keepdims = 1> (places)
    products = MatMul (places, twice_the_known)
    farness = Sub (squares, products)
    signed_distances = Add (farness, known_squares)
    distances = Relu (signed_distances)
    nearest, order = TopK <axis = 1, largest = 0> (distances, count)
    farthest = ReduceMax <axes = [1], keepdims = 1> (nearest)
    reach = Max (farthest, min_reach)
    ratios = Div (distances, reach)
    signed_weights = Sub (one, ratios)
    weights = Relu (signed_weights)
    sums = MatMul (weights, votes)
    counted = Add (sums, shared)
    total = ReduceSum <keepdims = 1> (counted, label_axis)
    shares = Div (counted, total)
    probabilities = Cast <to = 1> (shares)
"""


@dataclass(frozen=True, slots=True)
class NeighbourModel:
    """The training images and what they vote for.

    Attributes:
        scaling: of the features.
        basis: F x C principal components.
        known: S x C places of the training images.
        votes: S x L: the weight of each image's label.
        neighbours: how many are asked.
    """

    scaling: Scaling
    basis: NDArray[np.float64]
    known: NDArray[np.float64]
    votes: NDArray[np.float64]
    neighbours: int

    def probabilities(self, features: Matrix) -> Probabilities:
        """Return N x L shares of the neighbours' votes."""
        blocks = range(0, max(len(features), 1), BLOCK_IMAGES)
        return np.concatenate([self._block(features[start : start + BLOCK_IMAGES]) for start in blocks])

    def _block(self, features: Matrix) -> Probabilities:
        distances = cdist(self.scaling.rows(features) @ self.basis, self.known, "sqeuclidean")
        farthest = np.partition(distances, self._first_other, axis=1)[:, self._first_other, None]
        weights = np.maximum(1.0 - distances / np.maximum(farthest, MIN_REACH), 0.0)
        counted = weights @ self.votes + SHARED_VOTE / self.votes.shape[1]
        return np.asarray(counted / counted.sum(axis=1, keepdims=True))

    def to_onnx(self) -> onnx.ModelProto:
        """Return the same as a graph."""
        labels = self.votes.shape[1]
        constants = {
            **self.scaling.constants,
            "basis": self.basis,
            "twice_the_known": 2.0 * self.known.T,
            "known_squares": np.square(self.known).sum(axis=1),
            "count": [self._first_other + 1],
            "min_reach": MIN_REACH,
            "one": 1.0,
            "votes": self.votes,
            "shared": SHARED_VOTE / labels,
            "label_axis": [1],
        }
        return written(_NEIGHBOURS, len(self.basis), labels, constants)

    @property
    def _first_other(self) -> int:
        return min(self.neighbours, len(self.known) - 1)


def fit_neighbours(features: Matrix, y: Indices, candidates: Sequence[Options], seed: int) -> Iterator[NeighbourModel]:
    """Place the images for each candidate in turn; nothing here is random."""
    scaling = Scaling.of(features)
    rows = scaling.rows(features)
    basis = np.linalg.svd(rows, full_matrices=False)[2].T
    votes = np.eye(int(y.max()) + 1)[y] * compute_sample_weight("balanced", y)[:, None]
    for options in candidates:
        kept = basis[:, : int(options["components"])]
        yield NeighbourModel(scaling, kept, rows @ kept, votes, int(options["neighbours"]))


KNN = HeadKind(CANDIDATES, fit_neighbours)
