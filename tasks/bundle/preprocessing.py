"""The named, versioned steps that turn a decoded image into a network's input.

The same code runs in training and in every prediction; a bundle's `model.json` lists the steps with their settings.
A step's `version` rises whenever its output changes, so an old bundle keeps its meaning or is refused.
"""

from typing import Annotated, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, FiniteFloat

from tasks.vision.images import RgbImage

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STANDARD_DEVIATION = (0.229, 0.224, 0.225)


_Deviation = Annotated[FiniteFloat, Field(gt=0.0)]


class Resize(BaseModel, frozen=True, extra="forbid"):
    """Stretch the whole image to a fixed size: pixel areas are averaged when it shrinks, interpolated when it grows."""

    name: Literal["resize"] = "resize"
    version: Literal[1] = 1
    width: int = Field(ge=8, le=4096)
    height: int = Field(ge=8, le=4096)

    def apply(self, image: RgbImage) -> RgbImage:
        """Return height x width x 3, 8 bits."""
        shrinks = image.shape[0] >= self.height and image.shape[1] >= self.width
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(image, (self.width, self.height), interpolation=interpolation), dtype=np.uint8)


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


Step = Annotated[Resize | Normalise, Field(discriminator="name")]


def standard_steps(input_size: int) -> tuple[Resize, Normalise]:
    """Return the steps of an ImageNet backbone with a square input of `input_size` pixels."""
    return Resize(width=input_size, height=input_size), Normalise()


def prepare_batch(images: list[RgbImage], steps: tuple[Resize, Normalise]) -> NDArray[np.float32]:
    """Apply all steps to decoded images; returns N x 3 x height x width."""
    resize, normalise = steps
    return normalise.apply_to_batch(np.stack([resize.apply(image) for image in images]))
