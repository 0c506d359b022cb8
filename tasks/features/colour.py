"""Features of colour: histograms and moments, which know nothing of places."""

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from tasks.features.values import Values, as_values, central_moments
from tasks.vision.images import RgbImage

_CHANNELS = ("red", "green", "blue")
_MOMENTS = ("mean", "deviation", "skewness")
_HUES = 180
"""OpenCV's 8-bit hues count double degrees."""


class Colour(BaseModel, frozen=True, extra="forbid"):
    """Shares of hues, saturations and values, and the first three moments of red, green and blue.

    A pixel without saturation has the hue 0, as OpenCV counts.

    Sources: Swain and Ballard, "Color indexing", International Journal of Computer Vision 7, 1991; the moments:
    Stricker and Orengo, "Similarity of Color Images", Storage and Retrieval for Image and Video Databases III, 1995.

    Attributes:
        hues: equal bins of the colour circle.
        saturations: equal bins from grey to pure.
        lightnesses: equal bins of the value, from black to the brightest.
    """

    name: Literal["colour"] = "colour"
    version: Literal[1] = 1
    hues: int = Field(default=12, ge=2, le=90)
    saturations: int = Field(default=8, ge=2, le=64)
    lightnesses: int = Field(default=8, ge=2, le=64)

    @property
    def width(self) -> int:
        """The number of values."""
        return self.hues + self.saturations + self.lightnesses + len(_CHANNELS) * len(_MOMENTS)

    def names(self) -> tuple[str, ...]:
        """Name the values; bins by their place."""
        bins = (("hue", self.hues), ("saturation", self.saturations), ("lightness", self.lightnesses))
        shares = (f"colour/{kind}_{place}" for kind, count in bins for place in range(count))
        return (*shares, *(f"colour/{channel}/{moment}" for channel in _CHANNELS for moment in _MOMENTS))

    def extract(self, image: RgbImage) -> Values:
        """Return the shares, and the moments of channels from 0 to 1; skewness as the root of the third moment."""
        hsv = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), np.uint8)
        bins = ((self.hues, _HUES), (self.saturations, 256), (self.lightnesses, 256))
        counts = [
            cv2.calcHist([hsv], [channel], None, [count], [0, end]).ravel() for channel, (count, end) in enumerate(bins)
        ]
        shares = np.concatenate(counts) / (image.shape[0] * image.shape[1])
        planes = (np.ascontiguousarray(image[..., channel]) for channel in range(3))
        return as_values([*shares, *(moment for plane in planes for moment in _moments(plane))])


def _moments(plane: NDArray[np.uint8]) -> tuple[float, float, float]:
    mean, second, third, _ = central_moments(plane)
    return mean, float(np.sqrt(second)), float(np.cbrt(third))
