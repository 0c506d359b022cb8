"""How many images an epoch of a network has: what learning goes by, and what its cost is told by. Without torch."""

import math

MIN_IMAGES_PER_EPOCH = 64
"""Smaller sets are gone through several times: an epoch is worth a checkpoint and a validation."""


def passes_per_epoch(images: int) -> int:
    """Return how often an epoch goes through so many images.

    >>> passes_per_epoch(200), passes_per_epoch(63)
    (1, 2)
    """
    return math.ceil(MIN_IMAGES_PER_EPOCH / images)
