"""Connected components of a class map and the boxes around them, by runs of equal pixels.

A drawn mask has few runs whatever its size, so all that follows the finding of them costs by the run and not by the
pixel, and all classes are labelled at once. Runs of neighbouring rows are joined by hooking the later of two roots
onto the earlier and by pointer jumping (Shiloach and Vishkin, 1982), which needs a logarithmic number of rounds.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.vision.images import ImageError

Integers = NDArray[np.integer[Any]]

MAX_RUNS = 2_000_000
"""Runs of one mask; noise alone has more, and labelling them would take more than 500 MB."""


@dataclass(frozen=True, slots=True)
class Runs:
    """A picture as stretches of equal pixels, none longer than its row, in raster order and without gaps.

    Attributes:
        starts: of each run, the index of its first pixel in the flattened picture.
        values: of each run, the value of its pixels.
        width: of the picture (pixels).
        height: likewise.
    """

    starts: Integers
    values: Integers
    width: int
    height: int

    @property
    def lengths(self) -> Integers:
        """Pixels of each run."""
        lengths = np.empty_like(self.starts)
        np.subtract(self.starts[1:], self.starts[:-1], out=lengths[:-1])
        lengths[-1] = self.width * self.height - self.starts[-1]
        return lengths


@dataclass(frozen=True, slots=True)
class Components:
    """Connected components, in raster order of their first pixels.

    Attributes:
        kinds: of each component, the value of its pixels.
        areas: of each component, its number of pixels.
        corners: N x 4, left, top, right and bottom of each one's box in pixels, half-open.
    """

    kinds: Integers
    areas: Integers
    corners: Integers


def find_runs(bands: Iterable[Integers]) -> Runs:
    """Find the runs of equal pixels of a picture, given as bands of its rows from top to bottom.

    Raises:
        ImageError: `ERROR_INVALID_MASK` when there are more than `MAX_RUNS`.
    """
    starts: list[Integers] = []
    values: list[Integers] = []
    size = width = run_count = 0
    for band in bands:
        begins = _starts(band, MAX_RUNS - run_count)
        starts.append(begins + size)
        values.append(band.reshape(-1)[begins])
        size, width, run_count = size + band.size, band.shape[1], run_count + begins.size
    return Runs(np.concatenate(starts), np.concatenate(values), width, size // width)


def _starts(band: Integers, most: int) -> Integers:
    """Return the indices at which runs start."""
    flat, width = band.reshape(-1), band.shape[1]
    is_start = np.empty((flat.size + 7) // 8 * 8, np.bool_)
    is_start[flat.size :] = False
    np.not_equal(flat[1:], flat[:-1], out=is_start[1 : flat.size])
    is_start[: flat.size : width] = True
    # Eight flags at a time: twice as fast as searching them one by one, and its memory is bounded before it is taken.
    words = np.flatnonzero(is_start.view(np.uint64) != 0)
    if words.size <= most:
        places = np.flatnonzero(is_start.reshape(-1, 8)[words])
        if places.size <= most:
            starts: Integers = words[places >> 3] * 8 + (places & 7)
            return starts
    raise ImageError(
        "ERROR_INVALID_MASK",
        f"the mask changes its value more than {MAX_RUNS} times along its rows, as a photograph or noise does; "
        "save it with one flat colour per class",
    )


def join_runs(runs: Runs, values: Integers) -> Runs:
    """Give the runs other values, and make one run of neighbours that now have the same."""
    is_start = (runs.starts % runs.width) == 0
    is_start[1:] |= values[1:] != values[:-1]
    return Runs(runs.starts[is_start], values[is_start], runs.width, runs.height)


def find_components(runs: Runs, connectivity: Literal[4, 8]) -> Components:
    """Find the connected components of equal values above 0; 8 counts diagonal neighbours as connected."""
    is_inside = runs.values > 0
    kinds, lengths = runs.values[is_inside], runs.lengths[is_inside]
    rows, lefts = np.divmod(runs.starts[is_inside], runs.width)
    rights = lefts + lengths
    upper, lower = _touching(rows, lefts, rights, runs.width, reach=1 if connectivity == 8 else 0)
    is_same = kinds[upper] == kinds[lower]
    roots = _roots(kinds.size, upper[is_same], lower[is_same])
    is_root = roots == np.arange(roots.size)
    component = (np.cumsum(is_root) - 1)[roots]
    count = int(np.count_nonzero(is_root))
    corners = np.empty((count, 4), np.int64)
    corners[:, 0] = _extreme(np.minimum, lefts, component, lefts[is_root])
    corners[:, 1] = rows[is_root]
    corners[:, 2] = _extreme(np.maximum, rights, component, rights[is_root])
    corners[:, 3] = _extreme(np.maximum, rows, component, rows[is_root]) + 1
    areas = np.bincount(component, weights=lengths, minlength=count).astype(np.int64)
    return Components(kinds[is_root], areas, corners)


def merge_near(corners: Integers, distance: int) -> Integers:
    """Unite boxes that are at most `distance` pixels apart on both axes, until none are.

    Args:
        corners: N x 4, left, top, right and bottom in pixels, half-open.
        distance: free pixels between two boxes; overlapping boxes have less than none.

    Returns:
        M x 4 boxes, in no particular order.
    """
    merged = np.empty_like(corners)
    count = 0
    for corner in corners:
        box = corner
        while True:
            others = merged[:count]
            gaps = np.maximum(others[:, :2], box[:2]) - np.minimum(others[:, 2:], box[2:])
            is_near = (gaps <= distance).all(axis=1)
            if not is_near.any():
                break
            box = enclose(np.vstack((others[is_near], box)))
            others = others[~is_near]
            count = len(others)
            merged[:count] = others
        merged[count] = box
        count += 1
    return merged[:count]


def enclose(corners: Integers) -> Integers:
    """Return left, top, right and bottom of the one box around N x 4 boxes; N is at least 1."""
    return np.concatenate((corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)))


def _touching(
    rows: Integers, lefts: Integers, rights: Integers, width: int, *, reach: int
) -> tuple[Integers, Integers]:
    """Return the numbers of all pairs of runs that touch across a row; `reach` 1 lets corners touch."""
    stride = width + 2  # so that no reach leads into another row
    begins, ends = rows * stride + lefts, rows * stride + rights
    first = np.searchsorted(ends, begins + (stride - reach), side="right")
    counts = np.searchsorted(begins, ends + (stride + reach), side="left") - first
    upper = np.repeat(np.arange(counts.size), counts)
    lower = np.arange(upper.size) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    return upper, lower


def _roots(count: int, upper: Integers, lower: Integers) -> Integers:
    """Return the smallest number that each of `count` things is linked to, directly or not."""
    roots: Integers = np.arange(count)
    while upper.size:
        high, low = np.maximum(roots[upper], roots[lower]), np.minimum(roots[upper], roots[lower])
        np.minimum.at(roots, high, low)
        roots = _jumped(roots)
        is_apart = roots[upper] != roots[lower]
        upper, lower = upper[is_apart], lower[is_apart]
    return roots


def _jumped(roots: Integers) -> Integers:
    while True:
        farther = roots[roots]
        if np.array_equal(farther, roots):
            return roots
        roots = farther


def _extreme(choose: np.ufunc, numbers: Integers, component: Integers, start: Integers) -> Integers:
    chosen = start.copy()
    choose.at(chosen, component, numbers)
    return chosen
