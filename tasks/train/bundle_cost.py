"""What a model costs as a bundle: its size, and the time of an answer."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.bundle.predictor import Predictor
from tasks.vision.images import RgbImage

TIMED_IMAGES = 8


@dataclass(frozen=True, slots=True)
class BundleCost:
    """Size of all files (bytes), and the median time of an image shown alone (milliseconds, decoding apart)."""

    size: int
    ms_per_image: float


def cost_of(bundle: Path, images: Sequence[RgbImage]) -> BundleCost:
    """Measure a bundle on decoded images, one or more; the first is shown twice, for it alone pays for the start."""
    predictor = Predictor.open(bundle)
    seconds = []
    for image in (images[0], *images):
        start = time.perf_counter()
        predictor.predict([image])
        seconds.append(time.perf_counter() - start)
    size = sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file())
    return BundleCost(size, 1000.0 * float(np.median(seconds[1:])))
