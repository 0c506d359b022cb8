"""Images to patches, a batch at a time: patches of all images at once would take a megabyte for each."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.bundle.predictor import BATCH_SIZE, OnnxNetwork
from tasks.bundle.preprocessing import StretchedSteps, frame
from tasks.dataset.entries import ImageEntry
from tasks.dataset.files import read_image_bytes
from tasks.train.anomaly.memory import Patches
from tasks.train.anomaly.parts import Arrays, Parts
from tasks.train.anomaly.patch_network import STRIDE
from tasks.train.feature_cache import SHARD_IMAGES
from tasks.vision.images import decode_rgb

DECODERS = 2
MAX_CANDIDATES = 30_000
"""Patches that a memory is chosen from, evenly many of each image: 52 MB. Twice as many, and twice the memory, changed
the area under ROC on transistors by less than 0.001."""


def patches_of(
    network: OnnxNetwork, root: Path, entries: Sequence[ImageEntry], steps: StretchedSteps
) -> Iterator[NDArray[np.float32]]:
    """Yield the patches of batches of images: N x rows x columns x C.

    Raises:
        SourceChanged: when a file's bytes are not those that were checked at ingest.
    """
    remaining = iter(entries)
    with ThreadPoolExecutor(DECODERS) as pool:
        while batch := list(islice(remaining, BATCH_SIZE)):
            images = pool.map(lambda entry: frame(decode_rgb(read_image_bytes(root, entry)), steps), batch)
            yield network.run(steps[-1].apply_to_batch(np.stack(list(images))))


def candidate_patches(
    network: OnnxNetwork,
    root: Path,
    entries: Sequence[ImageEntry],
    steps: StretchedSteps,
    seed: int,
    parts: Parts,
    report: Callable[[int, int], None],
) -> tuple[Patches, NDArray[np.intp]]:
    """Return evenly many random patches of each image, about `MAX_CANDIDATES` in all, and each one's image."""
    rng, grid = np.random.default_rng(seed), (steps[-2].height // STRIDE) * (steps[-2].width // STRIDE)
    each = max(1, MAX_CANDIDATES // len(entries))
    # Chosen for all beforehand: what was kept of a killed training leaves the choice of the rest as it was.
    chosen = np.stack([rng.permutation(grid)[:each] for _ in entries])

    def candidates(start: int) -> Arrays:
        kept: list[Patches] = []
        for batch in patches_of(network, root, entries[start : start + SHARD_IMAGES], steps):
            kept += [patches.reshape(grid, -1)[chosen[start + len(kept) + n]] for n, patches in enumerate(batch)]
        return {"patches": np.stack(kept)}

    shards = []
    for start in range(0, len(entries), SHARD_IMAGES):
        shards.append(parts.reuse_or_make(f"candidates from {start}", partial(candidates, start))["patches"])
        report(min(start + SHARD_IMAGES, len(entries)), len(entries))
    return np.concatenate([shard.reshape(-1, shard.shape[-1]) for shard in shards]), np.repeat(
        np.arange(len(entries)), chosen.shape[1]
    )
