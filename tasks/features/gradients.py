"""Features of gradients: HOG, edges, corners."""

from itertools import pairwise
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator

from tasks.features.values import Values, as_values, degrees, grey_bytes, grey_plane, magnitude, mean_and_deviation
from tasks.vision.images import RgbImage
from tasks.vision.resizing import stretch

_SMALLEST = 1e-5
"""Added to the norm of a block, as in scikit-image, so that a block without gradients stays zero."""
_CLIP = 0.2


class Hog(BaseModel, frozen=True, extra="forbid"):
    """Histograms of oriented gradients: where in the image edges run, and in which direction.

    Blocks are normalised by L2-Hys. The values are those of `skimage.feature.hog` on the grey image (tested).

    Source: Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005.

    Attributes:
        side: the image is first stretched to a square of this side (pixels), whatever its size.
        cell: side of a cell (pixels); it divides `side`.
        block: cells along the side of a block.
        orientations: bins of a half turn.
    """

    name: Literal["hog"] = "hog"
    version: Literal[1] = 1
    side: int = Field(default=96, ge=16, le=512)
    cell: int = Field(default=16, ge=4, le=128)
    block: int = Field(default=2, ge=1, le=4)
    orientations: int = Field(default=9, ge=2, le=36)

    @model_validator(mode="after")
    def _cells_fill_the_image(self) -> "Hog":
        if self.side % self.cell or self.side // self.cell < self.block:
            raise ValueError("cell must divide side, and block cells must fit into it")
        return self

    @property
    def width(self) -> int:
        """The number of values."""
        return self._blocks**2 * self.block**2 * self.orientations

    def names(self) -> tuple[str, ...]:
        """Name the values: block and cell as row and column, and the first angle of the bin in degrees."""
        blocks, cells = range(self._blocks), range(self.block)
        return tuple(
            f"hog/block_{row}_{column}/cell_{y}_{x}/angle_{angle}"
            for row in blocks
            for column in blocks
            for y in cells
            for x in cells
            for angle in degrees(self.orientations)
        )

    def extract(self, image: RgbImage) -> Values:
        """Return the normalised histograms, 0 to 1, of all blocks, row by row."""
        cells = self._cell_histograms(grey_bytes(stretch(image, self.side, self.side)).astype(np.float32))
        windows = np.lib.stride_tricks.sliding_window_view(cells, (self.block, self.block), axis=(0, 1))
        blocks = windows.transpose(0, 1, 3, 4, 2).reshape(self._blocks**2, -1)
        clipped = np.minimum(_unit_length(blocks), _CLIP)
        return as_values(_unit_length(clipped))

    @property
    def _blocks(self) -> int:
        return self.side // self.cell - self.block + 1

    def _cell_histograms(self, grey: NDArray[np.float32]) -> NDArray[np.float64]:
        along_x, along_y = np.zeros_like(grey), np.zeros_like(grey)
        along_x[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
        along_y[1:-1] = grey[2:] - grey[:-2]
        angle = np.rad2deg(np.arctan2(along_y, along_x)) % 180
        bins = np.minimum((angle * (self.orientations / 180)).astype(np.intp), self.orientations - 1)
        cells = self.side // self.cell
        place = np.arange(self.side) // self.cell
        slots = (place[:, None] * cells + place[None, :]) * self.orientations + bins
        sums = np.bincount(slots.ravel(), magnitude(along_x, along_y).ravel(), minlength=cells**2 * self.orientations)
        return sums.reshape(cells, cells, self.orientations) / self.cell**2


class Edges(BaseModel, frozen=True, extra="forbid"):
    """Statistics of Canny's edges: how many there are and where, how strong they are, in which direction they run.

    Source: Canny, "A Computational Approach to Edge Detection", IEEE TPAMI 8, 1986.

    Attributes:
        low: gradient (sum of both directions, Sobel, 8 bits) down to which an edge goes on.
        high: gradient at which an edge begins.
        grid: fields along each side in which edges are counted.
        orientations: bins of a half turn.
    """

    name: Literal["edges"] = "edges"
    version: Literal[1] = 1
    low: float = Field(default=50.0, ge=0.0, le=2000.0)
    high: float = Field(default=150.0, gt=0.0, le=2000.0)
    grid: int = Field(default=4, ge=1, le=16)
    orientations: int = Field(default=8, ge=2, le=36)

    @model_validator(mode="after")
    def _low_is_lower(self) -> "Edges":
        if self.low > self.high:
            raise ValueError("low is higher than high")
        return self

    @property
    def width(self) -> int:
        """The number of values."""
        return 3 + self.grid**2 + self.orientations

    def names(self) -> tuple[str, ...]:
        """Name the values; fields of the grid by row and column, directions of gradients by degrees."""
        fields = (f"edges/density_{row}_{column}" for row in range(self.grid) for column in range(self.grid))
        angles = (f"edges/angle_{angle}" for angle in degrees(self.orientations))
        return ("edges/density", "edges/gradient/mean", "edges/gradient/deviation", *fields, *angles)

    def extract(self, image: RgbImage) -> Values:
        """Return shares of edge pixels, their gradients (0 to 1.42 of the grey range), shares of directions."""
        grey = grey_bytes(image)
        along_x, along_y = (cv2.Sobel(grey, cv2.CV_16S, *axes) for axes in ((1, 0), (0, 1)))
        edges = cv2.Canny(along_x, along_y, self.low, self.high) > 0
        x, y = (plane[edges].astype(np.float32) / (4 * 255) for plane in (along_x, along_y))
        strength = np.hypot(x, y)
        angle = np.rad2deg(np.arctan2(y, x)) % 180
        counts = np.histogram(angle, self.orientations, (0, 180))[0]
        statistics = (edges.mean(), strength.mean(), strength.std()) if len(strength) else (0.0, 0.0, 0.0)
        return as_values([*statistics, *_shares_on_grid(edges, self.grid), *(counts / max(1, len(strength)))])


class Corners(BaseModel, frozen=True, extra="forbid"):
    """Statistics of Harris's corners: how many there are and where, and how strongly the image bends.

    Source: Harris and Stephens, "A Combined Corner and Edge Detector", Alvey Vision Conference 1988.

    Attributes:
        window: side of the neighbourhood over which gradients are summed (pixels).
        k: weight of the squared trace against the determinant.
        threshold: least response of a corner, for grey values from 0 to 1.
        grid: fields along each side in which corners are counted.
    """

    name: Literal["corners"] = "corners"
    version: Literal[1] = 1
    window: int = Field(default=3, ge=2, le=31)
    k: float = Field(default=0.04, gt=0.0, lt=0.25)
    threshold: float = Field(default=1e-4, gt=0.0, le=1.0)
    grid: int = Field(default=4, ge=1, le=16)

    @property
    def width(self) -> int:
        """The number of values."""
        return 4 + self.grid**2

    def names(self) -> tuple[str, ...]:
        """Name the values; fields of the grid by row and column."""
        fields = (f"corners/density_{row}_{column}" for row in range(self.grid) for column in range(self.grid))
        whole = ("density", "strength", "response/mean", "response/deviation")
        return (*(f"corners/{name}" for name in whole), *fields)

    def extract(self, image: RgbImage) -> Values:
        """Return corners per 1,000 pixels, their mean response, and mean and deviation of all responses.

        Responses are given as their fourth root, with their sign: that is proportional to the contrast.
        """
        response = np.asarray(cv2.cornerHarris(grey_plane(image), self.window, 3, self.k), np.float32)
        is_highest = response == cv2.dilate(response, np.ones((3, 3), np.uint8))
        is_corner = is_highest & (response > self.threshold)
        contrast = np.sign(response) * np.sqrt(np.sqrt(np.abs(response)))
        strength = float(contrast[is_corner].mean()) if is_corner.any() else 0.0
        counts = [1000 * share for share in _shares_on_grid(is_corner, self.grid)]
        return as_values([1000 * is_corner.mean(), strength, *mean_and_deviation(contrast), *counts])


def _unit_length(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(rows / np.sqrt((rows**2).sum(axis=1, keepdims=True) + _SMALLEST**2))


def _shares_on_grid(marked: NDArray[np.bool_], grid: int) -> list[float]:
    """Return the share of marked pixels in each field, row by row; a field without pixels has none."""
    height, width = marked.shape
    rows, columns = (np.arange(grid + 1) * length // grid for length in (height, width))
    fields = (marked[top:bottom, left:right] for top, bottom in pairwise(rows) for left, right in pairwise(columns))
    return [float(field.mean()) if field.size else 0.0 for field in fields]
