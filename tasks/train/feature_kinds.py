"""The kinds of features that classifiers see: those of the backbone, and the engineered ones."""

from collections.abc import Sequence
from typing import cast, get_args

from tasks.features.feature_set import FEATURES, FeatureName, FeatureStep
from tasks.train.backbone import STAGE_WIDTHS, BackboneFeatures

FeatureKind = BackboneFeatures | FeatureName
FeatureKinds = tuple[FeatureKind, ...]
"""Side by side, those of the backbone first, as a bundle has them."""

CHEAP_SET: FeatureKinds = ("lbp", "colour", "hog")
AUTO_SETS: tuple[FeatureKinds, ...] = (*((name,) for name in get_args(BackboneFeatures)), CHEAP_SET)
"""What is tried where nothing is asked for; of equally good sets the first is kept."""


def feature_sets(wanted: Sequence[FeatureKind]) -> tuple[FeatureKinds, ...]:
    """Return the sets that are tried for a wish; none leaves the choice to the search."""
    return ((*backbone_kinds(wanted), *engineered_kinds(wanted)),) if wanted else AUTO_SETS


def backbone_kinds(kinds: Sequence[FeatureKind]) -> tuple[BackboneFeatures, ...]:
    """Return those of the backbone, in their order."""
    return tuple(cast("BackboneFeatures", kind) for kind in kinds if kind not in FEATURES)


def engineered_kinds(kinds: Sequence[FeatureKind]) -> tuple[FeatureName, ...]:
    """Return the engineered ones, in their order."""
    return tuple(cast("FeatureName", kind) for kind in kinds if kind in FEATURES)


def steps_of(kinds: Sequence[FeatureName]) -> tuple[FeatureStep, ...]:
    """Return engineered features with their defaults."""
    return tuple(FEATURES[kind]() for kind in kinds)


def parts_of(kind: FeatureKind, width: int) -> dict[str, int]:
    """Return what a kind of so many columns consists of, by name: number of columns, in their order."""
    return dict(STAGE_WIDTHS) if kind == "stages" and width == sum(STAGE_WIDTHS.values()) else {kind: width}
