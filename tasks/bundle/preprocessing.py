"""The named, versioned steps that turn a decoded image into a network's input.

The same code runs in training and in every prediction; a bundle's `model.json` lists the steps with their settings.
A step's `version` rises whenever its output changes, so an old bundle keeps its meaning or is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, FiniteFloat, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from tasks.bundle.adjustments import Adjustment, Crop, Region
from tasks.vision.images import RgbImage
from tasks.vision.resizing import stretch

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STANDARD_DEVIATION = (0.229, 0.224, 0.225)
PADDING_COLOUR = (124, 116, 104)
"""The ImageNet mean in 8 bits: padding is close to zero in the network's input."""

Edges = NDArray[np.float32]
"""K x 4: left, top, right, bottom of K boxes, in pixels from the upper left corner, half-open."""


_Deviation = Annotated[FiniteFloat, Field(gt=0.0)]


class Resize(BaseModel, frozen=True, extra="forbid"):
    """Stretch the whole image to a fixed size: pixel areas are averaged when it shrinks, interpolated when it grows."""

    name: Literal["resize"] = "resize"
    version: Literal[1] = 1
    width: int = Field(ge=8, le=4096)
    height: int = Field(ge=8, le=4096)

    def apply(self, image: RgbImage) -> RgbImage:
        """Return height x width x 3, 8 bits."""
        return stretch(image, self.width, self.height)


class Letterbox(BaseModel, frozen=True, extra="forbid"):
    """Fit the image into a square without distortion, anchored top-left, and pad the rest with one colour.

    Pixel areas are averaged when the image shrinks, interpolated when it grows.
    """

    name: Literal["letterbox"] = "letterbox"
    version: Literal[1] = 1
    size: int = Field(ge=8, le=4096)

    @property
    def width(self) -> int:
        """Width of the input (pixels)."""
        return self.size

    @property
    def height(self) -> int:
        """Height of the input (pixels)."""
        return self.size

    def apply(self, image: RgbImage) -> RgbImage:
        """Return size x size x 3, 8 bits."""
        height, width = image.shape[:2]
        content_width, content_height = self.content_size(width, height)
        padded = np.full((self.size, self.size, 3), PADDING_COLOUR, np.uint8)
        padded[:content_height, :content_width] = stretch(image, content_width, content_height)
        return padded

    def content_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height, in input pixels, that an image of `width` x `height` pixels takes; each >= 1."""
        scale = self.size / max(width, height)
        return max(1, round(width * scale)), max(1, round(height * scale))

    def to_input(self, edges: Edges, width: int, height: int) -> Edges:
        """Turn boxes in pixels of an image of `width` x `height` into boxes in pixels of the input."""
        return np.asarray(edges / self._pixels_per_input_pixel(width, height), np.float32)

    def to_image(self, edges: Edges, width: int, height: int) -> Edges:
        """Turn boxes in pixels of the input, within the content, into boxes within an image of `width` x `height`."""
        scaled = edges * self._pixels_per_input_pixel(width, height)
        return np.asarray(np.minimum(scaled, (width, height) * 2), np.float32)

    def _pixels_per_input_pixel(self, width: int, height: int) -> NDArray[np.float64]:
        # Rounding the content to whole pixels makes the two directions differ a little.
        content_width, content_height = self.content_size(width, height)
        return np.array([width / content_width, height / content_height] * 2)


class Normalise(BaseModel, frozen=True, extra="forbid"):
    """Scale 0..255 to 0..1, then subtract the mean and divide by the standard deviation of each channel."""

    name: Literal["normalise"] = "normalise"
    version: Literal[1] = 1
    mean: tuple[FiniteFloat, FiniteFloat, FiniteFloat] = IMAGENET_MEAN
    standard_deviation: tuple[_Deviation, _Deviation, _Deviation] = IMAGENET_STANDARD_DEVIATION

    def apply_to_batch(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn N x height x width x 3, 8 bits, into N x 3 x height x width, 32-bit floats."""
        deviation = np.asarray(self.standard_deviation, np.float32)
        scale = (1.0 / (255.0 * deviation)).astype(np.float32)
        shift = (-np.asarray(self.mean, np.float32) / deviation).astype(np.float32)
        batch = np.empty((len(images), 3, *images.shape[1:3]), np.float32)
        for channel in range(3):
            np.multiply(images[..., channel], scale[channel], out=batch[:, channel], dtype=np.float32)
            batch[:, channel] += shift[channel]
        return batch


FramingName = Literal["stretch", "letterbox"]
Framing = Annotated[Resize | Letterbox, Field(discriminator="name")]
"""How an image of any size becomes one of the input's size; `stretch` is the step `resize`."""


class _Sequence:
    """Tells pydantic what the annotation says: it reads no unpacked tuple yet, its core validates them."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        parts = [handler.generate_schema(part) for part in (Adjustment, Framing, Normalise)]
        return core_schema.tuple_schema(parts, variadic_item_index=0)


Steps = Annotated[tuple[*tuple[Adjustment, ...], Framing, Normalise], _Sequence()]
"""What happens to a decoded image, in order: adjustments (often none), the framing, the normalising."""
StretchedSteps = tuple[*tuple[Adjustment, ...], Resize, Normalise]
DetectorSteps = tuple[*tuple[Adjustment, ...], Letterbox, Normalise]


def standard_steps(input_size: int, adjustments: Sequence[Adjustment] = ()) -> StretchedSteps:
    """Return the steps of an ImageNet backbone with a square input of `input_size` pixels."""
    return *adjustments, Resize(width=input_size, height=input_size), Normalise()


def classifier_steps(input_size: int, adjustments: Sequence[Adjustment], framing: FramingName) -> Steps:
    """Return the steps of a classifier with a square input of `input_size` pixels."""
    if framing == "letterbox":
        return detection_steps(input_size, adjustments)
    return standard_steps(input_size, adjustments)


def detection_steps(input_size: int, adjustments: Sequence[Adjustment] = ()) -> DetectorSteps:
    """Return the steps of a detector with a square input of `input_size` pixels."""
    return *adjustments, Letterbox(size=input_size), Normalise()


def frame(image: RgbImage, steps: Steps) -> RgbImage:
    """Apply all steps but the last to a decoded image of any size; returns 8 bits in the input's size."""
    for step in steps[:-1]:
        image = step.apply(image)
    return image


def prepare_batch(images: Sequence[RgbImage], steps: Steps) -> NDArray[np.float32]:
    """Apply all steps to decoded images; returns N x 3 x height x width."""
    return steps[-1].apply_to_batch(np.stack([frame(image, steps) for image in images]))


def seen_region(steps: Steps, width: int, height: int) -> Region:
    """Return the part of an image of `width` x `height` pixels that is framed: all of it, unless it is cropped."""
    region = Region(0, 0, width, height)
    for step in steps:
        if isinstance(step, Crop):
            inner = step.region(region.width, region.height)
            region = Region(region.left + inner.left, region.top + inner.top, inner.width, inner.height)
    return region


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an image lies in a detector's input: this region of it, letterboxed."""

    letterbox: Letterbox
    region: Region

    @classmethod
    def of(cls, steps: DetectorSteps, width: int, height: int) -> "Placement":
        """Return the placement of an image of `width` x `height` pixels."""
        return cls(steps[-2], seen_region(steps, width, height))

    @property
    def content_size(self) -> tuple[int, int]:
        """The width and height that the region takes (pixels of the input)."""
        return self.letterbox.content_size(self.region.width, self.region.height)

    def to_input(self, edges: Edges) -> Edges:
        """Turn boxes in pixels of the image into their visible parts in pixels of the input; hidden ones have none."""
        region = self.region
        visible = np.clip(edges - self._offset, 0, np.array([region.width, region.height] * 2, np.float32))
        return self.letterbox.to_input(visible, region.width, region.height)

    def to_image(self, edges: Edges) -> Edges:
        """Turn boxes in pixels of the input, within the content, into boxes in pixels of the image."""
        return self.letterbox.to_image(edges, self.region.width, self.region.height) + self._offset

    @property
    def _offset(self) -> NDArray[np.float32]:
        return np.array([self.region.left, self.region.top] * 2, np.float32)
