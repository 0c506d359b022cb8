"""Test images twice, side by side: the true boxes, and what a detector gave, told apart by the kind of line."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from tasks.dataset.files import read_image_bytes
from tasks.errors import SourceChanged
from tasks.report.detection_facts import JudgedImage
from tasks.report.pictures import BOX_THICKNESS, LETTER_PIXELS, THREADS, Picture, Place, jpeg_uri
from tasks.vision.boxes import BoundingBox
from tasks.vision.images import ImageError, RgbImage, decode_rgb
from tasks.vision.overlays import Box, Line, Rgb, draw_boxes, draw_labels
from tasks.vision.resizing import shrink

MAX_BOXES = 100
"""Drawn per picture and kind."""
GAP_PIXELS = 12
PAPER = 255


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures of one image: what is there, and what was given."""

    truth: Picture
    answer: Picture


def make_pairs(wanted: Sequence[tuple[Place, JudgedImage]], side: int, colours: Mapping[str, Rgb]) -> dict[str, Pair]:
    """Return the pairs by reference, each picture's longer side at most `side` pixels; none of an unreadable image."""
    with ThreadPoolExecutor(THREADS) as pool:
        drawn = pool.map(lambda one: draw_pair(one[0], one[1], side, colours), wanted)
        return {image.source_ref: pair_of(sides) for (_, image), sides in zip(wanted, drawn, strict=True) if sides}


def side_by_side_uri(place: Place, image: JudgedImage, side: int, colours: Mapping[str, Rgb]) -> str | None:
    """Return a pair as one picture, a `data:` URI; None when the image cannot be read."""
    sides = draw_pair(place, image, side, colours)
    return beside(sides) if sides else None


def pair_of(sides: tuple[RgbImage, RgbImage]) -> Pair:
    """Return two drawn pictures, ready for a page."""
    return Pair(_picture(sides[0]), _picture(sides[1]))


def beside(sides: tuple[RgbImage, RgbImage]) -> str:
    """Return two drawn pictures as one, a `data:` URI."""
    gap = np.full((sides[0].shape[0], GAP_PIXELS, 3), PAPER, np.uint8)
    return jpeg_uri(np.hstack([sides[0], gap, sides[1]]))


def draw_pair(
    place: Place, image: JudgedImage, side: int, colours: Mapping[str, Rgb]
) -> tuple[RgbImage, RgbImage] | None:
    """Return an image with its true boxes, and with the given ones; None when it cannot be read.

    Beside the given boxes, right ones solid and false ones dashed, the second has a dotted line where a true box was
    missed: it tells all by itself.
    """
    try:
        pixels = decode_rgb(read_image_bytes(place.root, place.entry))
    except (SourceChanged, ImageError):
        return None
    small, scale = shrink(pixels, side)
    truth = draw_boxes(small, image.true_boxes[:MAX_BOXES], colours, scale, thickness=BOX_THICKNESS)
    truth = draw_labels(truth, image.true_boxes, colours, scale, letter_pixels=LETTER_PIXELS)
    kinds: tuple[tuple[Sequence[Box], Line], ...] = (
        (image.missed, "dotted"),
        (image.false_alarms, "dashed"),
        (image.found, "solid"),
    )
    answer = small
    for boxes, line in kinds:
        answer = draw_boxes(answer, boxes[:MAX_BOXES], colours, scale, thickness=BOX_THICKNESS, line=line)
    drawn: list[Box] = [box for boxes, _ in kinds for box in boxes]
    false = set(image.false_alarms)
    answer = draw_labels(
        answer, drawn, colours, scale, letter_pixels=LETTER_PIXELS, caption=lambda box: caption(box, box in false)
    )
    return truth, answer


def caption(box: Box, is_false: bool) -> str:
    """Return what is written beside a box that was given or missed."""
    if isinstance(box, BoundingBox):
        return f"missed {box.label}"
    return f"{'false ' if is_false else ''}{box.label} {box.confidence:.2f}"


def _picture(pixels: RgbImage) -> Picture:
    return Picture(jpeg_uri(pixels), pixels.shape[1], pixels.shape[0], is_outlined=False)
