"""The built-in demo image set: reads its source string and writes painted transistors to a folder.

The folder has the MVTec layout. Nothing is downloaded, and existing files of the folder are
overwritten but never removed.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import cv2
import numpy as np

from tasks.errors import RequestError
from tasks.ingest.painting.canvas import Pixels
from tasks.ingest.painting.transistor import GOOD, LABELS, paint

DEMO_SET = "transistors"
EXAMPLE = f"demo://{DEMO_SET}?images=150&seed=7"
LIMITS = {"images": (20, 5000), "seed": (0, 2**31 - 1)}  # both ends are allowed
MAX_DIGITS = 12  # longer numbers are out of every range, and int() may refuse them

PNG_LEVEL = 4  # fixed, because it decides the bytes of the files
JPEG_QUALITY = 92
TINY_SIDE = 8  # px
JPEG_NUMBER = 1_000_000  # picture number of the JPEG, out of reach of every set
MAX_THREADS = 4  # painting is limited by memory bandwidth beyond that


@dataclass(frozen=True)
class DemoOptions:
    """How many sound images to paint, and from which random seed."""

    images: int = 150
    seed: int = 7


@dataclass(frozen=True)
class ExtraFile:
    """One file the set holds beyond its ``images``, so that there is something to find.

    Attributes:
        path: where it lies, relative to the folder of the set.
        problem: what is wrong with it.
        decodes: whether it can be read as an image of ordinary size.
        same_as: the file it is a byte-for-byte copy of, or an empty string.
    """

    path: str
    problem: str
    decodes: bool
    same_as: str = ""


TRUNCATED = ExtraFile("test/bent_lead/broken_truncated.png", "PNG cut off half-way", decodes=False)
EMPTY = ExtraFile("test/cut_lead/broken_empty.png", "empty file", decodes=False)
TEXT = ExtraFile("test/damaged_case/broken_text.png", "text named .png", decodes=False)
TINY = ExtraFile("test/misplaced/too_small.png", "8 x 8 px", decodes=False)
JPEG = ExtraFile("test/good/jpeg_inside.png", "JPEG content named .png, readable", decodes=True)
DUPLICATE = ExtraFile(
    "train/good/copy_of_000.png",
    "exact duplicate with the same label",
    decodes=True,
    same_as="train/good/000.png",
)
# The copy and its original carry different labels, so both are in doubt. It has no mask.
CONFLICT = ExtraFile(
    "test/misplaced/copy_of_good_000.png",
    "exact duplicate with another label",
    decodes=True,
    same_as="test/good/000.png",
)
EXTRA_FILES = (TRUNCATED, EMPTY, TEXT, TINY, JPEG, DUPLICATE, CONFLICT)


def parse_demo_source(source: str) -> DemoOptions:
    """Read a source string such as ``demo://transistors?images=150&seed=7``.

    Args:
        source: the string; parameters left out take their defaults.

    Raises:
        RequestError: if the string names another set or parameter, or a number is not allowed.
    """
    try:
        parts = urlsplit(source)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise RequestError(f"Cannot read '{source}'; write it like {EXAMPLE}.") from error
    if parts.scheme != "demo" or parts.path not in ("", "/") or parts.fragment:
        raise RequestError(f"'{source}' is not a demo source; write it like {EXAMPLE}.")
    if parts.netloc != DEMO_SET:
        raise RequestError(f"There is no demo set '{parts.netloc}'; write {EXAMPLE}.")
    numbers: dict[str, int] = {}
    for name, text in pairs:
        if name in numbers:
            raise RequestError(f"Demo parameter '{name}' is given twice; give it once.")
        numbers[name] = _read_number(name, text)
    return DemoOptions(**numbers)


def _read_number(name: str, text: str) -> int:
    if name not in LIMITS:
        raise RequestError(f"Unknown demo parameter '{name}'; use {' and '.join(LIMITS)}.")
    low, high = LIMITS[name]
    plain = text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS
    if not plain or not low <= int(text) <= high:
        raise RequestError(f"Demo parameter '{name}' is '{text}'; give a whole number from {low} to {high}.")
    return int(text)


def paint_demo(folder: Path, options: DemoOptions) -> None:
    """Paint the set into ``folder``: ``options.images`` sound images and ``EXTRA_FILES``.

    The same options give the same bytes, and a smaller set of the same seed is a part of a larger
    one.

    Args:
        folder: made if missing.
        options: how many images and which seed.
    """
    _make_folders(folder)
    workers = min(MAX_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers, thread_name_prefix="paint") as pool:
        for _ in pool.map(lambda n: _write_painting(folder, options.seed, n), range(options.images)):
            pass
    _write_extras(folder, options.seed)


def _make_folders(folder: Path) -> None:
    (folder / "train" / GOOD).mkdir(parents=True, exist_ok=True)
    for label in LABELS:
        (folder / "test" / label).mkdir(parents=True, exist_ok=True)
        if label != GOOD:
            (folder / "ground_truth" / label).mkdir(parents=True, exist_ok=True)


def _write_painting(folder: Path, seed: int, index: int) -> None:
    """Paint picture ``index`` of the set; the classes take turns, and so do train and test."""
    number, turn = divmod(index, len(LABELS))
    label = LABELS[turn]
    painting = paint(np.random.default_rng([seed, index]), label)
    part = "test"
    if label == GOOD:
        number, odd = divmod(number, 2)
        part = "test" if odd else "train"
    _write_png(folder / part / label / f"{number:03d}.png", painting.image)
    if painting.mask is not None:
        _write_png(folder / "ground_truth" / label / f"{number:03d}_mask.png", painting.mask)


def _write_extras(folder: Path, seed: int) -> None:
    good = (folder / DUPLICATE.same_as).read_bytes()
    bent = (folder / TRUNCATED.path).with_name("000.png").read_bytes()
    (folder / TRUNCATED.path).write_bytes(bent[: len(bent) // 2])
    (folder / EMPTY.path).write_bytes(b"")
    (folder / TEXT.path).write_text("This is text, not an image.\n", encoding="utf-8")
    _write_png(folder / TINY.path, np.full((TINY_SIDE, TINY_SIDE, 3), 128, np.uint8))
    extra = paint(np.random.default_rng([seed, JPEG_NUMBER]), GOOD).image
    (folder / JPEG.path).write_bytes(_encode(".jpg", extra, cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    (folder / DUPLICATE.path).write_bytes(good)
    (folder / CONFLICT.path).write_bytes((folder / CONFLICT.same_as).read_bytes())


def _write_png(path: Path, pixels: Pixels) -> None:
    path.write_bytes(_encode(".png", pixels, cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL))


def _encode(suffix: str, pixels: Pixels, setting: int, value: int) -> bytes:
    done, data = cv2.imencode(suffix, pixels, [setting, value])
    if not done:
        raise RuntimeError(f"OpenCV could not encode a {suffix} image")
    return data.tobytes()
