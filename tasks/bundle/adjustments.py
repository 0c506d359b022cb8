"""The named, versioned steps before the framing: which part of an image counts, and how its pixels look.

All of them take and give height x width x 3, RGB, 8 bits, whatever the image's size; a crop alone changes the size.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import cv2
import numpy as np
from pydantic import BaseModel, Field, model_validator

from tasks.vision.images import RgbImage

_Start = Annotated[float, Field(ge=0.0, lt=1.0)]
_Extent = Annotated[float, Field(gt=0.0, le=1.0)]


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of whole pixels within an image, of at least one pixel."""

    left: int
    top: int
    width: int
    height: int

    def ratios(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Return left, top, width and height as ratios of an image of `width` x `height` pixels."""
        return self.left / width, self.top / height, self.width / width, self.height / height


class Crop(BaseModel, frozen=True, extra="forbid"):
    """Keep one rectangle, given as ratios of the image's width and height."""

    name: Literal["crop"] = "crop"
    version: Literal[1] = 1
    left: _Start = 0.0
    top: _Start = 0.0
    width: _Extent = 1.0
    height: _Extent = 1.0

    @model_validator(mode="after")
    def _lies_within(self) -> "Crop":
        # Ratios such as 0.1 + 0.9 are sums of rounded numbers.
        if max(self.left + self.width, self.top + self.height) > 1.0 + 1e-9:
            raise ValueError("the crop reaches beyond the image: left + width and top + height may be at most 1")
        return self

    def region(self, width: int, height: int) -> Region:
        """Return what is kept of an image of `width` x `height` pixels."""
        left, right = _whole_pixels(self.left, self.width, width)
        top, bottom = _whole_pixels(self.top, self.height, height)
        return Region(left, top, right - left, bottom - top)

    def apply(self, image: RgbImage) -> RgbImage:
        """Return the region of the image."""
        region = self.region(image.shape[1], image.shape[0])
        return image[region.top : region.top + region.height, region.left : region.left + region.width]


class Denoise(BaseModel, frozen=True, extra="forbid"):
    """Replace each value of a channel by the median of its neighbourhood: specks go, edges stay.

    Its work grows with the pixels alone, as that of non-local means does not.

    Source: Huang, Yang and Tang, "A fast two-dimensional median filtering algorithm", 1979.
    """

    name: Literal["denoise"] = "denoise"
    version: Literal[1] = 1
    diameter: Literal[3, 5, 7] = 3

    def apply(self, image: RgbImage) -> RgbImage:
        """Return the image without specks smaller than half of `diameter` (pixels)."""
        return np.asarray(cv2.medianBlur(image, self.diameter), np.uint8)


class Clahe(BaseModel, frozen=True, extra="forbid"):
    """Equalise the lightness (L of CIE L*a*b*) tile by tile, with limited contrast; colours keep their hue.

    Source: Zuiderveld, "Contrast Limited Adaptive Histogram Equalization", Graphics Gems IV, 1994.

    Attributes:
        clip_limit: the highest bar of a tile's histogram, in multiples of the mean bar.
        tiles: tiles along each side.
    """

    name: Literal["clahe"] = "clahe"
    version: Literal[1] = 1
    clip_limit: float = Field(default=2.0, gt=0.0, le=40.0)
    tiles: int = Field(default=8, ge=1, le=32)

    def apply(self, image: RgbImage) -> RgbImage:
        """Return the image with even contrast."""
        lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
        lab[..., 0] = cv2.createCLAHE(self.clip_limit, (self.tiles, self.tiles)).apply(lab[..., 0])
        return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)


class Grey(BaseModel, frozen=True, extra="forbid"):
    """Replace the colours by their luma (ITU-R BT.601), the same in all three channels."""

    name: Literal["grey"] = "grey"
    version: Literal[1] = 1

    def apply(self, image: RgbImage) -> RgbImage:
        """Return the image in grey."""
        return np.repeat(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)[:, :, None], 3, axis=2)


Adjustment = Annotated[Crop | Denoise | Clahe | Grey, Field(discriminator="name")]


def adjustments(
    crop: Mapping[str, float], denoise: Literal[0, 3, 5, 7], clahe: float, *, grey: bool
) -> tuple[Adjustment, ...]:
    """Return those steps of a wish that change an image, in their order.

    Args:
        crop: fields of `Crop`; none keep everything.
        denoise: diameter of the median filter (pixels), or 0.
        clahe: the contrast limit, or 0.
        grey: whether colours go.
    """
    kept = Crop(**crop)
    return (
        *([kept] if kept != Crop() else []),
        *([Denoise(diameter=denoise)] if denoise else []),
        *([Clahe(clip_limit=clahe)] if clahe else []),
        *([Grey()] if grey else []),
    )


def _whole_pixels(start: float, extent: float, pixels: int) -> tuple[int, int]:
    first = min(round(start * pixels), pixels - 1)
    return first, min(pixels, max(first + 1, round((start + extent) * pixels)))
