"""What every feature gives, and the grey image that most of them look at."""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.vision.images import RgbImage

Values = NDArray[np.float32]
"""The values of one feature of one image, all finite."""
GreyPlane = NDArray[np.float32]
"""Height x width, luma from 0 to 1."""


def grey_bytes(image: RgbImage) -> NDArray[np.uint8]:
    """Return the luma (ITU-R BT.601), height x width, 0 to 255."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def grey_plane(image: RgbImage) -> GreyPlane:
    """Return the luma, height x width, 0 to 1."""
    return np.multiply(grey_bytes(image), np.float32(1 / 255), dtype=np.float32)


def octaves(plane: GreyPlane, count: int) -> Iterator[GreyPlane]:
    """Yield the plane, then the plane in half the size and so on: what one filter sees of larger and larger things."""
    for octave in range(count):
        plane = np.asarray(cv2.pyrDown(plane), np.float32) if octave else plane
        yield plane


def magnitude(x: GreyPlane, y: GreyPlane) -> GreyPlane:
    """Return the lengths of the vectors of two planes; OpenCV's differ in the last bit from one call to the next."""
    return np.sqrt(x * x + y * y)


def mean_and_deviation(plane: GreyPlane) -> tuple[float, float]:
    """Return the mean and the standard deviation of a plane."""
    mean, deviation = cv2.meanStdDev(plane)
    return float(mean[0, 0]), float(deviation[0, 0])


def central_moments(plane: NDArray[np.uint8]) -> tuple[float, float, float, float]:
    """Return the mean of 8-bit numbers, taken as 0 to 1, and the second, third and fourth moment about it."""
    # The histogram holds all that moments ask for, exactly.
    shares = cv2.calcHist([plane], [0], None, [256], [0, 256]).ravel().astype(np.float64) / plane.size
    levels = np.arange(256) / 255
    mean = float(shares @ levels)
    second, third, fourth = (float(shares @ (levels - mean) ** power) for power in (2, 3, 4))
    return mean, second, third, fourth


def as_values(numbers: object) -> Values:
    """Return numbers as the values of a feature."""
    return np.asarray(numbers, np.float32).ravel()


def degrees(orientations: int) -> tuple[str, ...]:
    """Return names of equal parts of a half turn, by their first angle in degrees."""
    return tuple(f"{180 * place / orientations:g}" for place in range(orientations))
