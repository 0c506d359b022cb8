"""Mask bytes to one whole number a pixel, and what these numbers look like.

A mask is read once, by Pillow, which refuses truncated files and keeps palettes. The number is a grey value, a palette
index, or the packed channels: of millions of pixels only the few distinct numbers need ever be compared with classes.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from tasks.vision.components import Integers, Runs, find_runs
from tasks.vision.images import MAX_MEGAPIXELS, ImageError, read_header

NOISE_LEVEL = 31
"""Brightness up to this one, of 255, may be noise of a lossy format when there are brighter pixels."""

_DAMAGE = (OSError, SyntaxError, ValueError, struct.error, EOFError, MemoryError)
_METADATA_DAMAGE = (*_DAMAGE, TypeError, KeyError)
_LAYOUT_BY_MODE = {
    "1": ("L", "u1"),
    "L": ("L", "u1"),
    "P": ("P", "u1"),
    "LA": ("LA", "<u2"),
    "RGB": ("RGBX", "<u4"),
    "RGBA": ("RGBA", "<u4"),
}
"""Of each Pillow mode: how it is copied out, and the number that one pixel then is."""
_GREY_STEP_BY_DEPTH = {1: 255, 2: 85, 4: 17}
"""By what Pillow multiplies PNG grey values of fewer than 8 bits."""
_WHOLE_BYTES, _BAND_BYTES = 1 << 20, 1 << 19
"""Pixels of larger masks are looked at in bands of rows: fresh memory for one large copy takes longer than the rest."""
_PNG_DEPTH_OFFSET = 24
"""The bit depth stands after signature, length and name of the first chunk, width and height."""


@dataclass(frozen=True, slots=True)
class MaskPixels:
    """Decoded pixels as numbers.

    Attributes:
        runs: of equal numbers; where the mode has alpha, 0 is a transparent pixel and no visible one is 0.
        mode: Pillow's name for what a number means.
        palette: 256 x 4 RGBA of mode `P`, alpha 0 or 255; opaque white beyond the file's own.
        grey_step: the grey value that an index of 1 has.
        clear_value: the number that the file declares transparent; -1 without one, or when the palette says it.
    """

    runs: Runs
    mode: str
    palette: NDArray[np.uint8]
    grey_step: int
    clear_value: int


@dataclass(frozen=True, slots=True)
class Shades:
    """What N distinct numbers look like.

    Attributes:
        colours: N x 3 RGB, 0 to 255.
        indices: the index that each is; -1 for a colour that is not grey.
        is_visible: whether it is opaque.
        is_dark: whether it is background as long as no class says otherwise.
    """

    colours: Integers
    indices: Integers
    is_visible: NDArray[np.bool_]
    is_dark: NDArray[np.bool_]

    @property
    def levels(self) -> Integers:
        """Brightest channel of each, 0 to 255."""
        levels: Integers = self.colours.max(axis=1)
        return levels


def decode_mask(data: bytes, *, alpha_threshold: int, size: tuple[int, int] | None = None) -> MaskPixels:
    """Decode a mask, upright; pixels less opaque than `alpha_threshold` (0 to 255) are transparent.

    Raises:
        ImageError: `ERROR_MASK_SIZE` unless the mask has `size` (width and height in pixels), `ERROR_INVALID_MASK`
            for 32 bits a channel, and what `decode_rgb` raises for bytes that are no image.
    """
    header = read_header(data)
    if header.width * header.height > MAX_MEGAPIXELS * 1e6:
        raise ImageError(
            "ERROR_INVALID_IMAGE_DIMENSION",
            f"the mask has {header.width} x {header.height} pixels, more than {MAX_MEGAPIXELS:g} megapixels",
        )
    # Turning an image upright may swap its sides: compared in full once that is done.
    if size is not None and sorted(size) != sorted((header.width, header.height)):
        raise _wrong_size(header.width, header.height, size)
    try:
        with Image.open(io.BytesIO(data), formats=[header.format]) as image:
            image.load()
            pixels = _pixels(_upright(image), _grey_step(image, data), alpha_threshold)
    except _DAMAGE as error:
        raise ImageError(
            "ERROR_TRUNCATED_IMAGE", f"the {header.format} mask is cut short or damaged: {error}"
        ) from error
    if size is not None and (pixels.runs.width, pixels.runs.height) != size:
        raise _wrong_size(pixels.runs.width, pixels.runs.height, size)
    return pixels


def describe(pixels: MaskPixels, values: Integers) -> Shades:
    """Say what distinct numbers of a mask look like."""
    values = values.astype(np.int64)
    is_visible = values & 0xFFFFFF != pixels.clear_value
    if pixels.mode == "P":
        colours, indices = pixels.palette[values, :3].astype(np.int64), values
        is_visible &= pixels.palette[values, 3] > 0
    elif pixels.mode in ("RGB", "RGBA"):
        colours = np.stack((values, values >> 8, values >> 16), axis=1) & 255
        indices = np.where((colours == colours[:, :1]).all(axis=1), colours[:, 0], -1)
    else:
        grey = values >> 8 if pixels.mode == "I;16" else values & 255
        colours = np.repeat(grey[:, None], 3, axis=1)
        indices = values if pixels.mode == "I;16" else grey // pixels.grey_step
    if pixels.mode in ("LA", "RGBA"):
        is_visible &= values != 0
    return Shades(colours, indices, is_visible, _is_dark(pixels, colours, indices, is_visible))


def _is_dark(
    pixels: MaskPixels, colours: Integers, indices: Integers, is_visible: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    if pixels.mode == "I;16":
        is_dark: NDArray[np.bool_] = indices == 0
    elif pixels.mode == "P":
        is_dark = indices == _dark_index(pixels.palette)
    else:
        levels = colours.max(axis=1)
        has_bright = bool((levels[is_visible] > NOISE_LEVEL).any())
        is_dark = levels <= (NOISE_LEVEL if has_bright else 0)
    return is_dark


def _dark_index(palette: NDArray[np.uint8]) -> int:
    """Return the index that is background: of black, which an optimised palette may hold anywhere, else 0.

    -1 when transparency is the background instead.
    """
    is_opaque = palette[:, 3] > 0
    black = np.flatnonzero((palette[:, :3] == 0).all(axis=1) & is_opaque)
    if black.size:
        return int(black[0])
    return 0 if is_opaque.all() else -1


def _wrong_size(width: int, height: int, wanted: tuple[int, int]) -> ImageError:
    return ImageError(
        "ERROR_MASK_SIZE",
        f"the mask has {width} x {height} pixels, its image {wanted[0]} x {wanted[1]}; "
        "give a mask of the image's own size, scaled without smoothing",
    )


def _upright(image: Image.Image) -> Image.Image:
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except _METADATA_DAMAGE:
        return image  # damaged metadata says nothing; the pixels are whole
    return image


def _grey_step(image: Image.Image, data: bytes) -> int:
    if image.mode == "1":
        return 255
    is_png_grey = image.mode == "L" and image.format == "PNG"
    return _GREY_STEP_BY_DEPTH.get(data[_PNG_DEPTH_OFFSET], 1) if is_png_grey else 1


def _pixels(image: Image.Image, grey_step: int, alpha_threshold: int) -> MaskPixels:
    if image.mode in ("I", "F"):
        raise ImageError(
            "ERROR_INVALID_MASK", f"the mask's pixels of mode {image.mode} have 32 bits; save it with 8 or 16"
        )
    is_wide = image.mode.startswith("I;16")
    if image.mode not in _LAYOUT_BY_MODE and not is_wide:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    clear = image.info.get("transparency")
    return MaskPixels(
        find_runs(_numbers(band, alpha_threshold) for band in _bands(image)),
        "I;16" if is_wide else image.mode,
        _palette(image, clear, alpha_threshold),
        grey_step,
        -1 if image.mode == "P" else _clear_value(clear, grey_step),
    )


def _pixel_bytes(image: Image.Image) -> int:
    return 2 if image.mode.startswith("I;16") else np.dtype(_LAYOUT_BY_MODE[image.mode][1]).itemsize


def _bands(image: Image.Image) -> Iterator[Image.Image]:
    row_bytes = image.width * _pixel_bytes(image)
    if row_bytes * image.height <= _WHOLE_BYTES:
        yield image
        return
    rows = max(1, _BAND_BYTES // row_bytes)
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


def _numbers(image: Image.Image, alpha_threshold: int) -> Integers:
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    raw_mode, number = _LAYOUT_BY_MODE[image.mode]
    values = np.frombuffer(image.tobytes("raw", raw_mode), np.dtype(number)).reshape(image.height, image.width)
    if image.mode not in ("LA", "RGBA"):
        return values
    shift = 8 * (values.itemsize - 1)
    opaque = values | values.dtype.type(255 << shift)  # of all visible pixels alike: fewer distinct numbers
    visible: Integers = np.where(values >= values.dtype.type(alpha_threshold << shift), opaque, values.dtype.type(0))
    return visible


def _palette(image: Image.Image, clear: object, alpha_threshold: int) -> NDArray[np.uint8]:
    palette = np.full((256, 4), 255, np.uint8)
    if image.mode != "P":
        return palette
    colours = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)[:256]
    palette[: len(colours), :3] = colours
    if isinstance(clear, bytes):
        alpha = np.frombuffer(clear[:256], np.uint8)
        palette[: alpha.size, 3] = np.where(alpha >= alpha_threshold, 255, 0)
    elif isinstance(clear, int):
        palette[clear, 3] = 0
    return palette


def _clear_value(clear: object, grey_step: int) -> int:
    if isinstance(clear, int):
        return clear * grey_step
    if isinstance(clear, tuple) and len(clear) == 3:
        red, green, blue = clear
        return int(red | green << 8 | blue << 16)
    return -1
