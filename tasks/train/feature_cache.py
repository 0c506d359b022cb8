"""Rows of features by image content, computed once: kept in shards, so that a kill loses one at most."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tasks.dataset.entries import ImageEntry
from tasks.stores.content import ContentStore, StageKey

SHARD_IMAGES = 64
"""About half a second of work: small enough to lose, large enough that the marker files cost nothing."""
_FORMAT_VERSION = "1"
_FEATURES_FILE, _DIGESTS_FILE = "features.npy", "digests.txt"

Features = NDArray[np.float32]
"""N x V x F: of N images, in V views each; the first view is the image itself."""


class RowSource(Protocol):
    """What rows are computed from, in one or more blocks of columns that are kept apart.

    Attributes:
        stages: for each block, the name under which the store keeps it: other rows, another name.
    """

    @property
    def stages(self) -> Sequence[str]:
        """One name for each block."""
        ...

    def compute(self, root: Path, shard: Sequence[ImageEntry], blocks: Sequence[int]) -> Sequence[Features]:
        """Return those blocks of the rows of some images."""
        ...


class FeatureCache:
    """Feature rows by image digest.

    `computed` counts the images that this object computed anything of; rows found in the store do not count.
    """

    def __init__(self, store: ContentStore, source: RowSource) -> None:
        self._store, self._source = store, source
        self.computed = 0

    def features(self, root: Path, entries: Sequence[ImageEntry], report: Callable[[int, int], None]) -> Features:
        """Return N x V x F features in the order of `entries`, computing what the store does not hold yet.

        Raises:
            SourceChanged: when a file's bytes are not those that were checked at ingest.
        """
        blocks = [self._stored_rows(stage) for stage in self._source.stages]
        unique = {entry.sha256: entry for entry in entries}
        missing = [entry for digest, entry in unique.items() if any(digest not in rows for rows in blocks)]
        done = len(entries) - len(missing)
        report(done, len(entries))
        for start in range(0, len(missing), SHARD_IMAGES):
            shard = missing[start : start + SHARD_IMAGES]
            self._add(root, shard, blocks)
            done += len(shard)
            self.computed += len(shard)
            report(done, len(entries))
        return np.concatenate([np.stack([rows[entry.sha256] for entry in entries]) for rows in blocks], axis=-1)

    def _add(self, root: Path, shard: Sequence[ImageEntry], blocks: Sequence[dict[str, Features]]) -> None:
        digests = [entry.sha256 for entry in shard]
        wanted = [place for place, rows in enumerate(blocks) if any(digest not in rows for digest in digests)]
        for place, features in zip(wanted, self._source.compute(root, shard, wanted), strict=True):
            self._keep(self._source.stages[place], digests, features)
            blocks[place].update(zip(digests, features, strict=True))

    def _stored_rows(self, stage: str) -> dict[str, Features]:
        rows: dict[str, Features] = {}
        for folder in self._store.entries_of(stage):
            digests = (folder / _DIGESTS_FILE).read_text(encoding="ascii").split()
            rows.update(zip(digests, np.load(folder / _FEATURES_FILE, allow_pickle=False), strict=True))
        return rows

    def _keep(self, stage: str, digests: Sequence[str], features: Features) -> None:
        key = StageKey(stage=stage, version=_FORMAT_VERSION, inputs={"images": list(digests)}, config={})
        with self._store.create(key) as folder:
            np.save(folder / _FEATURES_FILE, features, allow_pickle=False)
            (folder / _DIGESTS_FILE).write_text("\n".join(digests), encoding="ascii")
