"""Heads for images that carry several labels or none: one head per label, against the rest."""

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from tasks.metrics.classification import Truths
from tasks.train.heads.folds import Folds, iterative_folds
from tasks.train.heads.graphs import joined, written
from tasks.train.heads.model import FittedHead, HeadName, Indices, Matrix, Model, Probabilities
from tasks.train.heads.search import INNER_FOLDS, SeenBy, fit_head_and_features

MIN_IMAGES = 2
"""With a label and without: one to learn from, one to judge on."""
_CONSTANT = "products = MatMul (features, nothing) probabilities = Add (products, shares)"


@dataclass(frozen=True, slots=True)
class OneVersusRest:
    """A model of two columns, without and with the label, for each label in turn."""

    models: tuple[Model, ...]

    def probabilities(self, features: Matrix) -> Probabilities:
        """Return N x L probabilities; a row's sum is the number of labels to expect, not 1."""
        return np.column_stack([model.probabilities(features)[:, 1] for model in self.models])

    def to_onnx(self) -> onnx.ModelProto:
        """Return all models as one graph."""
        places = range(len(self.models))
        columns = [f"label{place} = Gather <axis = 1> (part{place}_probabilities, with_label)" for place in places]
        side_by_side = f"probabilities = Concat <axis = 1> ({', '.join(f'label{place}' for place in places)})"
        nodes = " ".join([*columns, side_by_side])
        return joined([model.to_onnx() for model in self.models], nodes, len(self.models), {"with_label": [1]})


@dataclass(frozen=True, slots=True)
class ConstantModel:
    """What is answered of a label that too few images carry, or lack, to learn it: their share, whatever the image."""

    width: int
    share: float

    def probabilities(self, features: Matrix) -> Probabilities:
        """Return N x 2 probabilities."""
        return np.tile([1.0 - self.share, self.share], (len(features), 1))

    def to_onnx(self) -> onnx.ModelProto:
        """Return the same as a graph."""
        constants = {
            "nothing": np.zeros((self.width, 2), np.float32),
            "shares": np.array([1.0 - self.share, self.share], np.float32),
        }
        return written(_CONSTANT, self.width, 2, constants)


def fit_multi_label_head(
    name: HeadName, seen_by: SeenBy, truths: Truths, seed: int, groups: Indices | None = None
) -> FittedHead:
    """Fit a head of one kind for every label; of each option all labels' choices are told, in their order.

    Args:
        name: the kind of head.
        seen_by: as for `fit_head_and_features`.
        truths: N x L, whether an image carries a label; a row may hold none.
        seed: as for `fit_head_and_features`.
        groups: likewise.
    """
    divided = shared_folds(truths, seed, groups)
    heads = [
        fit_head_and_features(name, seen_by, truth.astype(np.intp), seed, groups, own)
        if min(truth.sum(), (~truth).sum()) >= MIN_IMAGES
        else _fit_constant(name, seen_by, truth)
        for truth, own in zip(truths.T, divided, strict=True)
    ]
    options = dict.fromkeys(option for head in heads for option in head.chosen)
    return FittedHead(
        kind=name,
        chosen={option: ", ".join(_told(head.chosen.get(option, "-")) for head in heads) for option in options},
        model=OneVersusRest(tuple(head.model for head in heads)),
        out_of_fold=np.column_stack([head.out_of_fold[:, 1] for head in heads]),
    )


def shared_folds(truths: Truths, seed: int, groups: Indices | None = None) -> list[Folds | None]:
    """Return for each label the folds that its options are chosen on, the same for all labels that can share them.

    What features learn, they learn once for each set of images learned from: folds of their own would let every label
    teach visual words of its own, each time a head is fitted.

    Args:
        truths: N x L.
        seed: of the division.
        groups: number of each image's group, which stays on one side.

    Returns:
        `INNER_FOLDS` folds with the label, and images without it, on every learning side; None for a label that needs
        folds of its own, such as one of too few groups.
    """
    units = np.arange(len(truths)) if groups is None else groups
    sides = [(truth, ~truth) for truth in truths.T]
    is_frequent = [min(len(np.unique(units[side])) for side in both) >= INNER_FOLDS for both in sides]
    if not any(is_frequent):
        return [None] * len(sides)
    divided = iterative_folds(truths[:, is_frequent], INNER_FOLDS, seed, groups)
    return [divided if all(side[train].any() for train, _ in divided for side in both) else None for both in sides]


def _fit_constant(name: HeadName, seen_by: SeenBy, truth: NDArray[np.bool_]) -> FittedHead:
    features = seen_by(np.arange(len(truth)))[:, 0]
    model = ConstantModel(features.shape[1], float(truth.mean()))
    return FittedHead(name, {}, model, model.probabilities(features))


def _told(value: str | int | float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
