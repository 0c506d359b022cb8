"""Figures of the table besides the metric: the time per image, the size of the files."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tasks.bundle.predictor import Predictor, PreparedImage

ROUNDS = 10
TIMED_IMAGES = 8
NOT_FOR_PREDICTION = frozenset({"weights.safetensors", "README.md", "predict.py"})


def milliseconds_per_image(models: Sequence[Predictor], images: Sequence[PreparedImage]) -> list[float]:
    """Return each model's time per image, one image at a time: the mean over images of the best of `ROUNDS` rounds.

    The models take turns image by image, so that whatever else the machine does meets all of them.
    """
    best = np.full((len(models), len(images)), np.inf)
    for _ in range(ROUNDS):
        for column, image in enumerate(images):
            for row, model in enumerate(models):
                start = time.perf_counter()
                model.predict_prepared([image])
                best[row, column] = min(best[row, column], time.perf_counter() - start)
    return [round(1000 * float(np.mean(seconds)), 3) if images else 0.0 for seconds in best]


def megabytes(folder: Path) -> float:
    """Return the size of the files that a prediction opens, in millions of bytes."""
    sizes = [path.stat().st_size for path in folder.iterdir() if path.name not in NOT_FOR_PREDICTION]
    return round(sum(sizes) / 1e6, 3)
