"""A random forest: many trees, each grown on other images and other features."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from sklearn.ensemble import RandomForestClassifier

from tasks.train.heads.graphs import converted
from tasks.train.heads.model import HeadKind, Indices, Matrix, Options, Probabilities

TREES = 100
LEAVES = (4, 1)
"""Fewest images of a leaf: large leaves are the simpler trees."""


@dataclass(frozen=True, slots=True)
class ForestModel:
    """A fitted forest. Its features are not scaled: a tree asks for their order only."""

    forest: RandomForestClassifier

    def probabilities(self, features: Matrix) -> Probabilities:
        """Return N x L shares: the mean of what the trees say."""
        return np.asarray(self.forest.predict_proba(features))

    def to_onnx(self) -> onnx.ModelProto:
        """Return the trees as one operator; scikit-learn too compares in single precision."""
        return converted(self.forest, self.forest.n_features_in_)


def fit_forest(features: Matrix, y: Indices, candidates: Sequence[Options], seed: int) -> Iterator[ForestModel]:
    """Fit the same images with each candidate in turn."""
    for options in candidates:
        forest = RandomForestClassifier(
            n_estimators=TREES,
            min_samples_leaf=options["images_per_leaf"],
            class_weight="balanced",
            random_state=seed,
            n_jobs=1,
        )
        yield ForestModel(forest.fit(features, y))


FOREST = HeadKind(tuple({"images_per_leaf": count} for count in LEAVES), fit_forest)
