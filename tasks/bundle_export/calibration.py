"""Which training images show a network the numbers it will meet: the ranges of 8-bit numbers are taken from them."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.bundle.format import ModelCard
from tasks.bundle.preprocessing import prepare_batch
from tasks.bundle_export.frozen import decode_frozen
from tasks.dataset.entries import ImageEntry

CALIBRATION_IMAGES = 64


def choose_images(entries: Sequence[ImageEntry], count: int = CALIBRATION_IMAGES) -> list[ImageEntry]:
    """Return at most `count` images, each set of labels in turn, those of one set in the order of their digests.

    Equal entries give equal choices, in whatever order they come, and one more image elsewhere changes few of them.
    """
    by_labels: dict[tuple[str, ...], list[ImageEntry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda one: (one.sha256, one.source_ref)):
        by_labels[entry.truth.labels].append(entry)
    ranked = [(rank, labels, entry) for labels, same in by_labels.items() for rank, entry in enumerate(same)]
    return [entry for _, _, entry in sorted(ranked, key=lambda one: one[:2])[:count]]


def network_inputs(card: ModelCard, root: Path, entries: Sequence[ImageEntry]) -> Iterator[NDArray[np.float32]]:
    """Yield each image as the network takes it, 1 x 3 x height x width.

    Raises:
        SourceChanged: when a file is gone, or its bytes are not those that the version was made with.
    """
    for entry in entries:
        yield prepare_batch([decode_frozen(root, entry)], card.steps)
