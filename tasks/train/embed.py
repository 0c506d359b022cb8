"""Images to features, computed once: cached per image content, written in shards so that a kill loses one at most.

A feature row depends on the image's bytes, the backbone's bytes and the preprocessing steps; these make the cache.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.bundle.format import file_sha256
from tasks.bundle.predictor import BATCH_SIZE, OnnxNetwork
from tasks.bundle.preprocessing import ClassifierSteps, frame
from tasks.dataset.entries import ImageEntry
from tasks.dataset.files import read_image_bytes
from tasks.stores.content import ContentStore, StageKey, digest_of
from tasks.vision.images import decode_rgb

SHARD_IMAGES = 64
"""About half a second of work: small enough to lose, large enough that the marker files cost nothing."""
EMBEDDING_VERSION = "1"
_DECODERS = 2
_FEATURES_FILE, _DIGESTS_FILE = "features.npy", "digests.txt"

Features = NDArray[np.float32]


class EmbeddingCache:
    """Feature rows by image digest, for one backbone and one preprocessing.

    `computed` counts the images embedded by this object; rows found in the store do not count.
    """

    def __init__(self, store: ContentStore, backbone: Path, steps: ClassifierSteps) -> None:
        self._store, self._backbone, self._steps = store, backbone, steps
        shape = [file_sha256(backbone), [step.model_dump(mode="json") for step in steps]]
        self._stage = f"embedding-{digest_of(shape)[:16]}"
        self.computed = 0

    def features(self, root: Path, entries: Sequence[ImageEntry], report: Callable[[int, int], None]) -> Features:
        """Return N x F features in the order of `entries`, embedding what the store does not hold yet.

        Raises:
            SourceChanged: when a file's bytes are not those that were checked at ingest.
        """
        rows = self._stored_rows()
        missing = list({entry.sha256: entry for entry in entries if entry.sha256 not in rows}.values())
        done = len(entries) - len(missing)
        report(done, len(entries))
        for shard, features in self._embed_shards(root, missing):
            self._keep(shard, features)
            rows.update(zip((entry.sha256 for entry in shard), features, strict=True))
            done += len(shard)
            self.computed += len(shard)
            report(done, len(entries))
        return np.stack([rows[entry.sha256] for entry in entries])

    def _stored_rows(self) -> dict[str, Features]:
        rows: dict[str, Features] = {}
        for folder in self._store.entries_of(self._stage):
            digests = (folder / _DIGESTS_FILE).read_text(encoding="ascii").split()
            rows.update(zip(digests, np.load(folder / _FEATURES_FILE, allow_pickle=False), strict=True))
        return rows

    def _embed_shards(self, root: Path, entries: Sequence[ImageEntry]) -> Iterator[tuple[list[ImageEntry], Features]]:
        if not entries:
            return
        network = OnnxNetwork(self._backbone.read_bytes())
        remaining = iter(entries)
        while shard := list(islice(remaining, SHARD_IMAGES)):
            yield shard, self._embed(network, root, shard)

    def _embed(self, network: OnnxNetwork, root: Path, shard: Sequence[ImageEntry]) -> Features:
        # Decoding goes on in threads while the network runs: both release the interpreter's lock.
        with ThreadPoolExecutor(_DECODERS) as pool:
            images = pool.map(lambda entry: frame(decode_rgb(read_image_bytes(root, entry)), self._steps), shard)
            features = []
            while batch := list(islice(images, BATCH_SIZE)):
                features.append(network.run(self._steps[-1].apply_to_batch(np.stack(batch))))
        return np.concatenate(features)

    def _keep(self, shard: Sequence[ImageEntry], features: Features) -> None:
        digests = [entry.sha256 for entry in shard]
        key = StageKey(stage=self._stage, version=EMBEDDING_VERSION, inputs={"images": digests}, config={})
        with self._store.create(key) as folder:
            np.save(folder / _FEATURES_FILE, features, allow_pickle=False)
            (folder / _DIGESTS_FILE).write_text("\n".join(digests), encoding="ascii")
