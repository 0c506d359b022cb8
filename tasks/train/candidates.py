"""What training tries: kinds of heads on kinds of features, with and without further views; the best is kept.

All that is learned or chosen here sees the images it is given and nothing else, so that a fold of the k-fold estimate
repeats the whole choice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

from tasks.features.feature_set import FeatureSet
from tasks.features.keypoints import Vocabulary
from tasks.train.backbone import BackboneFeatures
from tasks.train.feature_kinds import (
    FeatureKind,
    FeatureKinds,
    backbone_kinds,
    engineered_kinds,
    feature_sets,
    steps_of,
)
from tasks.train.feature_table import FeatureTable
from tasks.train.heads.ensemble import mean_of
from tasks.train.heads.model import FittedHead, HeadName, Indices, Matrix, Options, Probabilities
from tasks.train.heads.targets import Targets, fit, image_losses, log_loss
from tasks.train.records import Trial
from tasks.train.surely_better import is_better

AUTO_HEADS: tuple[HeadName, ...] = ("logistic", "svm")
"""What `auto` tries: of the others, none did better on features of a few hundred images, and forests take longest."""
MAX_SVM_ROWS = 8000
"""Of more, `auto` leaves support vector machines out: they compare every two. Measured, one fit of all options:
4,000 rows take 4 seconds and 0.6 gigabytes, both of which grow with the square."""


@dataclass(frozen=True, slots=True)
class Search:
    """What is tried.

    Attributes:
        heads: the kinds of heads, simpler ones first; more than one are also tried as an ensemble.
        feature_sets: what a head may see, each as kinds of features side by side.
        seed: of everything random.
    """

    heads: tuple[HeadName, ...]
    feature_sets: tuple[FeatureKinds, ...]
    seed: int

    @classmethod
    def of(cls, algorithm: HeadName | None, features: Sequence[FeatureKind], seed: int) -> "Search":
        """Return the search for a wish; None and no features leave the choice to the search."""
        return cls((algorithm,) if algorithm else AUTO_HEADS, feature_sets(features), seed)

    @property
    def kinds(self) -> FeatureKinds:
        """All kinds of features that are seen."""
        return tuple(dict.fromkeys(kind for kinds in self.feature_sets for kind in kinds))


@dataclass(frozen=True, slots=True)
class Classifier:
    """A fitted head, what it sees of an image, and what else was tried.

    Attributes:
        head: fitted on its features.
        features: kinds of features, in the order of the head's columns.
        vocabulary: what `sift_words` learned from the same images, where that is among them.
        with_views: whether it learned from further views too.
        trials: all that was tried, in order, and which of them is this one.
    """

    head: FittedHead
    features: FeatureKinds
    vocabulary: Vocabulary | None
    with_views: bool
    trials: tuple[Trial, ...] = ()

    @property
    def backbone_features(self) -> tuple[BackboneFeatures, ...]:
        """Those that a backbone gives, in the order of the first columns."""
        return backbone_kinds(self.features)

    @property
    def engineered(self) -> FeatureSet | None:
        """Those that are engineered, in the order of the last columns; None without any."""
        steps = steps_of(engineered_kinds(self.features))
        return FeatureSet(steps, self.vocabulary) if steps else None

    @property
    def out_of_fold(self) -> Probabilities:
        """N x L probabilities of the images it was fitted on, each by a model that did not see it."""
        return self.head.out_of_fold

    @property
    def chosen(self) -> Options:
        """What the search settled on, by name."""
        return {
            "algorithm": self.head.kind,
            "features": listed(self.features),
            "views": "also mirrored and turned" if self.with_views else "as they are",
            **self.head.chosen,
        }

    def rows(self, features: FeatureTable) -> Matrix:
        """Return what the head sees of images, N x F: the first view of each."""
        return features.see(self.features, self.vocabulary, views=1)[:, 0]

    def probabilities(self, features: FeatureTable) -> Probabilities:
        """Return N x L probabilities of images."""
        return self.head.probabilities(self.rows(features))


def fit_best(
    search: Search,
    features: FeatureTable,
    targets: Targets,
    groups: Indices | None = None,
    check: Callable[[], None] = lambda: None,
) -> Classifier:
    """Fit what the search names and keep the best: lowest class-balanced log loss out of fold, simpler on a tie.

    Each head sees each set of features first; with the set that is kept, all heads then learn from further views too.
    Engineered features replace a backbone's only where they are surely better: measured, those that were better by
    less cost a tenth of macro-F1 on images that the choice did not see (benchmarks/README.md).

    Args:
        search: what is tried.
        features: of N images.
        targets: of the images; where each has one label, every label is on two images or more.
        groups: number of each image's group, which no division parts; None when each image is one.
        check: called before each head is fitted; what it raises ends the search.
    """

    def fitted(head: HeadName, kinds: FeatureKinds, *, with_views: bool) -> Classifier:
        check()
        return _fit(head, kinds, features, targets, groups, search.seed, with_views=with_views)

    tried = [
        fitted(head, kinds, with_views=False)
        for kinds, head in product(search.feature_sets, _affordable(search.heads, len(targets)))
    ]
    seen = _kept_set(tried, targets)
    tried += _ensemble([one for one in tried if one.features == seen])
    if features.views > 1:
        heads = _affordable(search.heads, len(targets) * features.views)
        viewed = [fitted(head, seen, with_views=True) for head in heads]
        tried += [*viewed, *_ensemble(viewed)]
    best = _best([one for one in tried if one.features == seen], targets)
    trials = tuple(Trial(name=_in_words(one), log_loss=_loss(one, targets), kept=one is best) for one in tried)
    return replace(best, trials=trials)


def _kept_set(tried: Sequence[Classifier], targets: Targets) -> FeatureKinds:
    """Return the kinds of features of the best, a backbone's unless others are surely better."""
    best = _best(tried, targets)
    of_backbone = [one for one in tried if one.backbone_features]
    if best.backbone_features or not of_backbone:
        return best.features
    kept = _best(of_backbone, targets)
    losses = (image_losses(one.out_of_fold, targets) for one in (kept, best))
    return best.features if is_better(*losses) else kept.features


def _affordable(heads: Sequence[HeadName], rows: int) -> Sequence[HeadName]:
    """Return the heads without those that so many rows are too many for, unless nothing would be left."""
    return [head for head in heads if head != "svm" or rows <= MAX_SVM_ROWS] or heads


def _fit(
    head: HeadName,
    kinds: FeatureKinds,
    features: FeatureTable,
    targets: Targets,
    groups: Indices | None,
    seed: int,
    *,
    with_views: bool,
) -> Classifier:
    fitted = fit(head, features.learner(kinds, None if with_views else 1), targets, seed, groups)
    return Classifier(fitted, kinds, features.learn(kinds), with_views)


def _ensemble(members: Sequence[Classifier]) -> list[Classifier]:
    return [replace(members[0], head=mean_of([one.head for one in members]))] if len(members) > 1 else []


def _best(tried: Sequence[Classifier], targets: Targets) -> Classifier:
    return min(tried, key=lambda one: _loss(one, targets))


def _loss(one: Classifier, targets: Targets) -> float:
    return round(log_loss(one.out_of_fold, targets), 4)


def _in_words(one: Classifier) -> str:
    kind = one.head.kind if one.head.kind != "ensemble" else f"ensemble of {one.head.chosen['members']}"
    return f"{kind} on {listed(one.features)}{', with views' if one.with_views else ''}"


def listed(kinds: FeatureKinds) -> str:
    """Name kinds of features in words."""
    *others, last = kinds
    return f"{', '.join(others)} and {last}" if others else last
