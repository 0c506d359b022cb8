"""The features of a lesson's images: each kind from its cache, which computes what it does not hold."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tasks.bundle.preprocessing import Steps
from tasks.dataset.entries import ImageEntry
from tasks.features.feature_set import FeatureSet
from tasks.features.keypoints import SiftWords
from tasks.shards.runner import HERE, ShardRunner
from tasks.stores.content import ContentStore
from tasks.train.backbone import divide_by_kind
from tasks.train.embed import embedding_cache
from tasks.train.engineered import descriptor_cache, engineered_cache
from tasks.train.feature_kinds import FeatureKind, backbone_kinds, engineered_kinds, steps_of
from tasks.train.feature_table import FeatureTable, VisualWords
from tasks.train.heads.model import Views
from tasks.train.records import Progress
from tasks.train.views import View


@dataclass(frozen=True, slots=True)
class FeatureSources:
    """What features come from, besides the images.

    Attributes:
        store: what the caches lie in.
        backbone: the exported backbone; None where no kind of features asks for it.
        steps: what happens to an image before.
        views: what is seen of an image besides itself.
        seed: of everything random.
        runner: who computes them.
        computed: by what features come from, number of images of which they were not known; grows when features are
            gathered.
    """

    store: ContentStore
    backbone: Path | None
    steps: Steps
    views: Sequence[View]
    seed: int
    runner: ShardRunner = HERE
    computed: Counter[str] = field(default_factory=Counter)


def gather_features(
    kinds: Sequence[FeatureKind], root: Path, entries: Sequence[ImageEntry], sources: FeatureSources, progress: Progress
) -> FeatureTable:
    """Return the features of images, in their order, at least those of the kinds named.

    Raises:
        SourceChanged: when a file's bytes are not those that were checked at ingest.
    """
    columns: dict[FeatureKind, Views] = {}
    if backbone_kinds(kinds):
        columns |= _embedded(root, entries, sources, progress)
    steps = steps_of(engineered_kinds(kinds))
    fixed = tuple(step for step in steps if not isinstance(step, SiftWords))
    if fixed:
        columns |= _extracted(FeatureSet(fixed), root, entries, sources, progress)
    step = next((step for step in steps if isinstance(step, SiftWords)), None)
    words = _described(step, root, entries, sources, progress) if step else None
    return FeatureTable(columns, np.arange(len(entries)), words)


def _embedded(
    root: Path, entries: Sequence[ImageEntry], sources: FeatureSources, progress: Progress
) -> Mapping[FeatureKind, Views]:
    if sources.backbone is None:
        raise ValueError("the kinds of features ask for a backbone, and there is none")
    cache = embedding_cache(sources.store, sources.backbone, sources.steps, sources.views, sources.runner)
    with progress("embed images", "images") as report:
        blocks = divide_by_kind(cache.features(root, entries, report))
    sources.computed["backbone"] += cache.computed
    return {kind: block for kind, block in blocks.items()}


def _extracted(
    features: FeatureSet, root: Path, entries: Sequence[ImageEntry], sources: FeatureSources, progress: Progress
) -> Mapping[FeatureKind, Views]:
    cache = engineered_cache(sources.store, features, sources.steps, sources.views, sources.runner)
    with progress("extract engineered features", "images") as report:
        blocks = cache.rows(root, entries, report)
    sources.computed["engineered"] += cache.computed
    return {step.name: np.stack(block) for step, block in zip(features.steps, blocks, strict=True)}


def _described(
    step: SiftWords, root: Path, entries: Sequence[ImageEntry], sources: FeatureSources, progress: Progress
) -> VisualWords:
    cache = descriptor_cache(sources.store, step, sources.steps, sources.views, sources.runner)
    with progress("describe keypoints", "images") as report:
        (descriptors,) = cache.rows(root, entries, report)
    sources.computed["keypoints"] += cache.computed
    return VisualWords(step, descriptors, 1 + len(sources.views), sources.seed)
