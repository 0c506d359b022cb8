"""Images to embeddings: what a frozen backbone makes of them.

What it makes of an image depends on the image's bytes, the backbone's bytes, the preprocessing steps and the views;
these make the cache.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path

import numpy as np

from tasks.bundle.format import file_sha256
from tasks.bundle.predictor import BATCH_SIZE, OnnxNetwork
from tasks.bundle.preprocessing import Steps
from tasks.dataset.entries import ImageEntry
from tasks.shards.runner import HERE, ShardRunner
from tasks.stores.content import ContentStore, digest_of
from tasks.train.feature_cache import FeatureCache, Features
from tasks.train.views import View, see

EMBEDDING_VERSION = "1"
_DECODERS = 2


def embedding_cache(
    store: ContentStore, backbone: Path, steps: Steps, views: Sequence[View] = (), runner: ShardRunner = HERE
) -> FeatureCache:
    """Return the embeddings by one backbone after one preprocessing, of images and of further views of them."""
    return FeatureCache(store, _Embedding(backbone, steps, views), runner)


class _Embedding:
    def __init__(self, backbone: Path, steps: Steps, views: Sequence[View]) -> None:
        self._backbone, self._steps, self._views = backbone, steps, views
        shape = [step.model_dump(mode="json") for step in (*steps, *views)]
        self._sha256 = file_sha256(backbone)
        self.stages = (f"embedding-{digest_of([EMBEDDING_VERSION, self._sha256, shape])[:16]}",)

    def compute(self, root: Path, shard: Sequence[ImageEntry], blocks: Sequence[int], threads: int) -> list[Features]:
        network = _open(self._backbone, self._sha256, threads)
        # Decoding goes on in threads while the network runs: both release the interpreter's lock.
        with ThreadPoolExecutor(min(threads, _DECODERS) or _DECODERS) as pool:
            images = chain.from_iterable(pool.map(lambda entry: see(root, entry, self._steps, self._views), shard))
            features = []
            while batch := list(islice(images, BATCH_SIZE)):
                features.append(network.run(self._steps[-1].apply_to_batch(np.stack(batch))))
        return [np.concatenate(features).reshape(len(shard), 1 + len(self._views), -1)]


@lru_cache(1)
def _open(backbone: Path, _sha256: str, threads: int) -> OnnxNetwork:
    """Open a backbone once for all shards that this process carries out."""
    return OnnxNetwork(backbone.read_bytes(), threads=threads)
