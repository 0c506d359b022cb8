"""Engineered features of many images: threads with an image each beside a plain loop over the same OpenCV calls.

The plain loop leaves OpenCV its own threads, which divide each image among themselves. A second loop takes HOG and the
local binary patterns from scikit-image, as a careful user would. Contestants take turns, of each the best round counts.

    uv run python benchmarks/engineered_features.py [--data FOLDER] [--count IMAGES]
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from skimage.feature import hog, local_binary_pattern

from tasks.bundle.preprocessing import frame, standard_steps
from tasks.features.feature_set import FEATURES, FeatureSet
from tasks.features.gradients import Hog
from tasks.features.keypoints import SiftWords
from tasks.features.texture import LocalBinaryPatterns
from tasks.vision.images import IMAGE_SUFFIXES, RgbImage, decode_rgb
from tasks.vision.resizing import stretch

SHARED = Path(__file__).resolve().parents[2] / "shared"
INPUT_SIZE = 320
ROUNDS = 5
WANTED = 1.7


def main() -> None:
    """Read, check that all give the same rows, measure, print a Markdown table."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--data", type=Path, default=SHARED / "data" / "mvtec_transistor")
    cli.add_argument("--count", type=int, default=100)
    arguments = cli.parse_args()
    images = read_images(arguments.data, arguments.count)
    vocabulary = SiftWords().fit([SiftWords().describe(image) for image in images[:20]], 0)
    features = FeatureSet(tuple(feature() for feature in FEATURES.values()), vocabulary)

    print(
        f"{len(images)} images, {INPUT_SIZE} pixels a side, {features.width} values each, {cv2.getNumThreads()} threads"
    )
    print("| feature | plain loop, ms an image | keeneye, ms an image | ratio |")
    print("|---|---|---|---|")
    for part in features.parts():
        tell(part.steps[0].name, *measure([plain_loop(part, images), threads(part, images)]), len(images))
    plain, ours, users = measure(
        [plain_loop(features, images), threads(features, images), users_loop(features, images)]
    )
    tell(f"all (wanted {WANTED:g})", plain, ours, len(images))
    tell("all, HOG and patterns by scikit-image", users, ours, len(images))


def read_images(folder: Path, count: int) -> list[RgbImage]:
    """Return photographs as a classifier's default framing gives them, evenly chosen from a folder without masks."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in IMAGE_SUFFIXES)
    photographs = [path for path in paths if "ground_truth" not in path.parts]
    steps = standard_steps(INPUT_SIZE)
    chosen = photographs[:: max(1, len(photographs) // count)][:count]
    return [frame(decode_rgb(path.read_bytes()), steps) for path in chosen]


def plain_loop(features: FeatureSet, images: list[RgbImage]) -> Callable[[], np.ndarray]:
    """One image after the other."""
    return lambda: np.stack([features.extract(image) for image in images])


def threads(features: FeatureSet, images: list[RgbImage]) -> Callable[[], np.ndarray]:
    """As Keeneye does it."""
    return lambda: features.extract_all(images)


def users_loop(features: FeatureSet, images: list[RgbImage]) -> Callable[[], np.ndarray]:
    """One image after the other, two of the features by scikit-image."""
    others = [part for part in features.parts() if not isinstance(part.steps[0], Hog | LocalBinaryPatterns)]

    def extract(image: RgbImage) -> np.ndarray:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        small = cv2.cvtColor(stretch(image, Hog().side, Hog().side), cv2.COLOR_RGB2GRAY)
        blocks = hog(small, 9, (Hog().cell,) * 2, (Hog().block,) * 2, block_norm="L2-Hys")
        codes = [local_binary_pattern(grey, 8, radius, "uniform") for radius in LocalBinaryPatterns().radii]
        patterns = [np.bincount(code.astype(int).ravel(), minlength=10) / grey.size for code in codes]
        return np.concatenate([blocks, *patterns, *(part.extract(image) for part in others)])

    return lambda: np.stack([extract(image) for image in images])


def measure(contestants: list[Callable[[], np.ndarray]]) -> list[float]:
    """Return the seconds of each contestant's best round, after one round that does not count."""
    shapes = {run().shape for run in contestants}
    if len(shapes) != 1:
        raise SystemExit(f"the contestants give different rows: {shapes}")
    best = [float("inf")] * len(contestants)
    for _ in range(ROUNDS):
        for place, run in enumerate(contestants):
            start = time.perf_counter()
            run()
            best[place] = min(best[place], time.perf_counter() - start)
    return best


def tell(name: str, plain: float, ours: float, count: int) -> None:
    """Print a row."""
    print(f"| {name} | {1000 * plain / count:.2f} | {1000 * ours / count:.2f} | {plain / ours:.2f} |")


if __name__ == "__main__":
    main()
