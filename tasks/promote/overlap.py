"""Images that a version learned from and would be measured on: the same bytes, or near-duplicates of them.

Images of one given group need no search: a dataset never divides a group over its splits.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.dataset.entries import ImageEntry, Split, read_index
from tasks.dataset.files import read_image_bytes
from tasks.dataset.near_duplicates import THUMBNAIL_SIDE, near_duplicate_pairs, thumbnail
from tasks.ground_truth.manifests import read_manifest
from tasks.ingest.records import IMAGES_FILE, TEST_IMAGES_FILE, THUMBNAILS_FILE
from tasks.manifest.records import Manifest
from tasks.promote.records import Overlap, SharedImage
from tasks.stores.content import ContentStore, StageKey, digest_of
from tasks.vision.images import decode_rgb

OVERLAP_STAGE = "promote-overlap"
OVERLAP_VERSION = "1"
LEARNED_SPLITS: tuple[Split, ...] = ("train", "validation")
MAX_EXAMPLES = 20
THREADS = 2
"""Each holds one decoded image, up to 300 MB."""

Cells = NDArray[np.uint8]
"""A thumbnail, 64 x 64 grey levels."""


@dataclass(frozen=True, slots=True)
class PlacedImage:
    """An image with the folder that its reference is relative to."""

    root: Path
    entry: ImageEntry


def find_overlap(store: ContentStore, manifest: Manifest, tested: Sequence[PlacedImage]) -> Overlap:
    """Search the training and validation images of a version for the images of a test set.

    What was found is kept in the store under the digests of all images: it is searched for once.

    Args:
        store: also holds the thumbnails that ingest made; images without one are decoded.
        manifest: of the version; it tells what it learned from.
        tested: the images of the test set, at least one.

    Raises:
        SourceChanged: when an image that must be decoded is gone, or its bytes are others.
        DataError: when the manifest cannot be read.
    """
    learned = [(split, image) for split in LEARNED_SPLITS for image in _images_of(manifest, split)]
    key = StageKey(
        stage=OVERLAP_STAGE,
        version=OVERLAP_VERSION,
        inputs={
            "learned": digest_of([[split, *_identity(image)] for split, image in learned]),
            "tested": digest_of([_identity(image) for image in tested]),
        },
        config={},
        libraries=("numpy", "opencv-python-headless", "pillow", "scipy"),
    )
    return store.reuse_or_make(key, Overlap, lambda _: _searched(store, learned, tested))[0]


def _images_of(manifest: Manifest, split: Split) -> Iterator[PlacedImage]:
    root = Path(manifest.roots[split])
    return (PlacedImage(root, entry) for entry in read_manifest(manifest.manifest_path(split)))


def _identity(image: PlacedImage) -> list[str]:
    return [image.entry.source_ref, image.entry.sha256]


def _searched(
    store: ContentStore, learned: Sequence[tuple[Split, PlacedImage]], tested: Sequence[PlacedImage]
) -> Overlap:
    test_refs = {image.entry.sha256: image.entry.source_ref for image in tested}
    copies = [
        SharedImage(split=split, learned_ref=one.entry.source_ref, test_ref=test_refs[one.entry.sha256], is_copy=True)
        for split, one in learned
        if one.entry.sha256 in test_refs
    ]
    others = [(split, image) for split, image in learned if image.entry.sha256 not in test_refs]
    near = [
        SharedImage(
            split=others[place][0],
            learned_ref=others[place][1].entry.source_ref,
            test_ref=tested[test_place].entry.source_ref,
            is_copy=False,
        )
        for place, test_place in _near_duplicates(store, tested, [image for _, image in others]).items()
    ]
    return Overlap(
        copies=len(copies), near_duplicates=len(near), examples=(*copies[:MAX_EXAMPLES], *near)[:MAX_EXAMPLES]
    )


def _near_duplicates(
    store: ContentStore, tested: Sequence[PlacedImage], others: Sequence[PlacedImage]
) -> dict[int, int]:
    """Return for each of `others` that shows the same as a test image, the first of these; both as places."""
    # The test images stand first: where many pictures show the same, each is found with the first of them.
    pairs = near_duplicate_pairs(_thumbnails(store, [*tested, *others]))
    across = pairs[(pairs[:, 0] < len(tested)) & (pairs[:, 1] >= len(tested))]
    # Sorted by the test image, so that of several the first stays.
    return {other - len(tested): test for test, other in across[::-1].tolist()}


def _thumbnails(store: ContentStore, images: Sequence[PlacedImage]) -> Cells:
    """Return a thumbnail of every image, (n, 64, 64)."""
    cells = _kept_at_ingest(store, {image.entry.sha256 for image in images})
    missing = {image.entry.sha256: image for image in images if image.entry.sha256 not in cells}
    with ThreadPoolExecutor(THREADS) as pool:
        cells |= dict(zip(missing, pool.map(_thumbnail_of, missing.values()), strict=True))
    return np.stack([cells[image.entry.sha256] for image in images])


def _thumbnail_of(image: PlacedImage) -> Cells:
    return thumbnail(decode_rgb(read_image_bytes(image.root, image.entry)))


def _kept_at_ingest(store: ContentStore, wanted: set[str]) -> dict[str, Cells]:
    """Return the thumbnails that ingest kept of images, by the digest of their bytes."""
    found: dict[str, Cells] = {}
    for folder in store.entries_of("ingest"):
        if len(found) == len(wanted):
            break
        try:
            found |= _wanted_of(folder, wanted)
        except (OSError, ValueError):  # of an older Keeneye, with other fields or files
            continue
    return found


def _wanted_of(folder: Path, wanted: set[str]) -> dict[str, Cells]:
    kept = np.load(folder / THUMBNAILS_FILE, mmap_mode="r", allow_pickle=False)
    if kept.shape[1:] != (THUMBNAIL_SIDE, THUMBNAIL_SIDE) or kept.dtype != np.uint8:
        return {}
    entries = enumerate(chain.from_iterable(_index(folder / name) for name in (IMAGES_FILE, TEST_IMAGES_FILE)))
    return {entry.sha256: kept[place] for place, entry in entries if entry.sha256 in wanted}


def _index(path: Path) -> Iterable[ImageEntry]:
    return read_index(path) if path.is_file() else ()
