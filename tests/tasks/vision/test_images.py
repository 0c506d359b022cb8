import io
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks.vision.images import (
    IMAGE_SUFFIXES,
    MAX_JPEG_SCANS,
    SUFFIXES_BY_FORMAT,
    ImageError,
    decode_rgb,
    read_header,
)
from tests.makers import image_bytes, jpeg_bytes, png_bytes

HEIGHT, WIDTH = 40, 60
CORNERS = np.array([[[200, 30, 30], [30, 180, 40]], [[30, 50, 210], [220, 210, 40]]], np.uint8)
QUARTERS = np.repeat(np.repeat(CORNERS, HEIGHT // 2, axis=0), WIDTH // 2, axis=1)
PICTURE = Image.fromarray(QUARTERS)
GREY = np.asarray(PICTURE.convert("L"))
GREY_RGB = np.repeat(GREY[:, :, None], 3, axis=2)
ALPHA = np.zeros((HEIGHT, WIDTH), np.uint8)
ALPHA[:, WIDTH // 2 :] = 255
ALPHA[: HEIGHT // 2, : WIDTH // 2] = 128

UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}


def on_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[:, :, None] / 255.0
    return np.round(rgb * share + 255.0 * (1.0 - share))


def cv_bytes(suffix: str, array: np.ndarray) -> bytes:
    done, data = cv2.imencode(suffix, array)
    assert done
    return data.tobytes()


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = orientation
    return made


def palette_with_clear(index_of: tuple[int, int]) -> tuple[bytes, int]:
    indexed = PICTURE.quantize(4)
    clear = indexed.getpixel(index_of)
    return image_bytes(indexed, "PNG", transparency=clear), clear


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_claiming(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = png_chunk(b"IDAT", zlib.compress(b"\0" * 64))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + data + png_chunk(b"IEND", b"")


def bmp_claiming(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info


def large_grey_16() -> np.ndarray:
    return np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)


# 16-bit values over their full range: 0 becomes 0, 65535 becomes 255.
WIDE = large_grey_16()
WIDE_RGB = np.repeat(np.round(WIDE / 65535.0 * 255.0)[:, :, None], 3, axis=2)

CASES = {
    "PNG RGB": (png_bytes(QUARTERS), QUARTERS, 0),
    "PNG grey": (png_bytes(GREY), GREY_RGB, 0),
    "PNG one bit": (image_bytes(Image.fromarray(GREY > 100), "PNG"), np.where(GREY_RGB > 100, 255, 0), 0),
    "PNG grey with alpha": (png_bytes(np.dstack([GREY, ALPHA])), on_white(GREY_RGB, ALPHA), 1),
    "PNG RGB with alpha": (png_bytes(np.dstack([QUARTERS, ALPHA])), on_white(QUARTERS, ALPHA), 1),
    "PNG RGB with one clear colour": (
        png_bytes(QUARTERS, transparency=(200, 30, 30)),
        np.where((QUARTERS == (200, 30, 30)).all(axis=2, keepdims=True), 255, QUARTERS),
        0,
    ),
    "PNG grey with one clear tone": (
        png_bytes(GREY, transparency=int(GREY[0, 0])),
        np.where(GREY[0, 0] == GREY_RGB, 255, GREY_RGB),
        0,
    ),
    "PNG palette": (image_bytes(PICTURE.quantize(4), "PNG"), QUARTERS, 1),
    "PNG palette with clear entry": (
        palette_with_clear((0, 0))[0],
        np.where((QUARTERS == (200, 30, 30)).all(axis=2, keepdims=True), 255, QUARTERS),
        1,
    ),
    "PNG 16-bit grey": (png_bytes(WIDE), WIDE_RGB, 1),
    "PNG 16-bit RGB": (cv_bytes(".png", QUARTERS[:, :, ::-1].astype(np.uint16) * 257), QUARTERS, 1),
    "PNG interlaced": (png_bytes(QUARTERS, interlace=1), QUARTERS, 0),
    "JPEG RGB": (jpeg_bytes(QUARTERS, subsampling=0), QUARTERS, 12),
    "JPEG progressive": (jpeg_bytes(QUARTERS, subsampling=0, progressive=True), QUARTERS, 12),
    "JPEG grey": (jpeg_bytes(GREY), GREY_RGB, 8),
    "JPEG CMYK": (image_bytes(PICTURE.convert("CMYK"), "JPEG", quality=95), QUARTERS, 16),
    "TIFF RGB": (image_bytes(PICTURE, "TIFF"), QUARTERS, 0),
    "TIFF LZW": (image_bytes(PICTURE, "TIFF", compression="tiff_lzw"), QUARTERS, 0),
    "TIFF CMYK": (image_bytes(PICTURE.convert("CMYK"), "TIFF"), QUARTERS, 2),
    "TIFF 16-bit grey": (image_bytes(Image.fromarray(WIDE), "TIFF"), WIDE_RGB, 1),
    "TIFF 16-bit grey big-endian": (
        image_bytes(Image.frombytes("I;16B", (WIDTH, HEIGHT), WIDE.astype(">u2").tobytes()), "TIFF"),
        WIDE_RGB,
        1,
    ),
    "TIFF RGB with alpha": (
        image_bytes(Image.fromarray(np.dstack([QUARTERS, ALPHA])), "TIFF"),
        on_white(QUARTERS, ALPHA),
        1,
    ),
    "BMP RGB": (image_bytes(PICTURE, "BMP"), QUARTERS, 0),
    "BMP palette": (image_bytes(PICTURE.quantize(4), "BMP"), QUARTERS, 1),
    "BMP by OpenCV": (cv_bytes(".bmp", QUARTERS[:, :, ::-1]), QUARTERS, 0),
    "WEBP lossless": (image_bytes(PICTURE, "WEBP", lossless=True), QUARTERS, 0),
    "WEBP with alpha": (
        image_bytes(Image.fromarray(np.dstack([QUARTERS, ALPHA])), "WEBP", lossless=True),
        on_white(QUARTERS, ALPHA),
        1,
    ),
    "one pixel": (png_bytes(np.full((1, 1, 3), 77, np.uint8)), np.full((1, 1, 3), 77), 0),
    "very long": (png_bytes(np.full((1, 30_000, 3), 9, np.uint8)), np.full((1, 30_000, 3), 9), 0),
}


@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_image_becomes_the_right_rgb(name: str) -> None:
    data, expected, tolerance = CASES[name]
    decoded = decode_rgb(data)
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous
    assert decoded.shape == expected.shape
    # JPEG rings at the edges of the quarters, so the mean is bounded more tightly than any one pixel.
    difference = np.abs(decoded.astype(float) - expected)
    assert difference.mean() <= tolerance / 2
    assert np.quantile(difference, 0.95) <= tolerance


def test_lossy_webp_is_close() -> None:
    decoded = decode_rgb(image_bytes(PICTURE, "WEBP", quality=95))
    inner = (slice(5, 15), slice(5, 25))
    assert np.abs(decoded[inner].astype(float) - QUARTERS[inner]).max() <= 8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied_once(format_name: str, orientation: int) -> None:
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(format_name, {})
    decoded = decode_rgb(image_bytes(PICTURE, format_name, exif=exif(orientation), **options))
    expected = UPRIGHT[orientation](QUARTERS)
    assert decoded.shape == expected.shape
    assert np.abs(decoded.astype(float) - expected).mean() < 4
    assert decoded.flags.c_contiguous


@pytest.mark.parametrize("orientation", [3, 6])
@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        pytest.param(GREY, GREY_RGB, id="grey"),
        pytest.param(WIDE, WIDE_RGB, id="16-bit grey"),
        pytest.param(np.dstack([QUARTERS, ALPHA]), on_white(QUARTERS, ALPHA), id="alpha"),
    ],
)
def test_orientation_of_other_kinds(stored: np.ndarray, expected: np.ndarray, orientation: int) -> None:
    decoded = decode_rgb(png_bytes(stored, exif=exif(orientation)))
    assert np.abs(decoded.astype(float) - UPRIGHT[orientation](expected)).max() <= 1


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientation_without_meaning_leaves_the_image_as_stored(orientation: int) -> None:
    assert np.array_equal(decode_rgb(png_bytes(QUARTERS, exif=exif(orientation))), QUARTERS)


DAMAGED_EXIF = {
    "text": b"garbage",
    "text after the mark": b"Exif\0\0garbage",
    "cut in the header": b"Exif\0\0MM",
    "cut in the first entry": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01",
    "offset beyond the end": b"Exif\0\0II*\0\xff\xff\xff\x7f",
    "resolution that is text": b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x12\0\x03\0\0\0\x01\0\x03\0\0"
    b"\x01\x1a\0\x02\0\0\0\x04abc\0\0\0\0\0",
    "resolution without numbers": b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x12\0\x03\0\0\0\x01\0\x03\0\0"
    b"\x01\x1a\0\x05\0\0\0\0\0\0\0\0\0\0\0\0",
}


@pytest.mark.parametrize("name", DAMAGED_EXIF)
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_does_not_make_the_pixels_unusable(format_name: str, name: str) -> None:
    data = image_bytes(PICTURE, format_name, exif=DAMAGED_EXIF[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow tells of damaged metadata
        decoded = decode_rgb(data)
    assert decoded.shape == QUARTERS.shape


@settings(max_examples=150, deadline=None)
@given(junk=st.binary(max_size=60), place=st.integers(0, 60), jpeg=st.booleans())
@example(junk=b"\xff\xff", place=0, jpeg=False)
def test_overwritten_exif_decodes_or_is_refused(junk: bytes, place: int, jpeg: bool) -> None:
    made = exif(6)
    made[0x010E], made[0x011A], made[0x8769] = "a camera", 72.0, {0x9003: "2020:01:01 00:00:00"}
    blob = bytearray(made.tobytes())
    blob[place : place + len(junk)] = junk
    data = image_bytes(PICTURE, "JPEG" if jpeg else "PNG", exif=bytes(blob))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        decoded = decode_or_refuse(data)
    assert decoded is None or (decoded.dtype == np.uint8 and decoded.shape[2] == 3)


REFUSED = {
    "nothing": (b"", "ERROR_EMPTY_FILE"),
    "one byte": (b"\x89", "ERROR_INVALID_IMAGE"),
    "zeros": (b"\0" * 4096, "ERROR_INVALID_IMAGE"),
    "text": (b"This is text, not an image.\n", "ERROR_INVALID_IMAGE"),
    "GIF": (image_bytes(PICTURE, "GIF"), "ERROR_INVALID_IMAGE"),
    "signature only": (b"\x89PNG\r\n\x1a\n", "ERROR_INVALID_IMAGE"),
    "JPEG marker only": (b"\xff\xd8\xff\xe0", "ERROR_INVALID_IMAGE"),
    "PNG cut in half": (png_bytes(QUARTERS)[: len(png_bytes(QUARTERS)) // 2], "ERROR_TRUNCATED_IMAGE"),
    "JPEG cut in its pixels": (jpeg_bytes(QUARTERS)[:-100], "ERROR_TRUNCATED_IMAGE"),
    "BMP cut in half": (image_bytes(PICTURE, "BMP")[:3000], "ERROR_TRUNCATED_IMAGE"),
    "32-bit float TIFF": (image_bytes(Image.fromarray(WIDE.astype(np.float32)), "TIFF"), "ERROR_INVALID_IMAGE"),
    "32-bit integer TIFF": (image_bytes(Image.fromarray(WIDE.astype(np.int32)), "TIFF"), "ERROR_INVALID_IMAGE"),
    "bomb PNG": (png_claiming(60_000, 60_000), "ERROR_INVALID_IMAGE_DIMENSION"),
    "large PNG below Pillow's own limit": (png_claiming(12_000, 12_000), "ERROR_INVALID_IMAGE_DIMENSION"),
    "bomb BMP": (bmp_claiming(60_000, 60_000), "ERROR_INVALID_IMAGE_DIMENSION"),
    "longest side a PNG may claim": (png_claiming(2**31 - 1, 1), "ERROR_INVALID_IMAGE_DIMENSION"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unusable_bytes_are_refused_by_code(name: str) -> None:
    data, code = REFUSED[name]
    with pytest.raises(ImageError) as caught:
        decode_rgb(data)
    assert caught.value.code == code
    assert str(caught.value)


def test_bomb_is_refused_without_time_or_memory() -> None:
    program = (
        "import resource, sys, time\n"
        "from tasks.vision.images import ImageError, decode_rgb\n"
        "data = sys.stdin.buffer.read()\n"
        "before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()\n"
        "try:\n    decode_rgb(data)\nexcept ImageError as error:\n    print(error.code)\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(after - before, time.perf_counter() - start)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=png_claiming(60_000, 60_000), capture_output=True, check=True, timeout=60
    )
    code, figures = done.stdout.decode().splitlines()
    kilobytes, seconds = figures.split()
    assert code == "ERROR_INVALID_IMAGE_DIMENSION"
    assert int(kilobytes) < 20_000
    assert float(seconds) < 30.0


def jpeg_of_scans(scans: int, side: int = 200, head: bytes = b"", tail: bytes = b"") -> bytes:
    """A progressive JPEG whose last scan is repeated; `head` comes before all segments, `tail` after the end."""
    plain = image_bytes(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    last = plain[plain.rindex(b"\xff\xda") : -2]
    return plain[:2] + head + plain[2:-2] + last * (scans - plain.count(b"\xff\xda")) + plain[-2:] + tail


MANY = b"\xff\xda" * 1000


def comment(content: bytes) -> bytes:
    return b"\xff\xfe" + struct.pack(">H", len(content) + 2) + content


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(jpeg_of_scans(MAX_JPEG_SCANS + 1), id="one too many"),
        pytest.param(jpeg_of_scans(500_000, 1000), id="half a million"),
        pytest.param(jpeg_of_scans(MAX_JPEG_SCANS + 1, head=comment(b"\xff\xd9")), id="an end in a comment"),
        pytest.param(jpeg_of_scans(MAX_JPEG_SCANS + 1, head=b"\xff" * 9), id="fill bytes"),
    ],
)
def test_jpeg_of_very_many_scans_is_refused_at_once(data: bytes) -> None:
    start = time.perf_counter()
    with pytest.raises(ImageError, match="more than 64 scans") as caught:
        decode_rgb(data)
    assert caught.value.code == "ERROR_INVALID_IMAGE"
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(jpeg_of_scans(MAX_JPEG_SCANS), id="as many as may"),
        pytest.param(jpeg_of_scans(6, head=comment(MANY)), id="in a thumbnail"),
        pytest.param(jpeg_of_scans(6, tail=b"\xff\xda\0\2" * 100_000), id="in a film behind the image"),
        pytest.param(image_bytes(PICTURE.convert("CMYK"), "JPEG", progressive=True), id="progressive CMYK"),
        pytest.param(
            cv2.imencode(".jpg", QUARTERS, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 1])[
                1
            ].tobytes(),
            id="progressive, of OpenCV",
        ),
    ],
)
def test_jpeg_of_some_scans_is_decoded(data: bytes) -> None:
    assert decode_rgb(data).ndim == 3


def tiff_of_one_tile(side: int, tile_side: int) -> bytes:
    """A grey TIFF as large as a part of its only tile."""
    tile = zlib.compress(bytes(tile_side * tile_side), 9)
    tags = {256: side, 257: side, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile_side, 323: tile_side, 324: 8}
    tags[325] = len(tile)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    start = 8 + len(tile) + len(tile) % 2
    head = b"II*\0" + struct.pack("<I", start) + tile
    return head.ljust(start, b"\0") + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_tiles_count_as_the_pixels_they_hold() -> None:
    data = tiff_of_one_tile(16, 2048)
    assert read_header(data).decoded_pixels == 2048 * 2048
    assert decode_rgb(data, max_megapixels=4.2).shape == (16, 16, 3)
    with pytest.raises(ImageError, match="16 x 16 pixels, in tiles of 4194304 pixels") as caught:
        decode_rgb(data, max_megapixels=4.1)
    assert caught.value.code == "ERROR_INVALID_IMAGE_DIMENSION"


@pytest.mark.parametrize("side", [20_000, 30_000])
def test_header_of_an_image_beyond_pillows_own_limit_is_read(side: int) -> None:
    # The limit is the caller's: data.max_megapixels may be set up to 1000.
    header = read_header(png_claiming(side, side))
    assert (header.width, header.height) == (side, side)


@pytest.mark.parametrize(
    ("megapixels", "refused"),
    [
        pytest.param(HEIGHT * WIDTH / 1e6, False, id="exactly the limit"),
        pytest.param((HEIGHT * WIDTH - 1) / 1e6, True, id="one pixel over"),
        pytest.param(1000.0, False, id="far below"),
    ],
)
def test_limit_in_megapixels(megapixels: float, refused: bool) -> None:
    data = png_bytes(QUARTERS)
    if not refused:
        assert decode_rgb(data, max_megapixels=megapixels).shape == QUARTERS.shape
        return
    with pytest.raises(ImageError) as caught:
        decode_rgb(data, max_megapixels=megapixels)
    assert caught.value.code == "ERROR_INVALID_IMAGE_DIMENSION"
    assert f"{WIDTH} x {HEIGHT}" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "format_name", "mode"),
    [
        pytest.param(png_bytes(QUARTERS), "PNG", "RGB", id="PNG"),
        pytest.param(jpeg_bytes(GREY), "JPEG", "L", id="JPEG"),
        pytest.param(
            image_bytes(PICTURE, "MPO", save_all=True, append_images=[PICTURE]),
            "JPEG",
            "RGB",
            id="JPEG of two pictures",
        ),
        pytest.param(image_bytes(PICTURE, "BMP"), "BMP", "RGB", id="BMP"),
        pytest.param(image_bytes(PICTURE.convert("CMYK"), "TIFF"), "TIFF", "CMYK", id="TIFF"),
        pytest.param(image_bytes(PICTURE, "WEBP"), "WEBP", "RGB", id="WEBP"),
    ],
)
def test_header(data: bytes, format_name: str, mode: str) -> None:
    header = read_header(data)
    assert (header.format, header.width, header.height, header.mode) == (format_name, WIDTH, HEIGHT, mode)
    assert SUFFIXES_BY_FORMAT[header.format]


def test_header_is_read_from_a_file_whose_pixels_are_missing() -> None:
    data = png_bytes(QUARTERS)
    assert read_header(data[: data.index(b"IDAT") + 4]).width == WIDTH


def test_header_size_is_as_stored() -> None:
    header = read_header(jpeg_bytes(QUARTERS, exif=exif(6)))
    assert (header.width, header.height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("data", [b"", b"no image"], ids=["empty", "text"])
def test_header_of_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        read_header(data)


def test_suffixes_are_lower_case_with_a_dot() -> None:
    assert {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"} == IMAGE_SUFFIXES


def decode_or_refuse(data: bytes) -> np.ndarray | None:
    try:
        decoded = decode_rgb(data, max_megapixels=1.0)
    except ImageError:
        return None
    assert decoded.dtype == np.uint8
    assert decoded.shape[2] == 3
    return decoded


SMALL = QUARTERS[10:30, 20:40]
SMALL_FILES = {
    "PNG": png_bytes(SMALL, exif=exif(6)),
    "PNG palette": image_bytes(Image.fromarray(SMALL).quantize(4), "PNG", transparency=1),
    "JPEG": jpeg_bytes(SMALL, exif=exif(6)),
    "JPEG progressive": jpeg_bytes(SMALL, progressive=True),
    "BMP": image_bytes(Image.fromarray(SMALL), "BMP"),
    "TIFF": image_bytes(Image.fromarray(SMALL), "TIFF"),
    "TIFF LZW": image_bytes(Image.fromarray(SMALL), "TIFF", compression="tiff_lzw"),
    "WEBP": image_bytes(Image.fromarray(SMALL), "WEBP"),
}


@pytest.mark.parametrize("name", SMALL_FILES)
def test_every_prefix_decodes_whole_or_is_refused(name: str) -> None:
    data = SMALL_FILES[name]
    assert decode_or_refuse(data) is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcomes = [decode_or_refuse(data[:length]) for length in range(len(data))]
    assert outcomes[len(data) // 2] is None
    for decoded in outcomes:
        assert decoded is None or decoded.shape == SMALL.shape


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=400))
def test_random_bytes_are_refused(data: bytes) -> None:
    assert decode_or_refuse(data) is None


@settings(max_examples=400, deadline=None)
@given(
    name=st.sampled_from(sorted(SMALL_FILES)),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_files_with_overwritten_bytes_decode_or_are_refused(name: str, edits: list[tuple[float, int]]) -> None:
    data = bytearray(SMALL_FILES[name])
    for place, value in edits:
        data[int(place * len(data))] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        decoded = decode_or_refuse(bytes(data))
    assert decoded is None or (decoded.dtype == np.uint8 and decoded.shape[2] == 3)


def test_decoding_gives_what_opencv_gives_for_jpeg() -> None:
    data = jpeg_bytes(QUARTERS)
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    assert np.abs(decode_rgb(data).astype(int) - other).max() <= 2


def test_only_the_first_page_is_read() -> None:
    stream = io.BytesIO()
    PICTURE.save(stream, "TIFF", save_all=True, append_images=[Image.new("RGB", (10, 10))])
    assert np.array_equal(decode_rgb(stream.getvalue()), QUARTERS)


def test_threads_leave_the_warning_filters_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    data, real_open = png_bytes(SMALL), Image.open
    first_is_in, second_is_in, first_is_out = threading.Event(), threading.Event(), threading.Event()

    def interleaved_open(*args: Any, **kwargs: Any) -> Image.Image:
        if threading.current_thread() is first:
            first_is_in.set()
            second_is_in.wait(20)
        else:
            second_is_in.set()
            first_is_out.wait(20)
        return real_open(*args, **kwargs)

    monkeypatch.setattr(Image, "open", interleaved_open)
    monkeypatch.setattr(warnings, "filters", list(warnings.filters))
    before = list(warnings.filters)
    first, second = (threading.Thread(target=decode_rgb, args=(data,)) for _ in range(2))
    first.start()
    assert first_is_in.wait(20)
    second.start()
    first.join(30)
    first_is_out.set()
    second.join(30)
    assert list(warnings.filters) == before
