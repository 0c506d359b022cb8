"""Features of texture: Gabor filters, local binary patterns, Tamura's three."""

from functools import cache
from itertools import pairwise
from typing import Annotated, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator

from tasks.features.values import (
    GreyPlane,
    Values,
    as_values,
    central_moments,
    degrees,
    grey_bytes,
    grey_plane,
    magnitude,
    mean_and_deviation,
    octaves,
)
from tasks.vision.images import RgbImage

_KERNEL_SIDE = 11
"""OpenCV applies larger kernels by Fourier transforms, which takes thirty times as long (measured at 320 x 320)."""
_FINEST_WAVELENGTH = 4
_NEIGHBOURS = 8
_STEPS = 16
"""Steps of a pixel in which the place of a neighbour is given; products of two then stay exact in 32-bit floats."""
_MIN_GRADIENT = 12 / 255
"""Tamura and others count the direction of a gradient from this magnitude on."""
_PREWITT = np.array([[-1, 0, 1]] * 3, np.float32)


class Gabor(BaseModel, frozen=True, extra="forbid"):
    """Mean and deviation of the magnitude of Gabor filters: how much of each wavelength runs in each direction.

    A filter is a pair of a cosine and a sine under one Gaussian; the magnitude does not depend on the wave's phase. The
    cosine is freed of its mean, so that even light gives nothing. One kernel serves all wavelengths: for each further
    octave the image is halved.

    Sources: Daugman, "Uncertainty relation for resolution in space, spatial frequency, and orientation optimized by
    two-dimensional visual cortical filters", Journal of the Optical Society of America A 2, 1985; the statistics:
    Manjunath and Ma, "Texture Features for Browsing and Retrieval of Image Data", IEEE TPAMI 18, 1996.

    Attributes:
        octaves: wavelengths: 4, 8, 16 pixels and so on.
        orientations: directions in which the wave travels, equal parts of a half turn.
    """

    name: Literal["gabor"] = "gabor"
    version: Literal[1] = 1
    octaves: int = Field(default=4, ge=1, le=8)
    orientations: int = Field(default=6, ge=2, le=36)

    @property
    def width(self) -> int:
        """The number of values."""
        return 2 * self.octaves * self.orientations

    def names(self) -> tuple[str, ...]:
        """Name the values: wavelength in pixels, direction in which the wave travels in degrees, statistic."""
        return tuple(
            f"gabor/wavelength_{_FINEST_WAVELENGTH * 2**octave}/angle_{angle}/{statistic}"
            for octave in range(self.octaves)
            for angle in degrees(self.orientations)
            for statistic in ("mean", "deviation")
        )

    def extract(self, image: RgbImage) -> Values:
        """Return the statistics of the magnitudes, as contrasts of grey values from 0 to 1."""
        statistics: list[float] = []
        for level in octaves(grey_plane(image), self.octaves):
            for cosine, sine in _gabor_kernels(self.orientations):
                answers = (np.asarray(cv2.filter2D(level, cv2.CV_32F, kernel), np.float32) for kernel in (cosine, sine))
                statistics += mean_and_deviation(magnitude(*answers))
        return as_values(statistics)


class LocalBinaryPatterns(BaseModel, frozen=True, extra="forbid"):
    """Shares of the uniform local binary patterns: which of eight neighbours on a circle are at least as bright.

    Adding to the brightness changes nothing, and neither does a quarter turn. Neighbours between pixels are
    interpolated in steps of 1/16 of a pixel, so that all is exact. Otherwise the patterns are those of scikit-image
    (tested), which takes five times as long and keeps all other threads waiting.

    Source: Ojala, Pietikainen and Maenpaa, "Multiresolution Gray-Scale and Rotation Invariant Texture Classification
    with Local Binary Patterns", IEEE TPAMI 24, 2002.

    Attributes:
        radii: of the circles (pixels), ascending.
    """

    name: Literal["lbp"] = "lbp"
    version: Literal[1] = 1
    radii: tuple[Annotated[int, Field(ge=1, le=5)], ...] = Field(default=(1, 2, 4), min_length=1, max_length=5)

    @model_validator(mode="after")
    def _ascend(self) -> "LocalBinaryPatterns":
        if any(first >= second for first, second in pairwise(self.radii)):
            raise ValueError("radii do not ascend")
        return self

    @property
    def width(self) -> int:
        """The number of values."""
        return (_NEIGHBOURS + 2) * len(self.radii)

    def names(self) -> tuple[str, ...]:
        """Name the values: by how many neighbours in a row are at least as bright; `other` is all else."""
        patterns = (*(f"bright_{count}" for count in range(_NEIGHBOURS + 1)), "other")
        return tuple(f"lbp/radius_{radius}/{pattern}" for radius in self.radii for pattern in patterns)

    def extract(self, image: RgbImage) -> Values:
        """Return the shares of the patterns; those of each radius sum to 1."""
        grey = grey_bytes(image).astype(np.float32)
        return as_values([_pattern_shares(grey, radius) for radius in self.radii])


class Tamura(BaseModel, frozen=True, extra="forbid"):
    """Coarseness, contrast and directionality: what people name first when they compare textures.

    Directionality is the sharpness of the histogram of gradients' directions about its highest bar: 1 when all run in
    one direction, 0 when all directions are alike, less when most run across the highest. The paper divides the
    histogram among several peaks, in a way that it leaves open.

    Source: Tamura, Mori and Yamawaki, "Textural Features Corresponding to Visual Perception", IEEE Transactions on
    Systems, Man, and Cybernetics 8, 1978.

    Attributes:
        scales: windows of 2, 4, 8 pixels and so on are compared for the coarseness.
        orientations: bins of a half turn.
    """

    name: Literal["tamura"] = "tamura"
    version: Literal[1] = 1
    scales: int = Field(default=5, ge=1, le=8)
    orientations: int = Field(default=16, ge=4, le=64)

    @property
    def width(self) -> int:
        """The number of values."""
        return 3

    def names(self) -> tuple[str, ...]:
        """Name the values."""
        return ("tamura/coarseness", "tamura/contrast", "tamura/directionality")

    def extract(self, image: RgbImage) -> Values:
        """Return the coarseness (pixels), the contrast (of grey values from 0 to 1) and the directionality."""
        grey = grey_plane(image)
        coarseness, directionality = _coarseness(grey, self.scales), _directionality(grey, self.orientations)
        return as_values([coarseness, _contrast(grey_bytes(image)), directionality])


@cache
def _gabor_kernels(orientations: int) -> tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]:
    return tuple(_gabor_pair(np.pi * place / orientations) for place in range(orientations))


def _gabor_pair(angle: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return cosine and sine; their magnitude on a wave of their own length and direction is its amplitude."""
    reach = _KERNEL_SIDE // 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    phase = 2 * np.pi / _FINEST_WAVELENGTH * (x * np.cos(angle) + y * np.sin(angle))
    # A standard deviation of 0.56 wavelengths makes filters one octave wide.
    hill = np.exp(-(x**2 + y**2) / (2 * (0.56 * _FINEST_WAVELENGTH) ** 2))
    hill /= hill.sum()
    cosine = np.cos(phase) - (hill * np.cos(phase)).sum()
    return (2 * hill * cosine).astype(np.float32), (2 * hill * np.sin(phase)).astype(np.float32)


def _pattern_shares(grey: NDArray[np.float32], radius: int) -> NDArray[np.float64]:
    codes = np.zeros(grey.shape, np.uint8)
    for bit, kernel in enumerate(_neighbour_kernels(radius)):
        difference = np.asarray(cv2.filter2D(grey, cv2.CV_32F, kernel, borderType=cv2.BORDER_REPLICATE))
        codes |= (difference >= 0).view(np.uint8) << bit
    counts = cv2.calcHist([codes], [0], None, [256], [0, 256]).ravel()
    return np.bincount(_uniform_patterns(), counts, minlength=_NEIGHBOURS + 2) / grey.size


@cache
def _neighbour_kernels(radius: int) -> tuple[NDArray[np.float32], ...]:
    """Return kernels that subtract a pixel from each of its neighbours, in whole numbers, counter-clockwise."""
    kernels = []
    for place in range(_NEIGHBOURS):
        angle = 2 * np.pi * place / _NEIGHBOURS
        kernel = np.outer(_weights(-radius * np.sin(angle), radius), _weights(radius * np.cos(angle), radius))
        kernel[radius, radius] -= _STEPS**2
        kernels.append(kernel.astype(np.float32))
    return tuple(kernels)


def _weights(offset: float, reach: int) -> NDArray[np.int64]:
    """Return how much each of the whole offsets from -reach to reach counts, in steps; neighbours share."""
    steps = round(offset * _STEPS)
    return np.asarray(np.maximum(0, _STEPS - np.abs(np.arange(-reach, reach + 1) * _STEPS - steps)), np.int64)


@cache
def _uniform_patterns() -> NDArray[np.intp]:
    """Return the pattern of each code: the number of its ones when they stand in a row, else one more than possible."""
    bits = (np.arange(256)[:, None] >> np.arange(_NEIGHBOURS)) & 1
    changes = (bits != np.roll(bits, 1, axis=1)).sum(axis=1)
    return np.where(changes <= 2, bits.sum(axis=1), _NEIGHBOURS + 1)


def _coarseness(grey: GreyPlane, scales: int) -> float:
    best, sizes = np.zeros_like(grey), np.ones_like(grey)
    for scale in range(1, scales + 1):
        side = 2**scale
        means = np.asarray(cv2.blur(grey, (side, side), borderType=cv2.BORDER_REPLICATE), np.float32)
        difference = np.maximum(*_across(means, side // 2))
        # Rounding makes even light differ a little, which must not count.
        np.copyto(sizes, side, where=difference > best + np.float32(1e-6))
        np.maximum(best, difference, out=best)
    return float(sizes.mean())


def _directionality(grey: GreyPlane, orientations: int) -> float:
    x, y = (cv2.filter2D(grey, cv2.CV_32F, kernel) for kernel in (_PREWITT, _PREWITT.T))
    strong = (np.abs(x) + np.abs(y)) / 2 >= _MIN_GRADIENT
    if not strong.any():
        return 0.0
    angles = np.arctan2(y[strong], x[strong]) % np.pi
    # A bin lies around its direction: gradients straight across and straight down fall into the middle of one.
    bins = np.round(angles * (orientations / np.pi)).astype(np.intp) % orientations
    shares = np.bincount(bins, minlength=orientations) / bins.size
    away = np.abs(np.arange(orientations) - shares.argmax())
    squared = np.minimum(away, orientations - away) ** 2
    return float(1 - (shares @ squared) / squared.mean())


def _contrast(grey: NDArray[np.uint8]) -> float:
    _, variance, _, fourth = central_moments(grey)
    # The deviation, divided by the fourth root of the kurtosis.
    return float(variance / fourth**0.25) if variance > 0 else 0.0


def _across(means: GreyPlane, half: int) -> tuple[GreyPlane, GreyPlane]:
    """Return how much the windows differ that meet at each pixel, across and down."""
    padded = cv2.copyMakeBorder(means, half, half, half, half, cv2.BORDER_REPLICATE)
    across, down = padded[half:-half], padded[:, half:-half]
    return np.abs(across[:, 2 * half :] - across[:, : -2 * half]), np.abs(down[2 * half :] - down[: -2 * half])
