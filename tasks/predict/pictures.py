"""Pictures of predicted images, with what was found drawn: files for people, thumbnails for the summary.

An image that can no longer be read gives no picture; a summary is never lost to one.
"""

import base64
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageDraw

from tasks.predict.answers import ImageAnswer, Told
from tasks.predict.image_files import ReadLimits, decode_and_shrink, read_image_file
from tasks.vision.images import ImageError, RgbImage
from tasks.vision.lettering import legible, load_font, shortened
from tasks.vision.overlays import HALO_RGB, Box, Line, Rgb, draw_boxes, draw_labels, ink_on
from tasks.vision.resizing import shrink

OVERLAYS_FOLDER = "overlays"
OVERLAY_SIDE, THUMBNAIL_SIDE = 1280, 320
"""Longer side at most (pixels)."""
OVERLAY_LETTERS, THUMBNAIL_LETTERS = 16, 12
"""Height of letters (pixels)."""
BOX_THICKNESS = 2
JPEG_QUALITY = 85
MAX_CAPTIONS = 3
"""Labels written on a classifier's picture."""
CAPTION_MARGIN = 4
MAX_STEM_CHARACTERS = 48
"""Of an image's own name in that of its overlay; each takes four bytes at most, a file's name 255."""


def overlay_name(number: int, source_ref: str) -> str:
    """Return the name of an image's overlay file; `number` is its place among all, from 1."""
    stem = re.sub(r"[^\w.-]+", "-", PurePosixPath(source_ref).stem)[:MAX_STEM_CHARACTERS].strip("-.")
    return f"{number:06d}-{stem or 'image'}.jpg"


def draw_answer(
    root: Path,
    answer: ImageAnswer,
    told: Sequence[Told],
    colours: Mapping[str, Rgb],
    limits: ReadLimits,
    *,
    side: int,
    letters: int,
) -> RgbImage | None:
    """Return a picture of an image with labels and boxes; None when the file is not the one that was predicted.

    Boxes below their label's threshold are dashed.

    Args:
        root: folder to which the image's reference is relative.
        answer: the image.
        told: what to draw.
        colours: by label.
        limits: of the file.
        side: longer side of the picture at most (pixels).
        letters: height of letters (pixels).
    """
    try:
        data = read_image_file(root, answer.source_ref, limits)
        if hashlib.sha256(data).hexdigest() != answer.sha256:
            return None
        small, scale = decode_and_shrink(data, limits, lambda image: shrink(image, side))
    except ImageError:
        return None
    if any(one.box for one in told):
        return _with_boxes(small, told, colours, scale, letters)
    return _with_captions(small, told, colours, letters)


def jpeg_bytes(image: RgbImage) -> bytes:
    """Return a picture as a JPEG file; colours at full resolution, for thin lines."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling="4:4:4")
    return buffer.getvalue()


def jpeg_uri(image: RgbImage) -> str:
    """Return a picture as a `data:` URI, for a page that refers to no file."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg_bytes(image)).decode("ascii")


def caption_of(one: Told) -> str:
    """Return what is written beside a box: label and confidence."""
    return f"{one.label} {one.percent:.0f} %"


def _with_boxes(
    image: RgbImage, told: Sequence[Told], colours: Mapping[str, Rgb], scale: float, letters: int
) -> RgbImage:
    captions: dict[Box, str] = {one.box: caption_of(one) for one in told if one.box}
    lines: tuple[tuple[bool, Line], ...] = ((False, "dashed"), (True, "solid"))
    for is_given, line in lines:
        boxes = [one.box for one in told if one.box and one.is_given == is_given]
        image = draw_boxes(image, boxes, colours, scale, thickness=BOX_THICKNESS, line=line)
    return draw_labels(image, list(captions), colours, scale, letter_pixels=letters, caption=captions.__getitem__)


def _with_captions(image: RgbImage, told: Sequence[Told], colours: Mapping[str, Rgb], letters: int) -> RgbImage:
    """Write labels in the upper left corner, one below the other, each on a plate of its colour."""
    canvas = Image.fromarray(image)
    pen, font = ImageDraw.Draw(canvas), load_font(letters)
    height = sum(font.getmetrics()) + 2 * CAPTION_MARGIN
    for place, one in enumerate(told[:MAX_CAPTIONS]):
        text = shortened(legible(caption_of(one), font), font, canvas.width - 2 * CAPTION_MARGIN)
        if not text or (place + 1) * height > canvas.height:
            break
        top, right = place * height, round(font.getlength(text)) + 2 * CAPTION_MARGIN
        pen.rectangle((0, top, right - 1, top + height - 1), fill=colours[one.label], outline=HALO_RGB)
        pen.text((CAPTION_MARGIN, top + CAPTION_MARGIN), text, fill=ink_on(colours[one.label]), font=font)
    return np.array(canvas)
