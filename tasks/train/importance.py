"""Which kinds of features a fold's classifier rests on: each is shuffled among the images held out."""

from collections.abc import Mapping, Sequence

import numpy as np

from tasks.train.candidates import Classifier
from tasks.train.cross_validation import FoldAnswers, score_fold
from tasks.train.feature_kinds import parts_of
from tasks.train.feature_table import FeatureTable
from tasks.train.heads.targets import Targets

SHUFFLES = 10
MIN_SHUFFLES = 2
MAX_ROWS = 20_000
"""Answers asked for of one kind, over all folds: of many images fewer shuffles tell as much."""


def shuffles_of(images: int) -> int:
    """Return how often each kind is shuffled where so many images are held out over all folds."""
    return max(MIN_SHUFFLES, min(SHUFFLES, MAX_ROWS // max(1, images)))


def drops_of(
    classifier: Classifier,
    thresholds: Mapping[str, float],
    held_out: FeatureTable,
    targets: Targets,
    labels: Sequence[str],
    shuffles: int,
    seed: int,
) -> dict[str, tuple[float, ...]]:
    """Return, by kind of features, how much macro-F1 each shuffle costs; below 0 where a shuffle does better.

    Args:
        classifier: fitted on other images.
        thresholds: by label, chosen on other images.
        held_out: features of N images.
        targets: of these images.
        labels: label names by index.
        shuffles: how often; each shuffle is the same for all kinds, and keeps an image's values of a kind together.
        seed: of the shuffles.
    """
    rows = classifier.rows(held_out)

    def macro_f1(seen: np.ndarray) -> float:
        return score_fold(FoldAnswers(thresholds, classifier.head.probabilities(seen)), targets, labels).macro_f1

    whole, columns = macro_f1(rows), _columns(classifier, held_out)
    random = np.random.default_rng(seed)
    drops: dict[str, list[float]] = {name: [] for name in columns}
    for _ in range(shuffles):
        order = random.permutation(len(rows))
        for name, place in columns.items():
            shuffled = rows.copy()
            shuffled[:, place] = rows[order, place]
            drops[name].append(whole - macro_f1(shuffled))
    return {name: tuple(values) for name, values in drops.items()}


def _columns(classifier: Classifier, features: FeatureTable) -> dict[str, slice]:
    places, start = {}, 0
    for kind in classifier.features:
        width = features.see((kind,), classifier.vocabulary, views=1).shape[-1]
        for name, part in parts_of(kind, width).items():
            places[name] = slice(start, start + part)
            start += part
    return places
