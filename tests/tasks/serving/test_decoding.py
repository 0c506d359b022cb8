import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from tasks.serving.decoding import BoundedDecoder
from tasks.serving.errors import ImageRefused
from tests.makers import image_bytes, jpeg_bytes, paint_shape, png_bytes

PICTURE = paint_shape("ring", 40)
SMALL = png_bytes(PICTURE)


def bomb(width, height):
    """A PNG that says it is large; its pixels are missing."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("data", [SMALL, jpeg_bytes(PICTURE, quality=100)], ids=["PNG", "JPEG"])
def test_image_is_decoded(data):
    with BoundedDecoder(1.0).decoded(data) as pixels:
        assert pixels.shape == PICTURE.shape
        assert np.abs(pixels.astype(int) - PICTURE).mean() < 8


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"", "ERROR_EMPTY_FILE", id="empty"),
        pytest.param(b"no image at all", "ERROR_INVALID_IMAGE", id="text"),
        pytest.param(SMALL[:20], "ERROR_INVALID_IMAGE", id="half a header"),
        pytest.param(SMALL[: len(SMALL) // 2], "ERROR_TRUNCATED_IMAGE", id="truncated"),
        pytest.param(bomb(100_000, 100_000), "ERROR_INVALID_IMAGE_DIMENSION", id="bomb"),
        pytest.param(bomb(0, 0), "ERROR_INVALID_IMAGE", id="no pixels"),
        pytest.param(png_bytes(np.zeros((1001, 1000), np.uint8)), "ERROR_INVALID_IMAGE_DIMENSION", id="a row too many"),
        pytest.param(image_bytes(Image.new("F", (4, 4)), "TIFF"), "ERROR_INVALID_IMAGE", id="floats"),
    ],
)
def test_refused_image_has_a_code(data, code):
    decoder = BoundedDecoder(1.0)
    with pytest.raises(ImageRefused) as caught, decoder.decoded(data):
        pass
    assert caught.value.code == code
    assert len(caught.value.message.split()) > 3
    with decoder.decoded(png_bytes(np.zeros((1000, 1000), np.uint8))) as pixels:  # all its room is free again
        assert pixels.shape == (1000, 1000, 3)


def test_bomb_takes_no_memory_and_no_time():
    start = time.monotonic()
    with pytest.raises(ImageRefused, match="100000 x 100000"), BoundedDecoder(100.0).decoded(bomb(100_000, 100_000)):
        pass
    assert time.monotonic() - start < 5


def test_images_in_hand_share_the_pixels_of_one():
    decoder = BoundedDecoder(0.004)  # room for two of 1600 pixels, not three
    held = most = 0

    def decode(_):
        nonlocal held, most
        with decoder.decoded(SMALL):
            held += 1
            most = max(most, held)
            time.sleep(0.01)
            held -= 1

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(decode, range(18)))
    assert most == 2


def test_large_image_is_not_passed_for_ever():
    decoder = BoundedDecoder(0.0033)
    large = png_bytes(np.zeros((40, 80), np.uint8))
    is_over = False

    def keep_coming():
        while not is_over:
            with decoder.decoded(SMALL):
                time.sleep(0.002)

    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            pool.submit(keep_coming)
        try:
            start = time.monotonic()
            for _ in range(5):
                with decoder.decoded(large):
                    pass
            assert time.monotonic() - start < 30
        finally:
            is_over = True
