"""Image bytes to 8-bit RGB pixels, the same way in training, evaluation and serving.

Sizes are read from the header before any pixel is decoded. Pillow decodes as fast as OpenCV on the formats of this
field, gives the same JPEG pixels, refuses truncated files and knows palettes, alpha and CMYK; so there is one path.
"""

import io
import math
import re
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

# Pillow's own limit cannot be set per call; the limit here is the caller's, checked before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = None

RgbImage = NDArray[np.uint8]
"""Height x width x 3, red first, 0 to 255."""

SUFFIXES_BY_FORMAT = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
_JPEG_OF_SEVERAL = "MPO"
"""What Pillow calls a JPEG with further pictures behind it, as phones write them; the first one is the photograph."""
IMAGE_SUFFIXES = frozenset(suffix for suffixes in SUFFIXES_BY_FORMAT.values() for suffix in suffixes)
MAX_MEGAPIXELS = 100.0
"""What Ground Truth accepts at most; a decoded image then takes 300 MB."""
MAX_JPEG_SCANS = 64
"""Each scan of a progressive JPEG passes over all pixels, though it may take up only a dozen bytes of the file.
Encoders write 10 for a colour photo, and search the best of up to 64."""

_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_JPEG_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")
"""ITU-T T.81, table B.1: the markers that carry segments, and the end of the image."""

_DECODE_FAILURES = (OSError, SyntaxError, ValueError, struct.error, EOFError, MemoryError)
_UPRIGHT_BY_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageError(Exception):
    """Bytes that are no usable image. `code` is the finding it becomes; the message is a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What the first bytes of an image file say.

    Attributes:
        format: Pillow's name of it, a key of `SUFFIXES_BY_FORMAT`.
        width: in pixels, as stored (before EXIF rotation).
        height: in pixels, as stored.
        mode: Pillow's name of the kind of pixels.
        decoded_pixels: what decoding has to make: width times height, and the parts of a TIFF's tiles that stick out.
    """

    format: str
    width: int
    height: int
    mode: str
    decoded_pixels: int


def read_header(data: bytes) -> ImageHeader:
    """Read format and size without decoding pixels.

    Raises:
        ImageError: `ERROR_EMPTY_FILE` or `ERROR_INVALID_IMAGE`.
    """
    with _open(data) as image:
        name = "JPEG" if image.format == _JPEG_OF_SEVERAL else str(image.format)
        return ImageHeader(name, image.width, image.height, image.mode, _decoded_pixels(image))


def decode_rgb(data: bytes, *, max_megapixels: float = MAX_MEGAPIXELS) -> RgbImage:
    """Decode image bytes to height x width x 3 RGB, 8 bits, upright.

    EXIF orientation is applied, grey is repeated over the channels, 16-bit grey is scaled from its full range,
    CMYK is converted, and transparent pixels show white.

    Raises:
        ImageError: `ERROR_EMPTY_FILE`, `ERROR_INVALID_IMAGE` (also a JPEG of more than `MAX_JPEG_SCANS`),
            `ERROR_INVALID_IMAGE_DIMENSION` (more pixels to decode than `max_megapixels`) or `ERROR_TRUNCATED_IMAGE`.
    """
    with _open(data) as image:
        _require_bounded_work(image, data, max_megapixels)
        try:
            image.load()
        except _DECODE_FAILURES as error:
            raise ImageError(
                "ERROR_TRUNCATED_IMAGE",
                f"the {image.format} file is cut short or damaged: {str(error) or type(error).__name__}",
            ) from error
        return np.ascontiguousarray(_to_rgb(_upright(image)))


def _open(data: bytes) -> Image.Image:
    if not data:
        raise ImageError("ERROR_EMPTY_FILE", "the file has no bytes")
    try:
        return Image.open(io.BytesIO(data), formats=list(SUFFIXES_BY_FORMAT))
    except UnidentifiedImageError as error:
        raise ImageError("ERROR_INVALID_IMAGE", f"the content is none of {', '.join(SUFFIXES_BY_FORMAT)}") from error
    except _DECODE_FAILURES as error:
        raise ImageError(
            "ERROR_INVALID_IMAGE", f"the header cannot be read: {str(error) or type(error).__name__}"
        ) from error


def _require_bounded_work(image: Image.Image, data: bytes, max_megapixels: float) -> None:
    # Of the other formats, the work that one byte can cause is bounded by the pixels; libtiff counts scans itself.
    pixels = _decoded_pixels(image)
    if pixels > max_megapixels * 1e6:
        tiles = "" if pixels == image.width * image.height else f", in tiles of {pixels} pixels"
        raise ImageError(
            "ERROR_INVALID_IMAGE_DIMENSION",
            f"the image has {image.width} x {image.height} pixels{tiles}, more than {max_megapixels:g} megapixels",
        )
    if image.format in {"JPEG", _JPEG_OF_SEVERAL} and _has_too_many_scans(data):
        raise ImageError(
            "ERROR_INVALID_IMAGE",
            f"the JPEG has more than {MAX_JPEG_SCANS} scans; save it anew with an ordinary encoder",
        )


def _decoded_pixels(image: Image.Image) -> int:
    tile_sides = (1, 1)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tile_sides = (_tile_side(image, TiffImagePlugin.TILEWIDTH), _tile_side(image, TiffImagePlugin.TILELENGTH))
    width, height = (math.ceil(length / side) * side for length, side in zip(image.size, tile_sides, strict=True))
    return width * height


def _tile_side(image: TiffImagePlugin.TiffImageFile, tag: int) -> int:
    side = image.tag_v2.get(tag, 1)
    if not isinstance(side, int) or side < 1:
        raise ImageError("ERROR_INVALID_IMAGE", f"the TIFF's tiles have no usable size: {str(side)[:50]}")
    return side


def _has_too_many_scans(data: bytes) -> bool:
    """Count a JPEG's scans as its decoder meets them: not in thumbnails within segments, nor behind its end."""
    if data.count(bytes((0xFF, _START_OF_SCAN))) <= MAX_JPEG_SCANS:  # fast, and true of nearly every file
        return False
    scans, place = 0, 2
    while scans <= MAX_JPEG_SCANS and (found := _JPEG_MARKER.search(data, place)):
        marker = found[1][0]
        if marker == _END_OF_IMAGE:
            return False
        scans += marker == _START_OF_SCAN
        place = found.end() + int.from_bytes(data[found.end() : found.end() + 2])
    return scans > MAX_JPEG_SCANS


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except (*_DECODE_FAILURES, TypeError, KeyError):
        return image  # damaged metadata says nothing; the pixels are whole
    method = _UPRIGHT_BY_ORIENTATION.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _to_rgb(image: Image.Image) -> RgbImage:
    if image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.uint32)
        grey = ((wide * 255 + 32767) // 65535).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise ImageError(
            "ERROR_INVALID_IMAGE", f"pixels of mode {image.mode} (32 bits a channel) have no defined range"
        )
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        paper = Image.new("RGBA", rgba.size, "white")
        image = Image.alpha_composite(paper, rgba)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
