"""How the search for near-duplicates grows, beside comparing all pairs of 64-bit hashes.

    uv run python benchmarks/near_duplicates.py [--largest 100000]

Thumbnails are painted: `varied` has pictures with nothing in common; `fixed camera` one base with three small local
differences each, and noise. One in fifty is a near-duplicate of another picture: other brightness and contrast, and
the noise of compression. `one scene` shows the base and noise only, so that all are near-duplicates of the first.
False pairs are all that were not planted; on a fixed camera some pictures may differ too little to be told apart.
"""

import argparse
import time
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.dataset.near_duplicates import THUMBNAIL_SIDE as SIDE
from tasks.dataset.near_duplicates import near_duplicate_pairs

Thumbnails = NDArray[np.uint8]

QUADRATIC_UP_TO = 10_000
HASH_BITS_APART = 4


def varied(rng: np.random.Generator, count: int) -> Thumbnails:
    """Paint pictures that have nothing in common."""
    return np.stack([_smooth(rng) for _ in range(count)]).clip(0, 255).astype(np.uint8)


def fixed_camera(rng: np.random.Generator, count: int) -> Thumbnails:
    """Paint one scene with three small local differences in each picture, and noise."""
    base = _smooth(rng)
    pictures = np.empty((count, SIDE, SIDE), np.uint8)
    for picture in pictures:
        levels = base + rng.standard_normal(base.shape, np.float32)
        for top, left, height, width in rng.integers((0, 0, 4, 4), (54, 54, 10, 10), (3, 4)):
            levels[top : top + height, left : left + width] += rng.choice((-1, 1)) * rng.uniform(20, 60)
        picture[:] = levels.clip(0, 255)
    return pictures


def one_scene(rng: np.random.Generator, count: int) -> Thumbnails:
    """Paint one scene again and again, with noise."""
    base = _smooth(rng)
    pictures = np.empty((count, SIDE, SIDE), np.uint8)
    for picture in pictures:
        picture[:] = (base + rng.standard_normal(base.shape, np.float32)).clip(0, 255)
    return pictures


def plant(rng: np.random.Generator, pictures: Thumbnails, share: float = 0.02) -> NDArray[np.intp]:
    """Turn some pictures into near-duplicates of others; return the pairs (planted, 2), the smaller place first."""
    count = int(len(pictures) * share)
    places = rng.permutation(len(pictures))[: 2 * count].reshape(-1, 2)
    for source, copy in places:
        levels = pictures[source] * rng.uniform(0.96, 1.04) + rng.uniform(-8, 8) + rng.normal(0, 0.7, (SIDE, SIDE))
        pictures[copy] = levels.clip(0, 255)
    return np.sort(places, axis=1)


def average_hashes(pictures: Thumbnails) -> NDArray[np.uint64]:
    """Return the 64-bit average hash of each picture."""
    blocks = pictures.reshape(-1, 8, SIDE // 8, 8, SIDE // 8).mean(axis=(2, 4)).reshape(len(pictures), 64)
    return np.packbits(blocks > blocks.mean(axis=1, keepdims=True), axis=1).view(np.uint64).ravel()


def all_pairs(hashes: NDArray[np.uint64]) -> int:
    """Count pairs of hashes at most `HASH_BITS_APART` apart, each with every other."""
    return sum(
        int((np.bitwise_count(hashes[place + 1 :] ^ hashes[place]) <= HASH_BITS_APART).sum())
        for place in range(len(hashes))
    )


def row(kind: str, pictures: Thumbnails, planted: NDArray[np.intp]) -> str:
    """Search and return a line of the table."""
    start = time.perf_counter()
    found = {(first, second) for first, second in near_duplicate_pairs(pictures).tolist()}
    seconds = time.perf_counter() - start
    wanted = {(first, second) for first, second in planted.tolist()}
    hits = f"{len(found & wanted)} of {len(wanted)}" if wanted else "-"
    others = len(found - wanted) if wanted else "-"
    per_image = seconds / len(pictures) * 1e6
    return f"| {kind} | {len(pictures)} | {seconds:.2f} | {per_image:.0f} | {hits} | {others} | {len(found)} |"


def quadratic_row(kind: str, pictures: Thumbnails) -> str:
    """Compare all pairs of hashes and return a line of the table."""
    start = time.perf_counter()
    found = all_pairs(average_hashes(pictures))
    seconds = time.perf_counter() - start
    name = f"{kind}: all pairs of 64-bit hashes"
    return f"| {name} | {len(pictures)} | {seconds:.2f} | {seconds / len(pictures) * 1e6:.0f} | - | - | {found} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=100_000, help="most pictures at once (default 100000)")
    largest = parser.parse_args().largest
    painters: dict[str, Callable[[np.random.Generator, int], Thumbnails]] = {
        "varied": varied,
        "fixed camera": fixed_camera,
        "one scene": one_scene,
    }
    print("| pictures | number | s | us per picture | planted found | false pairs | pairs |")
    print("|---|---|---|---|---|---|---|")
    for kind, paint in painters.items():
        for count in (count for count in (1_000, 10_000, 100_000) if count <= largest):
            rng = np.random.default_rng(count)
            pictures = paint(rng, count)
            planted = np.empty((0, 2), np.intp) if kind == "one scene" else plant(rng, pictures)
            print(row(kind, pictures, planted), flush=True)
            if count <= QUADRATIC_UP_TO:
                print(quadratic_row(kind, pictures), flush=True)


def _smooth(rng: np.random.Generator) -> NDArray[np.float32]:
    coarse = rng.integers(20, 230, (8, 8)).astype(np.float32)
    return cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


if __name__ == "__main__":
    main()
