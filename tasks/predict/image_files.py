"""Image files that nobody has checked: read, hashed and framed in bounded memory, nothing outside their folder."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tasks.bundle.predictor import Predictor, PreparedImage
from tasks.dataset.findings import Finding
from tasks.errors import SourceChanged
from tasks.stores.s3_room import renew
from tasks.vision.images import ImageError, RgbImage, decode_rgb, read_header

DECODERS = 2
"""Threads that decode; the network has the cores' remaining time."""
LARGE_MEGAPIXELS = 12.0
"""Images beyond are decoded one at a time: one of 100 megapixels takes up to 2.5 GB while it is decoded (measured)."""
# In one thread, for each thread keeps freed memory of its own.
_one_large_image = ThreadPoolExecutor(1, thread_name_prefix="large-image")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """What is read and decoded at most: megapixels (10^6 pixels) of an image, megabytes (10^6 bytes) of a file."""

    max_megapixels: float
    max_file_megabytes: float


@dataclass(frozen=True, slots=True)
class HashedFile:
    """An image file as it was found: `content` is the SHA-256 of its bytes, or the code of why they are not read."""

    source_ref: str
    content: str


@dataclass(frozen=True, slots=True)
class FramedImage:
    """An image that is ready for the network."""

    source_ref: str
    sha256: str
    prepared: PreparedImage


def read_image_file(root: Path, source_ref: str, limits: ReadLimits) -> bytes:
    """Return a file's bytes.

    Raises:
        ImageError: `ERROR_OUTSIDE_SOURCE` when a link leads out of `root`, `ERROR_FILE_TOO_LARGE`, or
            `ERROR_UNREADABLE_FILE`.
    """
    renew(root)
    try:
        path = Path(os.path.realpath(root / source_ref))
        if not path.is_relative_to(os.path.realpath(root)):
            raise ImageError("ERROR_OUTSIDE_SOURCE", f"the file lies outside {root}, where nothing is read")
        # To open a pipe is to wait for one who writes.
        if not path.is_file():
            raise ImageError("ERROR_UNREADABLE_FILE", f"there is no such file in {root}; add it or name its place")
        size = path.stat().st_size
        if size > limits.max_file_megabytes * 1e6:
            message = f"the file has {size / 1e6:.1f} MB, more than {limits.max_file_megabytes:g} MB"
            raise ImageError("ERROR_FILE_TOO_LARGE", message)
        with path.open("rb") as stream:
            return stream.read(size)  # it may be growing
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ImageError("ERROR_UNREADABLE_FILE", f"the file cannot be read: {why}") from error


def hash_file(root: Path, source_ref: str, limits: ReadLimits) -> HashedFile:
    """Tell what a file holds."""
    try:
        content = hashlib.sha256(read_image_file(root, source_ref, limits)).hexdigest()
    except ImageError as error:
        content = error.code
    return HashedFile(source_ref, content)


def frame_file(root: Path, file: HashedFile, limits: ReadLimits, predictor: Predictor) -> FramedImage | Finding:
    """Decode a file and frame it as the network takes it; a file that is no usable image is a finding.

    Raises:
        SourceChanged: when it no longer holds what it held when it was hashed.
    """
    try:
        data = read_image_file(root, file.source_ref, limits)
    except ImageError as error:
        # Kept under the digest of bytes that were there, it would be told of them for ever.
        _require_unchanged(root, file, error.code)
        return _finding(file, error)
    _require_unchanged(root, file, hashlib.sha256(data).hexdigest())
    try:
        prepared = decode_and_shrink(data, limits, predictor.prepare)
    except ImageError as error:
        return _finding(file, error)
    return FramedImage(file.source_ref, file.content, prepared)


def _finding(file: HashedFile, error: ImageError) -> Finding:
    return Finding(code=error.code, source_ref=file.source_ref, message=str(error))


def decode_and_shrink(data: bytes, limits: ReadLimits, shrink: Callable[[RgbImage], T]) -> T:
    """Decode an image and make something small of it; a large image waits for another.

    Raises:
        ImageError: as `decode_rgb` does.
    """

    def shrunk() -> T:
        return shrink(decode_rgb(data, max_megapixels=limits.max_megapixels))

    header = read_header(data)
    is_large = LARGE_MEGAPIXELS * 1e6 < header.width * header.height <= limits.max_megapixels * 1e6
    return _one_large_image.submit(shrunk).result() if is_large else shrunk()


def _require_unchanged(root: Path, file: HashedFile, content: str) -> None:
    if content != file.content:
        raise SourceChanged(
            f"{root / file.source_ref} changed while it was read; start the run again, it goes on where it was"
        )
