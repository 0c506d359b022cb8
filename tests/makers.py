"""Tiny labelled image folders and encoded images for tests, painted from a seed.

Use as `from tests.makers import paint_class_folders`: `pythonpath = ["."]` in pyproject.toml puts the repository's
root on the path and `tests` is a namespace package, so no `__init__.py` is needed, nor allowed.

Every label has a shape of its own (the labels in SHAPES by name, others in turn), drawn in random place, size and
tone on a noisy background; equal arguments give equal files, and no two images of one call are the same.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

SHAPES = ("round", "square", "cross", "stripes", "triangle", "ring")


def paint_class_folders(
    root: Path,
    labels: Sequence[str] | Mapping[str, int] = ("round", "square"),
    images_per_label: int = 8,
    side: int = 48,
    seed: int = 0,
    suffix: str = ".png",
) -> Path:
    """Write root/LABEL/000.png and so on; `labels` may be a mapping of label to its number of images."""
    counts = labels if isinstance(labels, Mapping) else dict.fromkeys(labels, images_per_label)
    for place, (label, count) in enumerate(counts.items()):
        for number in range(count):
            pixels = paint_shape(shape_of(label, place), side, (seed, place, number))
            save(root / label / f"{number:03d}{suffix}", pixels)
    return root


def paint_split_folders(
    root: Path,
    labels: Sequence[str] = ("round", "square"),
    images_per_label: Mapping[str, int] | None = None,
    side: int = 48,
    seed: int = 0,
) -> Path:
    """Write root/SPLIT/LABEL/000.png; `images_per_label` maps each split folder's name to a number."""
    folders = images_per_label or {"train": 6, "validation": 2, "test": 2}
    for place, (folder, count) in enumerate(folders.items()):
        paint_class_folders(root / folder, labels, count, side, seed=seed * 1000 + place)
    return root


def paint_mvtec(
    root: Path,
    defects: Sequence[str] = ("cross", "ring"),
    good_train: int = 8,
    good_test: int = 4,
    images_per_defect: int = 6,
    side: int = 48,
    seed: int = 0,
) -> Path:
    """Write train/good, test/good, test/DEFECT and ground_truth/DEFECT/000_mask.png (white where the defect is)."""
    for folder, count, part in (("train", good_train, 0), ("test", good_test, 1)):
        for number in range(count):
            save(root / folder / "good" / f"{number:03d}.png", paint_shape("round", side, (seed, 90 + part, number)))
    for place, defect in enumerate(defects):
        for number in range(images_per_defect):
            pixels, mask = paint_with_mask(shape_of(defect, place + 1), side, (seed, place, number))
            save(root / "test" / defect / f"{number:03d}.png", pixels)
            save(root / "ground_truth" / defect / f"{number:03d}_mask.png", mask)
    return root


def shape_of(label: str, place: int) -> str:
    """The label's own shape when it is named like one, else the one of its place."""
    return label if label in SHAPES else SHAPES[place % len(SHAPES)]


def paint_shape(shape: str, side: int = 48, seed: Sequence[int] = (0,)) -> Pixels:
    """Paint one image, side x side x 3 RGB."""
    return paint_with_mask(shape, side, seed)[0]


def paint_with_mask(shape: str, side: int = 48, seed: Sequence[int] = (0,)) -> tuple[Pixels, Pixels]:
    """Paint one image and the mask of its shape (0 or 255)."""
    rng = np.random.default_rng(list(seed))
    middle = rng.uniform(0.4, 0.6, 2) * side
    radius = float(rng.uniform(0.24, 0.34) * side)
    mask = _draw(shape, side, middle, radius)
    paper, ink = rng.integers(20, 90, 3), rng.integers(165, 235, 3)
    clean = np.where(mask[:, :, None] > 0, ink, paper)
    noisy = clean + rng.normal(0.0, 8.0, (side, side, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8), mask


def paint_with_boxes(boxes: Sequence[tuple[int, int, int, int]], side: int = 64, seed: Sequence[int] = (0,)) -> Pixels:
    """Paint bright rectangles (left, top, width, height) on noise, side x side x 3 RGB."""
    pixels = np.random.default_rng(list(seed)).integers(20, 90, (side, side, 3), dtype=np.uint8)
    for left, top, width, height in boxes:
        pixels[top : top + height, left : left + width] += 140
    return pixels


def paint_marks(shapes: Sequence[str], side: int = 48, seed: Sequence[int] = (0,)) -> Pixels:
    """Paint any number of SHAPES over noise, each in a colour of its own and a random place, side x side x 3 RGB."""
    rng = np.random.default_rng(list(seed))
    pixels = rng.normal(70.0, 12.0, (side, side, 3))
    for shape in shapes:
        place = SHAPES.index(shape)
        mask = _draw(shape, side, rng.uniform(0.25, 0.75, 2) * side, float(rng.uniform(0.16, 0.22) * side))
        colour = np.array([220.0 if place >> channel & 1 else 30.0 for channel in range(3)])
        pixels = np.where(mask[:, :, None] > 0, colour, pixels)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def png_bytes(array: NDArray[Any], **options: Any) -> bytes:
    """Encode an array that Pillow understands (H x W, H x W x 2, 3 or 4 of uint8; H x W of uint16)."""
    return image_bytes(Image.fromarray(array), "PNG", **options)


def jpeg_bytes(array: NDArray[Any], **options: Any) -> bytes:
    """Encode as JPEG; quality 95 unless said otherwise."""
    return image_bytes(Image.fromarray(array), "JPEG", **({"quality": 95} | options))


def image_bytes(image: Image.Image, format_name: str, **options: Any) -> bytes:
    """Encode a Pillow image."""
    stream = io.BytesIO()
    image.save(stream, format_name, **options)
    return stream.getvalue()


def save(path: Path, array: NDArray[Any]) -> None:
    """Write an image in the format of its suffix, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def _draw(shape: str, side: int, middle: NDArray[np.float64], radius: float) -> Pixels:
    mask = np.zeros((side, side), np.uint8)
    x, y, r = round(middle[0]), round(middle[1]), round(radius)
    thick = max(2, r // 2)
    if shape == "round":
        cv2.circle(mask, (x, y), r, 255, -1)
    elif shape == "square":
        cv2.rectangle(mask, (x - r, y - r), (x + r, y + r), 255, -1)
    elif shape == "cross":
        cv2.line(mask, (x - r, y - r), (x + r, y + r), 255, thick)
        cv2.line(mask, (x - r, y + r), (x + r, y - r), 255, thick)
    elif shape == "stripes":
        mask[::4] = mask[1::4] = 255
    elif shape == "triangle":
        cv2.fillPoly(mask, [np.array([(x, y - r), (x - r, y + r), (x + r, y + r)], np.int32)], 255)
    elif shape == "ring":
        cv2.circle(mask, (x, y), r, 255, max(2, r // 3))
    else:
        raise ValueError(f"no shape {shape!r}; known are {SHAPES}")
    return mask
