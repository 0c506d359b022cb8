"""What a head is: arrays in, probabilities out, and an ONNX graph that answers alike.

Shapes: features are N x F, probabilities N x L, in the order of the labels; y is N label indices.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

HeadName = Literal["logistic", "svm", "random_forest", "knn", "ensemble"]
Options = Mapping[str, str | int | float]
"""Names and values of what a kind of head lets be chosen."""

Indices = NDArray[np.intp]
Matrix = NDArray[np.float32]
Views = NDArray[np.float32]
"""N x V x F: features of N images in V views each; the first view is the image itself."""
Probabilities = NDArray[np.float64]


class Model(Protocol):
    """A fitted classifier."""

    def probabilities(self, features: Matrix) -> Probabilities:
        """Return N x L probabilities of one row of features or more."""

    def to_onnx(self) -> onnx.ModelProto:
        """Return a graph with the input `features` and probabilities as its last output."""


@dataclass(frozen=True, slots=True)
class HeadKind:
    """A kind of classifier and what is tried of it.

    Attributes:
        candidates: the search space, simpler models first.
        fit: fits the same images (features, label indices) with each of some candidates in turn, labels weighing alike
            however many images they have; the last argument is the seed.
        is_calibrated: whether its probabilities are taken as they are.
    """

    candidates: tuple[Options, ...]
    fit: Callable[[Matrix, Indices, Sequence[Options], int], Iterator[Model]]
    is_calibrated: bool = False


@dataclass(frozen=True, slots=True)
class FittedHead:
    """A fitted classifier with the choice that led to it.

    Attributes:
        kind: its name.
        chosen: what the search settled on.
        model: the classifier.
        out_of_fold: N x L probabilities of the images it was fitted on, each by a model that did not see it.
    """

    kind: HeadName
    chosen: Options
    model: Model
    out_of_fold: Probabilities

    def probabilities(self, features: Matrix) -> Probabilities:
        """Return N x L probabilities; no rows for no rows."""
        if not len(features):
            return np.zeros((0, self.out_of_fold.shape[1]))
        return self.model.probabilities(features)
