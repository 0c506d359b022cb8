"""Features of made-up images: a cloud around a centre for each label."""

import numpy as np
from numpy.typing import NDArray

Data = tuple[NDArray[np.float32], NDArray[np.intp]]


def blobs(counts: tuple[int, ...], width: int, distance: float = 1.0, seed: int = 0) -> Data:
    """Return features and label indices; at distance 0 the labels say nothing."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(counts)), counts)
    centres = rng.normal(size=(len(counts), width)) * distance
    scale = rng.uniform(0.2, 3.0, width)
    return ((centres[y] + rng.normal(size=(len(y), width))) * scale + 5.0).astype(np.float32), y
