"""Rows of features by image content, computed once: kept in shards, so that a kill loses one at most."""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tasks.dataset.entries import ImageEntry
from tasks.shards.runner import HERE, ShardRunner, Tell, shards_of
from tasks.stores.content import ContentStore, StageKey

SHARD_IMAGES = 64
"""About half a second of work: small enough to lose, large enough that the marker files cost nothing."""
_FORMAT_VERSION = "1"
_FEATURES_FILE, _DIGESTS_FILE = "features.npy", "digests.txt"

Features = NDArray[np.float32]
"""N x V x F: of N images, in V views each; the first view is the image itself."""
Rows = NDArray[Any]
"""The same of any kind of number."""


class RowSource(Protocol):
    """What rows are computed from, in one or more blocks of columns that are kept apart; it pickles.

    Attributes:
        stages: for each block, the name under which the store keeps it: other rows, another name.
    """

    @property
    def stages(self) -> Sequence[str]:
        """One name for each block."""
        ...

    def compute(self, root: Path, shard: Sequence[ImageEntry], blocks: Sequence[int], threads: int) -> Sequence[Rows]:
        """Return those blocks of the rows of some images, with at most so many threads (0: one per core)."""
        ...


@dataclass(frozen=True, slots=True)
class FeatureShard:
    """Images of which some blocks of rows are wanted, by the blocks' places."""

    entries: Sequence[ImageEntry]
    blocks: Sequence[int]


@dataclass(frozen=True, slots=True)
class FeatureWork:
    """Computes and keeps the rows of shards.

    Attributes:
        store: keeps the rows.
        source: what they are computed from.
        root: folder to which references are relative.
    """

    store: ContentStore
    source: RowSource
    root: Path

    def __call__(self, shard: FeatureShard, threads: int, tell: Tell) -> list[Path]:
        """Return the entry of each block that is wanted.

        Raises:
            SourceChanged: when a file's bytes are not those that were checked at ingest.
        """
        keys = [self._key(block, shard.entries) for block in shard.blocks]
        # Where another worker died after it had kept some.
        missing = [place for place, key in enumerate(keys) if self.store.find(key) is None]
        if missing:
            blocks = [shard.blocks[place] for place in missing]
            computed = self.source.compute(self.root, shard.entries, blocks, threads)
            for place, rows in zip(missing, computed, strict=True):
                self._keep(keys[place], shard.entries, rows)
        tell(len(shard.entries))
        return [self.store.entry_path(key) for key in keys]

    def _key(self, block: int, entries: Sequence[ImageEntry]) -> StageKey:
        images = [entry.sha256 for entry in entries]
        return StageKey(self.source.stages[block], _FORMAT_VERSION, inputs={"images": images}, config={})

    def _keep(self, key: StageKey, entries: Sequence[ImageEntry], rows: Rows) -> None:
        with self.store.create(key) as folder:
            np.save(folder / _FEATURES_FILE, rows, allow_pickle=False)
            (folder / _DIGESTS_FILE).write_text("\n".join(entry.sha256 for entry in entries), encoding="ascii")


class FeatureCache:
    """Feature rows by image digest.

    `computed` counts the images that this object computed anything of; rows found in the store do not count.
    """

    def __init__(self, store: ContentStore, source: RowSource, runner: ShardRunner = HERE) -> None:
        self._store, self._source, self._runner = store, source, runner
        self.computed = 0

    def features(self, root: Path, entries: Sequence[ImageEntry], report: Callable[[int, int], None]) -> Features:
        """Return N x V x F features in the order of `entries`, all blocks side by side; raises as `rows` does."""
        return _side_by_side(self.rows(root, entries, report))

    def rows(self, root: Path, entries: Sequence[ImageEntry], report: Callable[[int, int], None]) -> list[list[Rows]]:
        """Return for each block the rows in the order of `entries`, computing what the store does not hold yet.

        Rows lie in the store's files, and are read when they are used.

        Raises:
            SourceChanged: when a file's bytes are not those that were checked at ingest.
        """
        unique = {entry.sha256: entry for entry in entries}
        blocks = [self._stored_rows(stage, unique.keys()) for stage in self._source.stages]
        missing = [entry for digest, entry in unique.items() if any(digest not in rows for rows in blocks)]
        done = len(entries) - len(missing)
        report(done, len(entries))
        shards = [self._shard(part, blocks) for part in shards_of(missing, SHARD_IMAGES)]
        folders = self._runner.map(FeatureWork(self._store, self._source, root), shards, lambda _: None)
        for shard, kept in zip(shards, folders if shards else (), strict=True):
            for block, folder in zip(shard.blocks, kept, strict=True):
                blocks[block].update(_stored(folder))
            done += len(shard.entries)
            self.computed += len(shard.entries)
            report(done, len(entries))
        return [[rows[entry.sha256] for entry in entries] for rows in blocks]

    def _shard(self, entries: Sequence[ImageEntry], blocks: Sequence[dict[str, Rows]]) -> FeatureShard:
        wanted = [place for place, rows in enumerate(blocks) if any(entry.sha256 not in rows for entry in entries)]
        return FeatureShard(entries, wanted)

    def _stored_rows(self, stage: str, wanted: Set[str]) -> dict[str, Rows]:
        """Return the rows of some images; those of others, of whatever dataset, are left alone."""
        rows: dict[str, Rows] = {}
        for folder in self._store.entries_of(stage):
            rows.update((digest, row) for digest, row in _stored(folder).items() if digest in wanted)
        return rows


def _stored(folder: Path) -> dict[str, Rows]:
    digests = (folder / _DIGESTS_FILE).read_text(encoding="ascii").split()
    rows = np.load(folder / _FEATURES_FILE, mmap_mode="r", allow_pickle=False)
    # A plain view: numpy's own kind of array for files makes an object for every access.
    return dict(zip(digests, np.asarray(rows), strict=True))


def _side_by_side(blocks: Sequence[Sequence[Features]]) -> Features:
    """Join blocks of columns, each given row by row, without a copy of any."""
    widths = [rows[0].shape[-1] for rows in blocks]
    joined = np.empty((len(blocks[0]), *blocks[0][0].shape[:-1], sum(widths)), np.float32)
    end = 0
    for rows, width in zip(blocks, widths, strict=True):
        end += width
        for place, row in enumerate(rows):
            joined[place, ..., end - width : end] = row
    return joined
