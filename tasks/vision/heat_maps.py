"""Heat maps: how abnormal each part of an image is, coarse and small, and drawn over the image."""

import base64
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.vision.images import RgbImage

Heat = NDArray[np.float32]
"""Rows x columns, 0 or more, higher where it is abnormal."""

WHOLE = (0.0, 0.0, 1.0, 1.0)
MAX_OPACITY = 0.65
"""Of the colours laid over an image; what is below shows through."""
_HIGHEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True)
class HeatMap:
    """A grid over an image or a part of it, as text: it travels in records and compares by value.

    Attributes:
        rows: of the grid, from the part's upper edge to its lower one.
        columns: of the grid, from the left edge to the right one.
        data: half-precision numbers, row by row, little-endian, in base64.
        part: left, top, width and height of what the grid covers, as ratios of the image's width and height.
    """

    rows: int
    columns: int
    data: str
    part: tuple[float, float, float, float] = WHOLE

    @classmethod
    def of(cls, heat: Heat, part: tuple[float, float, float, float] = WHOLE) -> "HeatMap":
        """Keep a grid; numbers are rounded to half precision."""
        rows, columns = heat.shape
        kept = np.clip(heat, 0.0, _HIGHEST).astype("<f2")
        return cls(rows, columns, base64.b64encode(kept.tobytes()).decode("ascii"), part)

    def heat(self) -> Heat:
        """Return the grid.

        Raises:
            ValueError: when the text does not hold the grid.
        """
        numbers = np.frombuffer(base64.b64decode(self.data, validate=True), "<f2")
        return numbers.reshape(self.rows, self.columns).astype(np.float32)

    def over(self, width: int, height: int) -> Heat:
        """Return the heat of an image of `width` x `height` pixels; 0 where the grid does not reach."""
        left, right = (round(edge * width) for edge in (self.part[0], self.part[0] + self.part[2]))
        top, bottom = (round(edge * height) for edge in (self.part[1], self.part[1] + self.part[3]))
        whole = np.zeros((height, width), np.float32)
        whole[top:bottom, left:right] = enlarge(self.heat(), max(1, right - left), max(1, bottom - top))[
            : bottom - top, : right - left
        ]
        return whole


def enlarge(heat: Heat, width: int, height: int) -> Heat:
    """Interpolate a grid over `width` x `height` pixels."""
    return np.asarray(cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def heat_difference(one: HeatMap, other: HeatMap, least: float) -> float:
    """Return the largest difference of two maps of one image, as a share of the hotter one; 1 when the grids differ.

    Args:
        one: a map.
        other: the map to compare it with.
        least: heat that a difference is a share of where both are colder; above 0.
    """
    if (one.rows, one.columns, one.part) != (other.rows, other.columns, other.part):
        return 1.0
    first, second = one.heat(), other.heat()
    return float((np.abs(first - second) / np.maximum(np.maximum(first, second), least)).max())


def draw_heat(image: RgbImage, heat_map: HeatMap, start: float, end: float) -> RgbImage:
    """Lay a heat map over an image: nothing at `start` and below, ever stronger and brighter up to `end`.

    Args:
        image: height x width x 3, already scaled.
        heat_map: of the image.
        start: heat of what is normal.
        end: heat that gets the full colour, above `start`.
    """
    heat = heat_map.over(image.shape[1], image.shape[0])
    strength = np.clip((heat - start) / (end - start), 0.0, 1.0)
    # The palette's darkest third would not be seen on dark parts.
    shades = cv2.applyColorMap((85 + strength * 170).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    opacity = MAX_OPACITY * np.minimum(strength * 4.0, 1.0)[..., None]
    return np.asarray(np.rint(image * (1.0 - opacity) + shades * opacity), np.uint8)
