"""Heads for images that carry several labels or none: one head per label, against the rest."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from tasks.errors import DataError
from tasks.metrics.classification import Truths
from tasks.train.heads.graphs import joined
from tasks.train.heads.model import FittedHead, HeadName, Matrix, Model, Probabilities
from tasks.train.heads.search import fit_head

MIN_IMAGES = 2
"""With a label and without: one to learn from, one to judge on."""


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


def fit_multi_label_head(
    name: HeadName, features: Matrix, truths: Truths, labels: Sequence[str], seed: int
) -> FittedHead:
    """Fit a head of one kind for every label; choices are named LABEL.OPTION.

    Args:
        name: the kind of head.
        features: N x F.
        truths: N x L, whether an image carries a label; a row may hold none.
        labels: label names by column.
        seed: as for `fit_head`.

    Raises:
        DataError: when a label is carried by fewer than two images, or by all but fewer than two.
    """
    for label, with_label in zip(labels, truths.sum(axis=0).tolist(), strict=True):
        if min(with_label, len(truths) - with_label) < MIN_IMAGES:
            raise DataError(
                f"the label {label!r} is carried by {with_label} of {len(truths)} training images; {MIN_IMAGES} must "
                f"carry it and {MIN_IMAGES} must not: add images or remove the label"
            )
    heads = [fit_head(name, features, truths[:, column].astype(np.intp), seed) for column in range(len(labels))]
    return FittedHead(
        kind=name,
        chosen={
            f"{label}.{option}": value
            for label, head in zip(labels, heads, strict=True)
            for option, value in head.chosen.items()
        },
        model=OneVersusRest(tuple(head.model for head in heads)),
        out_of_fold=np.column_stack([head.out_of_fold[:, 1] for head in heads]),
    )
