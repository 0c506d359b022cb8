"""Images to embeddings: what a frozen backbone makes of them.

A row depends on the image's bytes, the backbone's bytes and the preprocessing steps; these make the cache.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np

from tasks.bundle.format import file_sha256
from tasks.bundle.predictor import BATCH_SIZE, OnnxNetwork
from tasks.bundle.preprocessing import ClassifierSteps, frame
from tasks.dataset.entries import ImageEntry
from tasks.dataset.files import read_image_bytes
from tasks.stores.content import ContentStore, digest_of
from tasks.train.feature_cache import FeatureCache, Features
from tasks.vision.images import decode_rgb

EMBEDDING_VERSION = "1"
_DECODERS = 2


def embedding_cache(store: ContentStore, backbone: Path, steps: ClassifierSteps) -> FeatureCache:
    """Return the embeddings by one backbone after one preprocessing."""
    return FeatureCache(store, _Embedding(backbone, steps))


class _Embedding:
    def __init__(self, backbone: Path, steps: ClassifierSteps) -> None:
        self._backbone, self._steps = backbone, steps
        shape = [EMBEDDING_VERSION, file_sha256(backbone), [step.model_dump(mode="json") for step in steps]]
        self.stages = (f"embedding-{digest_of(shape)[:16]}",)

    def compute(self, root: Path, shard: Sequence[ImageEntry], blocks: Sequence[int]) -> list[Features]:
        # Decoding goes on in threads while the network runs: both release the interpreter's lock.
        with ThreadPoolExecutor(_DECODERS) as pool:
            images = pool.map(lambda entry: frame(decode_rgb(read_image_bytes(root, entry)), self._steps), shard)
            features = []
            while batch := list(islice(images, BATCH_SIZE)):
                features.append(self._network.run(self._steps[-1].apply_to_batch(np.stack(batch))))
        return [np.concatenate(features)]

    @cached_property
    def _network(self) -> OnnxNetwork:
        return OnnxNetwork(self._backbone.read_bytes())
