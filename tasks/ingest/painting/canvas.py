"""What everything is painted on and with: the canvas's coordinates, coverage, colours laid over colours, smooth noise.

Lengths are in hole pitches. The middle lead's hole is the origin; y points down the leads.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]

SIDE = 320  # px, of the finished square picture
OVERSAMPLING = 2  # canvas pixels per finished pixel, along one side
CANVAS = SIDE * OVERSAMPLING  # px

REACH = 0.2  # how far from its centre line a lead is looked for


@dataclass(frozen=True)
class Patch:
    """A rectangle of the canvas, and the part coordinates of each of its pixels."""

    window: tuple[slice, slice]
    x: Array
    y: Array
    frame: NDArray[np.float64]  # 3 x 3, part to canvas

    def around(self, ends: NDArray[np.float64]) -> tuple[slice, slice]:
        """Return the window of the patch within ``REACH`` of a short segment of the canvas."""
        reach = REACH * float(np.hypot(*self.frame[:2, 0]))
        columns, rows = self.window[1].start, self.window[0].start
        x0, y0 = np.maximum(ends.min(0) - reach - (columns, rows), 0).astype(int)
        x1, y1 = np.maximum(ends.max(0) + reach + 1 - (columns, rows), 0).astype(int)
        return slice(y0, y1), slice(x0, x1)


def clouds(rng: np.random.Generator, cells: int, shape: tuple[int, ...]) -> Array:
    """Return smooth noise of unit strength, ``cells`` lumps along a side."""
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def resize(image: Array, side: int, how: int) -> Array:
    """Return a square of ``side`` pixels; ``how`` is one of OpenCV's interpolations."""
    return np.asarray(cv2.resize(image, (side, side), interpolation=how), np.float32)


def carry_back(frame: NDArray[np.float64], columns: Array, rows: Array) -> tuple[Array, Array]:
    """Return the coordinates, before ``frame``, of a grid of canvas points."""
    back = np.linalg.inv(frame).astype(np.float32)
    x = back[0, 0] * columns + back[0, 1] * rows[:, None] + back[0, 2]
    y = back[1, 0] * columns + back[1, 1] * rows[:, None] + back[1, 2]
    return x, y


def blank() -> Array:
    """Return the coverage of nothing, as large as the canvas."""
    return np.zeros((CANVAS, CANVAS), np.float32)


def edge(distance: Array, softness: float) -> Array:
    """Return coverage: 1 inside (negative distance), 0 outside, a ramp of ``softness`` between."""
    return np.asarray(np.clip(0.5 - distance / np.float32(softness), 0, 1), np.float32)


def blend(image: Array, colour: Array, coverage: Array) -> None:
    """Lay ``colour`` over ``image`` where ``coverage`` (0 to 1) says so, in place."""
    image += coverage[..., None] * (colour - image)
