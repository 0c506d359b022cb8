"""Pictures for the reports: thumbnails with boxes and masks drawn, as `data:` URIs, and figures as inline SVG.

Each image is decoded once, whatever the number of sizes wanted. An image that can no longer be read gives no
picture, and a mask that cannot be read gives no outline: a report is never lost to either.
"""

import base64
import html
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PIL import Image

from tasks.dataset.entries import ImageEntry
from tasks.dataset.files import read_image_bytes
from tasks.errors import SourceChanged
from tasks.vision.images import ImageError, RgbImage, decode_rgb
from tasks.vision.masks import MaskClass, MaskOptions, decode_foreground
from tasks.vision.overlays import Mask, Rgb, draw_boxes, draw_labels, draw_mask_outline
from tasks.vision.resizing import shrink

CONTACT_SIDE = 224
"""Longer side of a contact sheet's thumbnails (pixels)."""
CARD_SIDE = 480
"""Longer side of a mistake's picture (pixels); shown smaller, enlarged on a click."""
JPEG_QUALITY = 80
COMMON_SUBSAMPLING, NO_SUBSAMPLING = "4:2:0", "4:4:4"
THREADS = 2
"""Each holds one decoded image, up to 300 MB; decoding releases the interpreter's lock."""
OUTLINE_GAP, OUTLINE_THICKNESS = 2, 2
"""Pixels of the thumbnail; the gap keeps the defect itself in sight."""
BOX_THICKNESS = 2
LETTER_PIXELS = 11
MAX_FILE_BYTES = 100_000_000
"""Of a file that no check has passed, and of a mask."""

DEFAULT_MASK_OPTIONS = MaskOptions()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """An image, the folder that its references are relative to, and how its mask is read."""

    root: Path
    entry: ImageEntry
    mask_options: MaskOptions = DEFAULT_MASK_OPTIONS


@dataclass(frozen=True, slots=True)
class Picture:
    """A thumbnail, ready for an `img` element; width and height in pixels."""

    uri: str
    width: int
    height: int
    is_outlined: bool


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture, height x width x 3, with what is known of the image drawn."""

    pixels: RgbImage
    is_outlined: bool


@dataclass(frozen=True, slots=True)
class InlineFigure:
    """An SVG element, and its width (SVG units)."""

    markup: str
    width: float


def choose_evenly(items: Sequence[T], count: int) -> list[T]:
    """Return at most `count` items, evenly spread over the sequence, the first and the last among them."""
    if len(items) <= count:
        return list(items)
    if count == 1:
        return [items[0]]
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def make_pictures(
    wanted: Mapping[Place, Iterable[int]], colours: Mapping[str, Rgb] | None = None
) -> dict[tuple[Place, int], Picture]:
    """Make the thumbnails of images, at one or more sizes (longer side in pixels) each.

    Args:
        wanted: sizes by place.
        colours: of the labels of boxes; None draws no boxes.

    Returns:
        Pictures by place and size; an image that cannot be read has none.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        made = pool.map(lambda item: _pictures(item[0], item[1], colours), wanted.items())
        return {key: picture for pictures in made for key, picture in pictures.items()}


def make_pictures_of_files(paths: Mapping[str, Path], side: int) -> dict[str, Picture]:
    """Make plain thumbnails of files that are no part of the dataset, such as those that findings name.

    Args:
        paths: by any key; nothing but ordinary files of a bounded size is opened.
        side: longer side (pixels).

    Returns:
        Pictures by key; a file that is no readable image has none.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        made = pool.map(lambda path: _picture_of_file(path, side), paths.values())
        return {key: picture for key, picture in zip(paths, made, strict=True) if picture}


def draw_thumbnails(
    place: Place, sides: Iterable[int], colours: Mapping[str, Rgb] | None = None
) -> dict[int, Thumbnail]:
    """Return an image's thumbnails by size (longer side in pixels), with mask and boxes; none when it is unreadable."""
    try:
        image = decode_rgb(read_image_bytes(place.root, place.entry))
    except (SourceChanged, ImageError):
        return {}
    mask = read_mask(place)
    return {side: _draw_thumbnail(image, mask, place.entry, side, colours) for side in sides}


def locate(root: Path, ref: str) -> Path | None:
    """Return the ordinary file below `root` that a reference means; None without one that may be opened."""
    try:
        path = Path(os.path.realpath(root / ref))
        is_usable = path.is_relative_to(os.path.realpath(root)) and path.is_file()
        return path if is_usable and path.stat().st_size <= MAX_FILE_BYTES else None
    except (OSError, ValueError):
        return None  # a null character, a name that is too long, a folder that may not be entered


def _pictures(
    place: Place, sides: Iterable[int], colours: Mapping[str, Rgb] | None
) -> dict[tuple[Place, int], Picture]:
    drawn = draw_thumbnails(place, sorted(set(sides)), colours)
    # Halved colour resolution would blur the boxes' thin lines.
    subsampling = COMMON_SUBSAMPLING if colours is None else NO_SUBSAMPLING
    return {(place, side): _picture(one.pixels, one.is_outlined, subsampling) for side, one in drawn.items()}


def _picture_of_file(path: Path, side: int) -> Picture | None:
    try:
        image = decode_rgb(path.read_bytes())
    except (OSError, ImageError):
        return None
    return _picture(shrink(image, side)[0], False, COMMON_SUBSAMPLING)


def _picture(pixels: RgbImage, is_outlined: bool, subsampling: str) -> Picture:
    return Picture(jpeg_uri(pixels, subsampling), pixels.shape[1], pixels.shape[0], is_outlined)


def _draw_thumbnail(
    image: RgbImage, mask: Mask | None, entry: ImageEntry, side: int, colours: Mapping[str, Rgb] | None
) -> Thumbnail:
    small, scale = shrink(image, side)
    return Thumbnail(draw_truth(small, mask, entry, scale, colours), mask is not None)


def draw_truth(
    small: RgbImage, mask: Mask | None, entry: ImageEntry, scale: float, colours: Mapping[str, Rgb] | None
) -> RgbImage:
    """Return a picture, scaled already, with the mask's outline and the true boxes; without colours no boxes."""
    if mask is not None:
        small = draw_mask_outline(small, mask, gap=OUTLINE_GAP, thickness=OUTLINE_THICKNESS)
    if colours is not None and entry.truth.boxes:
        small = draw_boxes(small, entry.truth.boxes, colours, scale, thickness=BOX_THICKNESS)
        small = draw_labels(small, entry.truth.boxes, colours, scale, letter_pixels=LETTER_PIXELS)
    return small


def read_mask(place: Place) -> Mask | None:
    """Return the defect mask, 1 where the defect is; None without a usable one."""
    path = locate(place.root, place.entry.mask_ref) if place.entry.mask_ref else None
    if path is None:
        return None
    classes: Sequence[MaskClass] = place.entry.mask_classes or (MaskClass(""),)
    try:
        mask = decode_foreground(path.read_bytes(), classes, place.mask_options)
    except (OSError, ImageError):
        return None
    return mask if mask.any() else None


def jpeg_uri(image: RgbImage, subsampling: str = NO_SUBSAMPLING) -> str:
    """Return a picture as a `data:` URI, for pages and artifacts that must not refer to files."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=subsampling, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def inline_svg(path: Path, name: str, title: str) -> InlineFigure | None:
    """Return an SVG figure for use within HTML; None when there is no such file.

    Its ids get `name` as prefix, so that several figures can share a page. Left out are the metadata, whose addresses
    a page without outside references has no use for, and the style sheet, which would apply to the whole page.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return None
    root = re.search(r"<svg\b[^>]*>", text)
    box = re.search(r'viewBox="([\d.-]+ [\d.-]+ ([\d.]+) [\d.]+)"', root.group()) if root else None
    if root is None or box is None:
        return None
    body = re.sub(r"<metadata>.*?</metadata>|<style\b.*?</style>", "", text[root.end() :], flags=re.DOTALL)
    body = re.sub(r"<[^>]*>", lambda tag: _with_prefixed_ids(tag.group(), name), body)
    width = float(box.group(2))
    start = (
        f'<svg class="plot" role="img" aria-label="{html.escape(title)}" viewBox="{box.group(1)}"'
        f' style="--plot-width: {width:.0f}" stroke-linejoin="round">'
    )
    return InlineFigure(start + body, width)


def _with_prefixed_ids(tag: str, prefix: str) -> str:
    tag = re.sub(r'\bid="', f'id="{prefix}-', tag)
    tag = re.sub(r'href="#', f'href="#{prefix}-', tag)
    return re.sub(r"url\(#", f"url(#{prefix}-", tag)
