"""Outlines of COCO annotations, run lengths or polygons, to the boxes around them.

A run-length encoded (RLE) mask is never unrolled. It is read column by column, top to bottom; runs of background and
foreground take turns, background first. Format: `common/maskApi.c` of cocodataset/cocoapi.
"""

from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

MAX_MASK_PIXELS = 1_000_000_000
MAX_COORDINATE = 1e9

_FIRST_CHARACTER = 48
_CONTINUES = 0x20
_IS_NEGATIVE = 0x10
_PAYLOAD = 0x1F
_PAYLOAD_BITS = 5
# Seven groups hold 35 bits, more than the largest difference of two runs needs.
_MAX_CHARACTERS_PER_RUN = 7
_FEWEST_POLYGON_NUMBERS = 6

RunLengths = NDArray[np.int64]
Rectangle = tuple[float, float, float, float]
"""Left, top, width and height in pixels, half-open."""


class OutlineError(ValueError):
    """An outline that has no box; the message says why and continues "annotation 17: "."""


def is_coordinate(value: object) -> TypeGuard[int | float]:
    """Tell whether a JSON value is a number, finite and within `MAX_COORDINATE` of 0; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MAX_COORDINATE


def outline_to_box(segmentation: object, width: int, height: int) -> Rectangle:
    """Return the box around a COCO `segmentation`: polygons as lists of x, y, x, y and so on, or an RLE object.

    Args:
        segmentation: as the file has it.
        width: of the image (pixels), which an RLE's must equal; 0 when unknown.
        height: likewise.

    Raises:
        OutlineError: when it is neither, or is malformed or empty.
    """
    if isinstance(segmentation, list) and segmentation:
        return _polygons_to_box(segmentation)
    if not isinstance(segmentation, dict):
        raise OutlineError("it has neither bbox nor segmentation; draw a box")
    rle_height, rle_width = _rle_size(segmentation)
    if (width and width != rle_width) or (height and height != rle_height):
        raise OutlineError(f"its RLE is {rle_width} x {rle_height}, its image {width} x {height}; export it again")
    box = rle_to_box(segmentation)
    if box is None:
        raise OutlineError("its RLE has no foreground; remove it or draw a box")
    return box


def rle_to_box(segmentation: dict[str, Any]) -> tuple[int, int, int, int] | None:
    """Return left, top, width and height (pixels, half-open) of all foreground, or None when there is none.

    Args:
        segmentation: `{"size": [height, width], "counts": ...}`, with a list of run lengths or a compressed string.

    Raises:
        OutlineError: when size or counts are malformed, the runs do not fill the mask exactly, or it has more than
            `MAX_MASK_PIXELS`.
    """
    height, width = _rle_size(segmentation)
    runs = _run_lengths(segmentation.get("counts"), height * width)
    ends = np.cumsum(runs)
    foreground = np.flatnonzero(runs[1::2]) * 2 + 1
    if foreground.size == 0:
        return None
    starts, lasts = ends[foreground] - runs[foreground], ends[foreground] - 1
    left, right = int(starts[0]) // height, int(lasts[-1]) // height + 1
    if np.any(starts // height != lasts // height):  # a run that turns into the next column touches both edges
        return left, 0, right - left, height
    top, bottom = int((starts % height).min()), int((lasts % height).max()) + 1
    return left, top, right - left, bottom - top


def _polygons_to_box(polygons: list[Any]) -> Rectangle:
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < _FEWEST_POLYGON_NUMBERS or len(polygon) % 2:
            raise OutlineError("its segmentation has a polygon that is no list of three points or more; draw a box")
        if not all(map(is_coordinate, polygon)):
            raise OutlineError("its segmentation has a polygon with coordinates that are no numbers; draw a box")
    left, right = _span([x for polygon in polygons for x in polygon[0::2]])
    top, bottom = _span([y for polygon in polygons for y in polygon[1::2]])
    return left, top, right - left, bottom - top


def _span(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)


def _rle_size(segmentation: dict[str, Any]) -> tuple[int, int]:
    size = segmentation.get("size")
    if not isinstance(size, list) or len(size) != 2 or any(type(side) is not int or side < 1 for side in size):
        raise OutlineError("its RLE has no size of [height, width]; export it again")
    height, width = size
    if height * width > MAX_MASK_PIXELS:
        raise OutlineError(f"its RLE is of more than {MAX_MASK_PIXELS} pixels; export it again")
    return height, width


def _run_lengths(counts: object, pixels: int) -> RunLengths:
    if isinstance(counts, str):
        runs = _decompress(counts)
    elif isinstance(counts, list) and all(type(count) is int and 0 <= count <= pixels for count in counts):
        runs = np.array(counts, np.int64)
    else:
        raise OutlineError("its RLE's counts are neither a string nor whole numbers within its size; export it again")
    if np.any(runs < 0) or np.any(runs > pixels) or int(runs.sum()) != pixels:
        raise OutlineError("its RLE's runs do not fill its size; export it again")
    return runs


def _decompress(text: str) -> RunLengths:
    """Decode groups of 5 bits, least first; from the fourth on, a run is told as difference to the one before last."""
    codes = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int64) - _FIRST_CHARACTER
    if codes.size == 0 or np.any(codes < 0) or np.any(codes > (_CONTINUES | _PAYLOAD)) or codes[-1] & _CONTINUES:
        raise OutlineError("its RLE's counts are no compressed string; export it again")
    lasts = np.flatnonzero((codes & _CONTINUES) == 0)
    firsts = np.concatenate(([0], lasts[:-1] + 1))
    lengths = lasts - firsts + 1
    if lengths.max() > _MAX_CHARACTERS_PER_RUN:
        raise OutlineError("its RLE's counts hold a number that is too large; export it again")
    shifts = _PAYLOAD_BITS * (np.arange(codes.size) - np.repeat(firsts, lengths))
    runs = np.add.reduceat((codes & _PAYLOAD) << shifts, firsts)
    runs -= np.where(codes[lasts] & _IS_NEGATIVE, np.int64(1) << (_PAYLOAD_BITS * lengths), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
