"""Masks: which pixels of an image are of which class, and the boxes around them."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tasks.vision.background import BACKGROUND
from tasks.vision.boxes import BoundingBox
from tasks.vision.components import Integers, Runs, enclose, find_components, join_runs, merge_near
from tasks.vision.images import ImageError
from tasks.vision.mask_pixels import NOISE_LEVEL, MaskPixels, Shades, decode_mask, describe

MAX_SHADES = 64
"""Distinct brightnesses, of 255, among the pixels of no class; a drawn mask has fewer, or few such pixels."""
MAX_STRAY_SHARE = 0.5
"""Share of the foreground that may be of no class in more than `MAX_SHADES`; soft edges of a drawn mask are less."""
MIN_STRAY_COVER = 0.1
"""Share of the picture that such pixels have at least before they count; thin lines are all edge, but cover little."""
MAX_COLOURS = 131_072
"""Distinct pixel values of one mask, whose number bounds the time that comparing them with classes takes."""

_BACKGROUND, _UNMATCHED = 0, -1


@dataclass(frozen=True, slots=True)
class MaskClass:
    """One class of a mask: pixels of a colour, pixels of an index, or (with neither) all that is not background.

    Attributes:
        label: the class.
        colour: `#rrggbb`, lower case; empty when the class is told by its index or is all foreground.
        index: pixel value of a grey or palette mask; -1 when the class is told by its colour or is all foreground.
    """

    label: str
    colour: str = ""
    index: int = -1


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """How boxes are made of a mask.

    Attributes:
        alpha_threshold: 0 to 255; less opaque pixels are background, whatever their colour.
        colour_tolerance: 0 to 255; largest difference to a class's colour, in each channel.
        connectivity: 8 when pixels that touch at a corner are connected, else 4.
        min_area_pixels: components of fewer pixels are noise.
        merge_distance_pixels: components of one class whose boxes have at most this many free pixels between them, on
            both axes, get one box; 0 merges none.
        one_box_per: "class" puts one box around all components of a class.
    """

    alpha_threshold: int = 128
    colour_tolerance: int = 8
    connectivity: Literal[4, 8] = 8
    min_area_pixels: int = 16
    merge_distance_pixels: int = 0
    one_box_per: Literal["component", "class"] = "component"


@dataclass(frozen=True, slots=True)
class MaskBoxes:
    """What a mask gives.

    Attributes:
        boxes: sorted by label, top and left; half-open pixels.
        dropped: number of components below the smallest area.
        unmatched_pixels: number of pixels that are neither background nor of any class.
    """

    boxes: tuple[BoundingBox, ...]
    dropped: int = 0
    unmatched_pixels: int = 0


@dataclass(frozen=True, slots=True)
class _Claim:
    """Pixels of a colour, or without one of an index, are of the class with this number."""

    number: int
    colour: tuple[int, int, int] | None = None
    index: int = -1


def mask_to_boxes(
    data: bytes, classes: Sequence[MaskClass], options: MaskOptions, *, width: int, height: int
) -> MaskBoxes:
    """Find the boxes around the classes of an encoded mask.

    Args:
        data: bytes of a PNG, or of any format that images may have.
        classes: what its pixels mean. Transparent pixels are background. So are black and index 0, and white where
            classes are told by colours (as Ground Truth does), unless a class claims them. Of two classes within
            tolerance the nearer wins.
        options: how boxes are made.
        width: of the mask's image (pixels, upright).
        height: likewise.

    Raises:
        ImageError: `ERROR_MASK_SIZE` when the mask has another size, `ERROR_INVALID_MASK` when it is a photograph or
            the colour of a class is none, and what `decode_rgb` raises for bytes that are no image.
    """
    pixels = decode_mask(data, alpha_threshold=options.alpha_threshold, size=(width, height))
    labels = _labels(classes)
    runs, unmatched_pixels = _class_runs(pixels, classes, labels, options)
    found = find_components(runs, options.connectivity)
    is_kept = found.areas >= options.min_area_pixels
    boxes = _boxes(found.kinds[is_kept], found.corners[is_kept], labels, options)
    return MaskBoxes(boxes, int(np.count_nonzero(~is_kept)), unmatched_pixels)


def decode_foreground(data: bytes, classes: Sequence[MaskClass], options: MaskOptions) -> NDArray[np.uint8]:
    """Decode a mask to height x width, 1 where a pixel is of any class and 0 elsewhere.

    Classes are read as `mask_to_boxes` reads them; components of every size are shown.

    Raises:
        ImageError: as `mask_to_boxes` does, save for the size.
    """
    pixels = decode_mask(data, alpha_threshold=options.alpha_threshold)
    runs, _ = _class_runs(pixels, classes, _labels(classes), options)
    return np.repeat((runs.values > 0).astype(np.uint8), runs.lengths).reshape(runs.height, runs.width)


def _labels(classes: Iterable[MaskClass]) -> list[str]:
    """Return the labels that get boxes; the first has number 1, for 0 is the background."""
    return sorted({each.label for each in classes if each.label.casefold() != BACKGROUND})


def _class_runs(
    pixels: MaskPixels, classes: Sequence[MaskClass], labels: Sequence[str], options: MaskOptions
) -> tuple[Runs, int]:
    """Return the mask as runs of class numbers (0 background, -1 unmatched), and how many pixels are unmatched."""
    runs = pixels.runs
    distinct = np.unique(runs.values)
    if distinct.size > MAX_COLOURS:
        raise ImageError(
            "ERROR_INVALID_MASK",
            f"the mask has {distinct.size} colours, as a photograph has; save it with one flat colour per class",
        )
    shades = describe(pixels, distinct)
    numbers = _classify(shades, _claims(classes, labels), options.colour_tolerance)
    number_of_rest = _number_of_rest(classes, labels)
    is_stray = numbers == _UNMATCHED
    if number_of_rest != _UNMATCHED:
        numbers[is_stray] = np.where(shades.is_dark[is_stray], _BACKGROUND, number_of_rest)
        is_stray &= ~shades.is_dark & (shades.levels < 255 - NOISE_LEVEL)
    places = np.searchsorted(distinct, runs.values)
    class_runs = join_runs(runs, numbers[places])
    if not is_stray.any():
        return class_runs, 0
    areas = np.bincount(places, weights=runs.lengths).astype(np.int64)
    _refuse_photograph(areas, shades.levels, is_stray, numbers != _BACKGROUND)
    return class_runs, int(areas[numbers == _UNMATCHED].sum())


def _number_of_rest(classes: Iterable[MaskClass], labels: Sequence[str]) -> int:
    for each in classes:
        if not each.colour and each.index < 0 and each.label in labels:
            return labels.index(each.label) + 1
    return _UNMATCHED


def _claims(classes: Sequence[MaskClass], labels: Sequence[str]) -> Iterator[_Claim]:
    """Yield what is claimed by classes, and then, so that classes come first, by the background."""
    for each in classes:
        number = labels.index(each.label) + 1 if each.label in labels else _BACKGROUND
        if each.colour:
            yield _Claim(number, colour=_parse_colour(each))
        elif each.index >= 0:
            yield _Claim(number, index=each.index)
    if _number_of_rest(classes, labels) != _UNMATCHED:
        return
    if any(each.colour for each in classes):
        yield _Claim(_BACKGROUND, colour=(0, 0, 0))
        yield _Claim(_BACKGROUND, colour=(255, 255, 255))
    if any(each.index >= 0 and not each.colour for each in classes):
        yield _Claim(_BACKGROUND, index=0)


def _parse_colour(each: MaskClass) -> tuple[int, int, int]:
    if not re.fullmatch("#[0-9a-fA-F]{6}", each.colour):
        raise ImageError(
            "ERROR_INVALID_MASK",
            f"class {each.label[:50]!r} has the colour {each.colour[:50]!r}; write #rrggbb in the colour map",
        )
    red, green, blue = bytes.fromhex(each.colour[1:])
    return red, green, blue


def _classify(shades: Shades, claims: Iterable[_Claim], tolerance: int) -> Integers:
    """Return the class number of each shade: of the nearest claim; of the first of equally near ones."""
    numbers = np.full(shades.indices.size, _UNMATCHED)
    nearest = np.full(shades.indices.size, np.iinfo(np.int64).max)
    for claim in claims:
        if claim.colour is None:
            is_within, distances = shades.indices == claim.index, np.zeros_like(nearest)
        else:
            differences = np.abs(shades.colours - np.array(claim.colour))
            is_within, distances = (differences <= tolerance).all(axis=1), (differences**2).sum(axis=1)
        is_nearer = is_within & (distances < nearest)
        numbers[is_nearer], nearest[is_nearer] = claim.number, distances[is_nearer]
    numbers[~shades.is_visible] = _BACKGROUND
    return numbers


def _refuse_photograph(
    areas: Integers, levels: Integers, is_stray: NDArray[np.bool_], is_foreground: NDArray[np.bool_]
) -> None:
    """Raise when much of the foreground is strays (of no class, or neither dark nor bright) in very many shades."""
    shade_count = np.unique(levels[is_stray]).size
    stray, foreground = areas[is_stray].sum(), areas[is_foreground].sum()
    if shade_count > MAX_SHADES and stray > MAX_STRAY_SHARE * foreground and stray > MIN_STRAY_COVER * areas.sum():
        raise ImageError(
            "ERROR_INVALID_MASK",
            f"{stray / foreground:.0%} of the mask's foreground is of no class, in {shade_count} shades, as in a "
            "photograph; save the mask with one flat colour per class",
        )


def _boxes(kinds: Integers, corners: Integers, labels: Sequence[str], options: MaskOptions) -> tuple[BoundingBox, ...]:
    boxes = []
    for number in np.unique(kinds):
        united = _united(corners[kinds == number], options)
        # Sorted by top, left, height, width; labels are sorted already.
        for top, left, bottom, right in sorted(united[:, [1, 0, 3, 2]].tolist()):
            boxes.append(BoundingBox(labels[number - 1], left, top, right - left, bottom - top))
    return tuple(boxes)


def _united(corners: Integers, options: MaskOptions) -> Integers:
    if options.one_box_per == "class":
        return enclose(corners)[None]
    if options.merge_distance_pixels > 0:
        return merge_near(corners, options.merge_distance_pixels)
    return corners
