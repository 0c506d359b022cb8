"""How long teaching a network would take, told without teaching it: from one look at what a forward pass takes here.

torch takes seconds to load and a step of learning takes seconds too, which a run on a CPU that tries no network should
not spend. The exported backbone is there already.
"""

import time
from pathlib import Path

import numpy as np

from tasks.bundle.predictor import OnnxNetwork
from tasks.train.epochs import passes_per_epoch

STEP_COST = 8.0
"""Time of a step of `finetune` as a multiple of that of a forward pass of the same images by ONNX Runtime. Measured, of
an image of 320 pixels on one thread: a forward pass 50 ms in torch, about a third of it in ONNX Runtime, and the stages
that learn 87 ms forwards and back; the frozen ones and what is done to an image add the rest."""
TIMED_IMAGES = 4


def forward_seconds(backbone: Path, input_size: int) -> float:
    """Return the time that an exported backbone takes for an image of S x S pixels (seconds); the quicker of two."""
    network = OnnxNetwork(backbone.read_bytes())
    images = np.zeros((TIMED_IMAGES, 3, input_size, input_size), np.float32)
    times = []
    for _ in range(2):
        start = time.perf_counter()
        network.run(images)
        times.append(time.perf_counter() - start)
    return min(times) / TIMED_IMAGES


def teaching_seconds(forward: float, scale: float, images: int, epochs: int, networks: int) -> float:
    """Return how long so many networks learn, if each takes all its epochs (seconds).

    Args:
        forward: time of a forward pass of one image (seconds).
        scale: pixels that the network sees, as a share of those of the forward pass.
        images: number of images that each learns from; a small set is gone through several times in an epoch.
        epochs: the most that each learns.
        networks: how many are taught.
    """
    return forward * scale * STEP_COST * passes_per_epoch(images) * images * epochs * networks


def in_words(seconds: float) -> str:
    """Say roughly how long that is.

    >>> in_words(42.0), in_words(540.0), in_words(9000.0)
    ('42 s', '9 min', '2.5 h')
    """
    if seconds < 90.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 5400.0 else f"{seconds / 3600.0:.1f} h"
