"""Images to engineered features, each feature cached apart: other combinations compute only what is new.

A row depends on the image's bytes, the steps up to the framing, the views and the feature. Of `sift_words`, which learn
from images, the descriptors are kept: words that other images teach then cost no further look at an image.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tasks.bundle.preprocessing import Steps
from tasks.dataset.entries import ImageEntry
from tasks.features.feature_set import FeatureSet, image_threads
from tasks.features.keypoints import DESCRIPTOR_WIDTH, Descriptors, SiftWords
from tasks.shards.runner import HERE, ShardRunner
from tasks.stores.content import ContentStore, digest_of
from tasks.train.feature_cache import FeatureCache, Features, Rows
from tasks.train.views import View, see


def engineered_cache(
    store: ContentStore, features: FeatureSet, steps: Steps, views: Sequence[View] = (), runner: ShardRunner = HERE
) -> FeatureCache:
    """Return the features of framed images and of views of them; the normalising is for networks and plays no part."""
    return FeatureCache(store, _Engineered(features, steps, views), runner)


def descriptor_cache(
    store: ContentStore, step: SiftWords, steps: Steps, views: Sequence[View] = (), runner: ShardRunner = HERE
) -> FeatureCache:
    """Return the descriptors of framed images and of views of them: V x (K x 128) whole numbers, filled up with 0."""
    return FeatureCache(store, _Described(step, steps, views), runner)


class _Engineered:
    def __init__(self, features: FeatureSet, steps: Steps, views: Sequence[View]) -> None:
        self._parts, self._steps, self._views = features.parts(), steps, views
        self.stages = tuple(
            f"features-{part.steps[0].name}-{_shape(steps, views, part.steps[0].model_dump(mode='json'))}"
            for part in self._parts
        )

    def compute(self, root: Path, shard: Sequence[ImageEntry], blocks: Sequence[int], threads: int) -> list[Features]:
        parts = [self._parts[block] for block in blocks]

        def rows(entry: ImageEntry) -> list[Features]:
            seen = see(root, entry, self._steps, self._views)
            return [np.stack([part.extract(image) for image in seen]) for part in parts]

        with image_threads(threads) as pool:
            return [np.stack(block) for block in zip(*pool.map(rows, shard), strict=True)]


class _Described:
    def __init__(self, step: SiftWords, steps: Steps, views: Sequence[View]) -> None:
        self._step, self._steps, self._views = step, steps, views
        self.stages = (f"descriptors-{_shape(steps, views, [step.name, step.version, step.keypoints])}",)

    def compute(self, root: Path, shard: Sequence[ImageEntry], blocks: Sequence[int], threads: int) -> list[Rows]:
        def rows(entry: ImageEntry) -> Rows:
            seen = see(root, entry, self._steps, self._views)
            return np.stack([self._filled(self._step.describe(image)) for image in seen])

        with image_threads(threads) as pool:
            return [np.stack(list(pool.map(rows, shard)))]

    def _filled(self, descriptors: Descriptors) -> Rows:
        filled = np.zeros((self._step.keypoints, DESCRIPTOR_WIDTH), np.uint8)
        filled[: len(descriptors)] = descriptors
        return filled.ravel()


def _shape(steps: Steps, views: Sequence[View], feature: object) -> str:
    framing = [step.model_dump(mode="json") for step in (*steps[:-1], *views)]
    return digest_of([framing, feature])[:16]
