"""Images to engineered features, each feature cached apart: other combinations compute only what is new.

A row depends on the image's bytes, the steps up to the framing, the feature and what was learned for it.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tasks.bundle.preprocessing import Steps
from tasks.dataset.entries import ImageEntry
from tasks.features.feature_set import FeatureSet, FeatureStep, fit_features, image_threads
from tasks.stores.content import ContentStore, digest_of
from tasks.train.feature_cache import FeatureCache, Features
from tasks.train.views import View, see

MAX_LEARNED_IMAGES = 500
"""Their descriptors take 128 MB; a vocabulary learns nothing from more."""


def engineered_cache(
    store: ContentStore, features: FeatureSet, steps: Steps, views: Sequence[View] = ()
) -> FeatureCache:
    """Return the features of framed images and of views of them; the normalising is for networks and plays no part."""
    return FeatureCache(store, _Engineered(features, steps, views))


def fit_to_entries(
    wanted: Sequence[FeatureStep], root: Path, entries: Sequence[ImageEntry], steps: Steps, seed: int
) -> FeatureSet:
    """Learn from training images what the features need, from `MAX_LEARNED_IMAGES` of them at most.

    Raises:
        DataError: when the images have too few keypoints for the vocabulary of `sift_words`.
        RequestError: when a feature is named twice.
        SourceChanged: when a file's bytes are not those that were checked at ingest.
    """
    chosen = sorted(entries, key=lambda entry: entry.sha256)[:MAX_LEARNED_IMAGES]
    return fit_features(wanted, chosen, lambda entry: see(root, entry, steps, ())[0], seed)


class _Engineered:
    def __init__(self, features: FeatureSet, steps: Steps, views: Sequence[View]) -> None:
        self._parts, self._steps, self._views = features.parts(), steps, views
        framing = [step.model_dump(mode="json") for step in (*steps[:-1], *views)]
        self.stages = tuple(_stage(part, framing) for part in self._parts)

    def compute(self, root: Path, shard: Sequence[ImageEntry], blocks: Sequence[int]) -> list[Features]:
        parts = [self._parts[block] for block in blocks]

        def rows(entry: ImageEntry) -> list[Features]:
            seen = see(root, entry, self._steps, self._views)
            return [np.stack([part.extract(image) for image in seen]) for part in parts]

        with image_threads() as pool:
            return [np.stack(block) for block in zip(*pool.map(rows, shard), strict=True)]


def _stage(part: FeatureSet, framing: Sequence[object]) -> str:
    (step,) = part.steps
    learned = "" if part.vocabulary is None else hashlib.sha256(part.vocabulary.tobytes()).hexdigest()
    return f"features-{step.name}-{digest_of([framing, step.model_dump(mode='json'), learned])[:16]}"
