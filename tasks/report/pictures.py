"""Pictures for the report: thumbnails and outlines of defect masks as `data:` URIs, and figures as inline SVG.

Each image is decoded once, whatever the number of sizes wanted. An image that can no longer be read gives no
picture, and a mask that cannot be read gives no outline: a report is never lost to either.
"""

import base64
import html
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tasks.dataset.entries import ImageEntry
from tasks.dataset.files import read_image_bytes
from tasks.errors import SourceChanged
from tasks.vision.images import ImageError, RgbImage, decode_rgb

CONTACT_SIDE = 224
"""Longer side of a contact sheet's thumbnails (pixels)."""
CARD_SIDE = 480
"""Longer side of a mistake's picture (pixels); shown smaller, enlarged on a click."""
JPEG_QUALITY = 80
THREADS = 2
"""Each holds one decoded image, up to 300 MB; decoding releases the interpreter's lock."""
OUTLINE_RGB, HALO_RGB = (255, 212, 0), (0, 0, 0)
"""Bright on dark, so that the outline is seen on any ground."""
OUTLINE_WIDTH, HALO_WIDTH = 2, 4
"""Pixels of the thumbnail."""
OUTLINE_DISTANCE = 3
"""Pixels between mask and outline, so that the defect itself stays in sight."""

MASK_NOISE = 31
"""Grey values of a mask up to this one may be noise (of 255)."""

Mask = NDArray[np.uint8]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """An image and the folder that its references are relative to."""

    root: Path
    entry: ImageEntry


@dataclass(frozen=True, slots=True)
class Picture:
    """A thumbnail, ready for an `img` element; width and height in pixels."""

    uri: str
    width: int
    height: int
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


def make_pictures(wanted: Mapping[Place, Iterable[int]]) -> dict[tuple[Place, int], Picture]:
    """Make the thumbnails of images, at one or more sizes (longer side in pixels) each.

    Returns:
        Pictures by place and size; an image that cannot be read has none.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        made = pool.map(lambda item: _thumbnails(item[0], sorted(set(item[1]))), wanted.items())
    return {key: picture for pictures in made for key, picture in pictures.items()}


def _thumbnails(place: Place, sides: Sequence[int]) -> dict[tuple[Place, int], Picture]:
    try:
        image = decode_rgb(read_image_bytes(place.root, place.entry))
    except (SourceChanged, ImageError):
        return {}
    mask = _read_mask(place)
    return {(place, side): _thumbnail(image, mask, side) for side in sides}


def _thumbnail(image: RgbImage, mask: Mask | None, side: int) -> Picture:
    height, width = image.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    if mask is not None:
        small = _outlined(small, mask)
    return Picture(_jpeg_uri(small), *size, is_outlined=mask is not None)


def _read_mask(place: Place) -> Mask | None:
    """Return the defect mask, 1 where the defect is; None without a usable one."""
    if not place.entry.mask_ref:
        return None
    path = (place.root / place.entry.mask_ref).resolve()
    if not path.is_relative_to(place.root.resolve()):
        return None
    try:
        grey = decode_rgb(path.read_bytes()).max(axis=2)
    except (OSError, ImageError):
        return None
    # Masks hold 0 and 255, or small class numbers; between 0 and 255, JPEG leaves noise.
    noise = MASK_NOISE if grey.max() > MASK_NOISE else 0
    mask = (grey > noise).astype(np.uint8)
    return mask if mask.any() else None


def _outlined(image: RgbImage, mask: Mask) -> RgbImage:
    height, width = image.shape[:2]
    # Averaged, not sampled: of a small defect some of it remains.
    share = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    reach = 2 * OUTLINE_DISTANCE + 1
    around = cv2.dilate((share > 0).astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    contours, _ = cv2.findContours(around, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    drawn = image.copy()
    cv2.drawContours(drawn, contours, -1, HALO_RGB, HALO_WIDTH, cv2.LINE_AA)
    cv2.drawContours(drawn, contours, -1, OUTLINE_RGB, OUTLINE_WIDTH, cv2.LINE_AA)
    return drawn


def _jpeg_uri(image: RgbImage) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
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
