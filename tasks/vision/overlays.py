"""Boxes, labels and mask outlines drawn on pictures, true to the pixel. Pixels in, new pixels out; opens no image.

Everything is drawn after a picture was scaled, so that lines and letters stay crisp at every size.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tasks.vision.boxes import BoundingBox, DetectedBox
from tasks.vision.images import RgbImage
from tasks.vision.lettering import legible, load_font, shortened

Rgb = tuple[int, int, int]
"""Red, green, blue; 0 to 255."""
Mask = NDArray[np.uint8]
"""Height x width, not 0 where the object is."""
Edges = tuple[int, int, int, int]
"""Left, top, right, bottom in drawn pixels, half-open."""
Box = BoundingBox | DetectedBox
Line = Literal["solid", "dashed", "dotted"]

PALETTE: tuple[Rgb, ...] = (
    (41, 236, 143),
    (162, 69, 251),
    (255, 160, 214),
    (218, 18, 175),
    (155, 159, 255),
    (21, 138, 59),
    (183, 96, 126),
    (127, 163, 0),
)
"""Bright enough for dark grounds, and apart from each other and from `OUTLINE_RGB` for colour-blind eyes too."""
OUTLINE_RGB: Rgb = (255, 212, 0)
HALO_RGB: Rgb = (0, 0, 0)
"""Around every line, so that it is seen on any ground."""
LIGHT_INK, DARK_INK = (255, 255, 255), (0, 0, 0)
LABEL_PIXELS = 12
"""Height of letters."""
SEGMENT_PIXELS: dict[Line, int] = {"dashed": 8, "dotted": 3}
"""About how long the drawn and the empty parts of a broken line are; they divide each side evenly."""
PLATE_MARGIN = 3
"""Pixels between letters and plate, the plate's dark edge among them."""
PLATE_DISTANCE = 2
"""Pixels between a box and its label's plate."""
MAX_HIDDEN_SHARE = 0.25
"""Of a box, by a plate."""
MAX_PLATES = 50
"""Boxes that are considered for a plate: more say nothing, and each is compared with all boxes."""


def label_colours(labels: Iterable[str]) -> dict[str, Rgb]:
    """Give each label a colour by its place among the sorted labels; beyond the palette, colours repeat."""
    return {label: PALETTE[place % len(PALETTE)] for place, label in enumerate(sorted(set(labels)))}


def draw_boxes(
    image: RgbImage,
    boxes: Sequence[Box],
    colours: Mapping[str, Rgb],
    scale: float = 1.0,
    *,
    thickness: int = 1,
    line: Line = "solid",
) -> RgbImage:
    """Draw frames of boxes; small boxes lie on top of large ones.

    The line's inner pixel is the box's own outermost pixel; what is thicker, and the dark halo, lies outside, so that
    the object stays in sight. At the image's border, where there is no outside, thick lines grow inwards.

    Args:
        image: height x width x 3, already scaled.
        boxes: in pixels of the image before scaling.
        colours: by label.
        scale: drawn pixels per pixel of the boxes.
        thickness: of the line (pixels, 1 or more), without its halo.
        line: a broken one begins and ends at the corners.
    """
    drawn = image.copy()
    ordered = sorted(boxes, key=lambda box: -box.width * box.height)
    edges = [drawn_edges(box, image, scale) for box in ordered]
    outers = [_grown(one, thickness - 1, image) for one in edges]
    for outer in outers:
        _paint_frame(drawn, _grown(outer, 1, image), outer, HALO_RGB, line)
    for box, outer in zip(ordered, outers, strict=True):
        _paint_frame(drawn, outer, _inside_of_line(outer, thickness), colours[box.label], line)
    return drawn


def drawn_edges(box: Box, image: RgbImage, scale: float) -> Edges:
    """Return the pixels that a box covers on a scaled image: one at least, none outside the image."""
    height, width = image.shape[:2]
    left = min(round(box.left * scale), width - 1)
    top = min(round(box.top * scale), height - 1)
    right = max(left + 1, min(round(box.right * scale), width))
    bottom = max(top + 1, min(round(box.bottom * scale), height))
    return left, top, right, bottom


def draw_mask_outline(
    image: RgbImage, mask: Mask, colour: Rgb = OUTLINE_RGB, *, gap: int = 0, thickness: int = 1
) -> RgbImage:
    """Draw a line around a mask, outside of it: no pixel of the mask is covered.

    Args:
        image: height x width x 3, already scaled.
        mask: of any size; it is scaled to the image's so that even the smallest spot leaves a pixel.
        colour: of the line.
        gap: pixels left free between mask and line; the halo's inner side takes one of them.
        thickness: of the line (pixels), without its dark halo.
    """
    drawn = image.copy()
    covered = fit_mask(mask, image.shape[1], image.shape[0]) > 0
    if not covered.any():
        return drawn
    outside = np.logical_not(covered).astype(np.uint8)
    distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).astype(np.float32, copy=False)
    # The mask's outermost pixels have distance 0 and end half a pixel further.
    start, end = gap + 0.5, gap + thickness + 0.5
    _blend(drawn, _band(distance, max(0.5, start - 1), end + 1), HALO_RGB)
    _blend(drawn, _band(distance, start, end), colour)
    return drawn


def fit_mask(mask: Mask, width: int, height: int) -> Mask:
    """Scale a mask to width x height pixels: a pixel is the largest of those it stands for."""
    if mask.shape == (height, width):
        return mask
    # Where several target rows stand for one source row, reduceat gives them that row.
    rows = np.arange(height) * mask.shape[0] // height
    columns = np.arange(width) * mask.shape[1] // width
    fitted: Mask = np.maximum.reduceat(np.maximum.reduceat(mask, rows, axis=0), columns, axis=1)
    return fitted


def draw_labels(
    image: RgbImage,
    boxes: Sequence[Box],
    colours: Mapping[str, Rgb],
    scale: float = 1.0,
    *,
    letter_pixels: int = LABEL_PIXELS,
    caption: Callable[[Box], str] = attrgetter("label"),
) -> RgbImage:
    """Write the boxes' labels beside them, each on a plate of its colour that lies inside the image.

    A plate never lies on another plate, nor on much of a box. One that finds no such place is left out, the largest
    boxes being served first: the colour of the box still tells its label.

    Args:
        image: height x width x 3, already scaled.
        boxes: in pixels of the image before scaling.
        colours: by label.
        scale: drawn pixels per pixel of the boxes.
        letter_pixels: size of the letters.
        caption: what to write beside a box.
    """
    height, width = image.shape[:2]
    canvas = Image.fromarray(image)
    pen = ImageDraw.Draw(canvas)
    font = load_font(letter_pixels)
    plate_height = sum(font.getmetrics()) + 2 * PLATE_MARGIN
    ordered = sorted(boxes, key=lambda box: -box.width * box.height)
    frames = [drawn_edges(box, image, scale) for box in ordered]
    taken: list[Edges] = []
    for box, frame in zip(ordered[:MAX_PLATES], frames, strict=False):
        text = shortened(legible(caption(box), font), font, width - 2 * PLATE_MARGIN)
        if not text:
            continue
        plate_width = round(font.getlength(text)) + 2 * PLATE_MARGIN
        places = _places_beside(frame, plate_width, plate_height, width, height)
        plate = next((place for place in places if _is_free(place, taken, frames)), None)
        if plate is None:
            continue
        taken.append(plate)
        left, top, right, bottom = plate
        colour = colours[box.label]
        pen.rectangle((left, top, right - 1, bottom - 1), fill=colour, outline=HALO_RGB)
        pen.text((left + PLATE_MARGIN, top + PLATE_MARGIN), text, fill=ink_on(colour), font=font)
    return np.array(canvas)


def ink_on(ground: Rgb) -> Rgb:
    """Return black or white, whichever is read more easily on a ground (contrast as WCAG 2 defines it)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (value / 255 for value in ground)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return DARK_INK if (luminance + 0.05) ** 2 >= 1.05 * 0.05 else LIGHT_INK


def _grown(edges: Edges, pixels: int, image: RgbImage) -> Edges:
    left, top, right, bottom = edges
    height, width = image.shape[:2]
    return max(0, left - pixels), max(0, top - pixels), min(width, right + pixels), min(height, bottom + pixels)


def _inside_of_line(outer: Edges, thickness: int) -> Edges:
    """Return what a line leaves free that is `thickness` wide from `outer` on; it may be empty."""
    left, top = outer[0] + thickness, outer[1] + thickness
    return left, top, max(left, outer[2] - thickness), max(top, outer[3] - thickness)


def _paint_frame(image: RgbImage, outer: Edges, inner: Edges, colour: Rgb, line: Line) -> None:
    left, top, right, bottom = outer
    inner_left, inner_top, inner_right, inner_bottom = inner
    across, down = _drawn_parts(right - left, line), _drawn_parts(bottom - top, line)
    image[top:inner_top, left:right][:, across] = colour
    image[inner_bottom:bottom, left:right][:, across] = colour
    image[top:bottom, left:inner_left][down] = colour
    image[top:bottom, inner_right:right][down] = colour


def _drawn_parts(length: int, line: Line) -> NDArray[np.bool_]:
    """Return which pixels of a side are drawn: every second part, the first and the last among them."""
    if line == "solid" or length < 3:
        return np.ones(length, np.bool_)
    # Short sides have three parts too, or small boxes would all be solid.
    parts = max(3, 2 * round((length / SEGMENT_PIXELS[line] - 1) / 2) + 1)
    drawn: NDArray[np.bool_] = np.arange(length) * parts // length % 2 == 0
    return drawn


def _band(distance: NDArray[np.float32], start: float, end: float) -> NDArray[np.float32]:
    """Return how much of each pixel, 0 to 1, lies between two distances."""
    share: NDArray[np.float32] = np.clip(np.minimum(distance + 0.5, end) - np.maximum(distance - 0.5, start), 0, 1)
    return share


def _blend(image: RgbImage, share: NDArray[np.float32], colour: Rgb) -> None:
    touched = share > 0
    weight = share[touched][:, None]
    image[touched] = np.rint(image[touched] * (1 - weight) + np.array(colour, np.float32) * weight).astype(np.uint8)


def _places_beside(edges: Edges, plate_width: int, plate_height: int, width: int, height: int) -> list[Edges]:
    """Return the places inside the image for a plate: above its box, below, right, left, within."""
    left, top, right, bottom = edges
    along = max(0, min(left, width - plate_width))
    level = max(0, min(top, height - plate_height))
    corners = (
        (along, top - PLATE_DISTANCE - plate_height),
        (along, bottom + PLATE_DISTANCE),
        (right + PLATE_DISTANCE, level),
        (left - PLATE_DISTANCE - plate_width, level),
        (along, level),
    )
    plates = [(x, y, x + plate_width, y + plate_height) for x, y in corners]
    return [one for one in plates if one[0] >= 0 and one[1] >= 0 and one[2] <= width and one[3] <= height]


def _is_free(plate: Edges, taken: Sequence[Edges], frames: Sequence[Edges]) -> bool:
    if any(_shared_pixels(plate, other) for other in taken):
        return False
    return all(_shared_pixels(plate, frame) <= MAX_HIDDEN_SHARE * _shared_pixels(frame, frame) for frame in frames)


def _shared_pixels(one: Edges, other: Edges) -> int:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0, width) * max(0, height)
