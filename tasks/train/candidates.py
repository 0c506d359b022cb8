"""What training tries: kinds of heads on kinds of features, with and without further views; the best is kept.

All that is learned or chosen here sees the images it is given and nothing else, so that a fold of the k-fold estimate
repeats the whole choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise, product
from typing import get_args

import numpy as np

from tasks.train.backbone import FEATURE_WIDTHS, BackboneFeatures
from tasks.train.heads.ensemble import mean_of
from tasks.train.heads.model import FittedHead, HeadName, Indices, Options, Probabilities, Views
from tasks.train.heads.search import balanced_log_loss, fit_head
from tasks.train.records import Trial

AUTO_HEADS: tuple[HeadName, ...] = ("logistic", "svm")
"""What `auto` tries: of the others, none did better on features of a few hundred images, and forests take longest."""

_ENDS = list(accumulate(FEATURE_WIDTHS.values(), initial=0))
_COLUMNS = {name: slice(*ends) for name, ends in zip(FEATURE_WIDTHS, pairwise(_ENDS), strict=True)}


@dataclass(frozen=True, slots=True)
class Search:
    """What is tried.

    Attributes:
        heads: the kinds of heads, simpler ones first; more than one are also tried as an ensemble.
        feature_sets: what a head may see, each as kinds of features side by side.
        seed: of everything random.
    """

    heads: tuple[HeadName, ...]
    feature_sets: tuple[tuple[BackboneFeatures, ...], ...]
    seed: int

    @classmethod
    def of(cls, algorithm: HeadName | None, features: Sequence[BackboneFeatures], seed: int) -> "Search":
        """Return the search for a wish; None and no features leave the choice to the search."""
        every = tuple((name,) for name in get_args(BackboneFeatures))
        return cls((algorithm,) if algorithm else AUTO_HEADS, (tuple(features),) if features else every, seed)


@dataclass(frozen=True, slots=True)
class Classifier:
    """A fitted head, what it sees of an image, and what else was tried.

    Attributes:
        head: fitted on its features.
        features: kinds of features, in the order of the head's columns.
        with_views: whether it learned from further views too.
        trials: all that was tried, in order; the first with the lowest loss is this one.
    """

    head: FittedHead
    features: tuple[BackboneFeatures, ...]
    with_views: bool
    trials: tuple[Trial, ...] = ()

    @property
    def out_of_fold(self) -> Probabilities:
        """N x L probabilities of the images it was fitted on, each by a model that did not see it."""
        return self.head.out_of_fold

    @property
    def chosen(self) -> Options:
        """What the search settled on, by name."""
        return {
            "algorithm": self.head.kind,
            "features": " and ".join(self.features),
            "views": "also mirrored and turned" if self.with_views else "as they are",
            **self.head.chosen,
        }

    def columns(self, features: Views) -> Views:
        """Return those of all features (N x V x F) that the head sees."""
        return _columns(features, self.features)

    def probabilities(self, features: Views) -> Probabilities:
        """Return N x L probabilities of images from all their features (N x V x F), the first view of each."""
        return self.head.probabilities(self.columns(features[:, 0]))


def fit_best(search: Search, features: Views, y: Indices) -> Classifier:
    """Fit what the search names and keep the best: lowest class-balanced log loss out of fold, simpler on a tie.

    Each head sees each set of features first; with the best set, all heads then learn from further views too.

    Args:
        search: what is tried.
        features: N x V x F, the columns in the order of `FEATURE_WIDTHS`.
        y: N label indices, every label on two images or more.
    """
    tried = [
        _fit(head, names, features[:, :1], y, search.seed) for names, head in product(search.feature_sets, search.heads)
    ]
    best = _best(tried, y).features
    tried += _ensemble([one for one in tried if one.features == best])
    if features.shape[1] > 1:
        viewed = [_fit(head, best, features, y, search.seed) for head in search.heads]
        tried += [*viewed, *_ensemble(viewed)]
    chosen = _best(tried, y)
    trials = tuple(Trial(name=_in_words(one), log_loss=_loss(one, y)) for one in tried)
    return Classifier(chosen.head, chosen.features, chosen.with_views, trials)


def _fit(head: HeadName, names: tuple[BackboneFeatures, ...], features: Views, y: Indices, seed: int) -> Classifier:
    seen = _columns(features, names)
    further = seen[:, 1:] if seen.shape[1] > 1 else None
    return Classifier(fit_head(head, seen[:, 0], y, seed, further), names, further is not None)


def _columns(features: Views, names: Sequence[BackboneFeatures]) -> Views:
    return np.concatenate([features[..., _COLUMNS[name]] for name in names], axis=-1)


def _ensemble(members: Sequence[Classifier]) -> list[Classifier]:
    if len(members) < 2:
        return []
    return [Classifier(mean_of([one.head for one in members]), members[0].features, members[0].with_views)]


def _best(tried: Sequence[Classifier], y: Indices) -> Classifier:
    return min(tried, key=lambda one: _loss(one, y))


def _loss(one: Classifier, y: Indices) -> float:
    return round(balanced_log_loss(one.out_of_fold, y), 4)


def _in_words(one: Classifier) -> str:
    return f"{one.head.kind} on {' and '.join(one.features)}{', with views' if one.with_views else ''}"
