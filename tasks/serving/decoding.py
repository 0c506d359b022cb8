"""Image bytes to pixels with bounded memory, whatever the bytes are and however many arrive together."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Lock

from tasks.serving.errors import ImageRefused
from tasks.vision.images import ImageError, RgbImage, decode_rgb, read_header

_log = logging.getLogger(__name__)


class BoundedDecoder:
    """Decodes in as many threads as call it; all images in hand together have no more pixels than one may have."""

    def __init__(self, max_megapixels: float) -> None:
        self._max_megapixels = max_megapixels
        self._free_pixels = int(max_megapixels * 1e6)
        self._turn = Lock()
        self._changed = Condition()

    @contextmanager
    def decoded(self, data: bytes) -> Iterator[RgbImage]:
        """Decode an image and count its pixels as held until the end of the block.

        Raises:
            ImageRefused: when it is no usable image, by the codes of `tasks.vision.images.decode_rgb`.
        """
        with self._held(_pixels_of(data, self._max_megapixels)):
            yield _decode(data, self._max_megapixels)

    @contextmanager
    def _held(self, pixels: int) -> Iterator[None]:
        # Who needs much waits first in line: small images that keep coming must not pass it for ever.
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._free_pixels >= pixels)
            self._free_pixels -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._free_pixels += pixels
                self._changed.notify()


def _pixels_of(data: bytes, max_megapixels: float) -> int:
    with _refusing():
        header = read_header(data)
    pixels = header.decoded_pixels
    return pixels if pixels <= max_megapixels * 1e6 else 0  # too large: refused before it takes any memory


def _decode(data: bytes, max_megapixels: float) -> RgbImage:
    with _refusing():
        return decode_rgb(data, max_megapixels=max_megapixels)


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except ImageError as error:
        raise ImageRefused(error.code, str(error)) from error
    except Exception as error:  # decoders of six formats read hostile bytes, and raise what they like
        _log.warning("a decoder failed in an unforeseen way", exc_info=True)
        raise ImageRefused("ERROR_INVALID_IMAGE", f"the image cannot be decoded: {type(error).__name__}") from error
