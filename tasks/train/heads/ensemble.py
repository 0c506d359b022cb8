"""Several heads on the same features, and the mean of what they say."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from tasks.train.heads.graphs import joined
from tasks.train.heads.model import FittedHead, Matrix, Model, Probabilities


@dataclass(frozen=True, slots=True)
class MeanModel:
    """Models of equal weight."""

    models: tuple[Model, ...]

    def probabilities(self, features: Matrix) -> Probabilities:
        """Return N x L probabilities: the mean of the models'."""
        return np.asarray(np.mean([model.probabilities(features) for model in self.models], axis=0))

    def to_onnx(self) -> onnx.ModelProto:
        """Return all models and their mean as one graph."""
        parts = [model.to_onnx() for model in self.models]
        names = ", ".join(f"part{place}_probabilities" for place in range(len(parts)))
        labels = parts[0].graph.output[-1].type.tensor_type.shape.dim[1].dim_value
        return joined(parts, f"probabilities = Mean ({names})", labels, {})


def mean_of(heads: Sequence[FittedHead]) -> FittedHead:
    """Return the ensemble of heads that were fitted on the same images; choices are named KIND_OPTION."""
    return FittedHead(
        kind="ensemble",
        chosen={
            "members": " and ".join(head.kind for head in heads),
            **{f"{head.kind}_{name}": value for head in heads for name, value in head.chosen.items()},
        },
        model=MeanModel(tuple(head.model for head in heads)),
        out_of_fold=np.mean([head.out_of_fold for head in heads], axis=0),
    )
