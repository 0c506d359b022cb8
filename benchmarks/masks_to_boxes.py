"""Masks to boxes against only decoding the same PNG files, beside scipy and supervision.

One process, one thread (`cv2.setNumThreads(1)` holds for every contestant), files in memory. Contestants take turns,
all masks in each turn; of each mask the best round counts.

    uv run --group benchmarks python benchmarks/masks_to_boxes.py [COUNT]
"""

import argparse
import io
import time
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image
from scipy import ndimage

from tasks.vision.masks import MaskClass, MaskOptions, mask_to_boxes

SIDE = 1024
ROUNDS = 11
OPTIONS = MaskOptions()
BACKGROUND_RGB = (255, 255, 255)
COLOURS = {
    "crack": (35, 164, 54),
    "dent": (44, 160, 200),
    "rust": (200, 30, 30),
    "scratch": (120, 90, 200),
    "stain": (240, 200, 20),
}
DEFECT = (MaskClass("defect"),)
COLOUR_CLASSES = tuple(
    MaskClass(label, "#{:02x}{:02x}{:02x}".format(*rgb))
    for label, rgb in {"BACKGROUND": BACKGROUND_RGB, **COLOURS}.items()
)
EIGHT = np.ones((3, 3))

Box = tuple[str, int, int, int, int]
Planes = dict[str, np.ndarray]
Contestant = Callable[[bytes], object]


def paint_sparse(rng: np.random.Generator) -> np.ndarray:
    """A few ellipses, 0 and 255; about 1 to 3 % of the pixels."""
    plane = np.zeros((SIDE, SIDE), np.uint8)
    for _ in range(rng.integers(2, 6)):
        _ellipse(plane, rng, (15, 70), 255)
    return plane


def paint_dense(rng: np.random.Generator) -> np.ndarray:
    """Forty overlapping ellipses of five classes on white, RGB; about two thirds of the pixels."""
    plane = np.zeros((SIDE, SIDE), np.uint8)
    for _ in range(40):
        _ellipse(plane, rng, (40, 160), int(rng.integers(1, 1 + len(COLOURS))))
    return np.array([BACKGROUND_RGB, *COLOURS.values()], np.uint8)[plane]


def _ellipse(plane: np.ndarray, rng: np.random.Generator, radii: tuple[int, int], value: int) -> None:
    centre = [int(place) for place in rng.integers(0, SIDE, 2)]
    axes = [int(radius) for radius in rng.integers(*radii, 2)]
    cv2.ellipse(plane, centre, axes, float(rng.uniform(0, 180)), 0, 360, value, -1)


def as_png(pixels: np.ndarray) -> bytes:
    """Encode as annotation tools in Python do."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def decode(data: bytes) -> np.ndarray:
    """Decode only; BGR where there are colours."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def class_planes(data: bytes) -> Planes:
    """Decode, and tell the classes apart by exact colour, one boolean plane for each."""
    pixels = decode(data)
    if pixels.ndim == 2:
        return {"defect": pixels > 0}
    packed = cv2.cvtColor(pixels, cv2.COLOR_BGR2BGRA).view(np.uint32)[:, :, 0]
    return {
        label: packed == (255 << 24 | red << 16 | green << 8 | blue) for label, (red, green, blue) in COLOURS.items()
    }


def boxes_by_scipy(data: bytes) -> set[Box]:
    """Label with scipy; boxes of the components of at least the smallest area."""
    found = set()
    for label, plane in class_planes(data).items():
        labelled, _ = ndimage.label(plane, EIGHT)
        areas = np.bincount(labelled.ravel())
        for number, (rows, columns) in enumerate(ndimage.find_objects(labelled), 1):
            if areas[number] >= OPTIONS.min_area_pixels:
                width, height = columns.stop - columns.start, rows.stop - rows.start
                found.add((label, columns.start, rows.start, width, height))
    return found


def boxes_by_keeneye(data: bytes, classes: tuple[MaskClass, ...]) -> set[Box]:
    """What is measured, in the form of `boxes_by_scipy`."""
    found = mask_to_boxes(data, classes, OPTIONS, width=SIDE, height=SIDE).boxes
    return {(box.label, box.left, box.top, box.width, box.height) for box in found}


def supervision_contestant() -> Contestant | None:
    """One box for each class, by supervision; None when it is not installed."""
    try:
        from supervision import mask_to_xyxy
    except ImportError:
        return None
    return lambda data: mask_to_xyxy(np.stack(list(class_planes(data).values())))


def measure(contestants: dict[str, Contestant], files: list[bytes]) -> dict[str, float]:
    """Return the milliseconds per mask of each contestant: the mean over the masks of the best round of each mask.

    A busy machine then disturbs single masks of single rounds, not a contestant's whole round.
    """
    best = {name: [float("inf")] * len(files) for name in contestants}
    for _ in range(ROUNDS):
        for name, run in contestants.items():
            for place, data in enumerate(files):
                start = time.perf_counter()
                run(data)
                best[name][place] = min(best[name][place], time.perf_counter() - start)
    return {name: 1000 * sum(times) / len(times) for name, times in best.items()}


def report(kind: str, files: list[bytes], classes: tuple[MaskClass, ...], least_ratio: float) -> None:
    """Check that ours and scipy's boxes agree, measure, and print the table's rows."""
    box_count = 0
    for data in files:
        ours = boxes_by_keeneye(data, classes)
        if ours != boxes_by_scipy(data):
            raise SystemExit(f"{kind}: ours and scipy disagree")
        box_count += len(ours)
    contestants: dict[str, Contestant] = {
        "decode only (cv2)": decode,
        "keeneye": lambda data: mask_to_boxes(data, classes, OPTIONS, width=SIDE, height=SIDE),
        "scipy": boxes_by_scipy,
    }
    peer = supervision_contestant()
    if peer is not None:
        contestants["supervision"] = peer
    best = measure(contestants, files)
    for name, milliseconds in best.items():
        ratio = best["decode only (cv2)"] / milliseconds
        wanted = f"{least_ratio:g}" if name == "keeneye" else ""
        print(f"| {kind} | {len(files)} | {box_count} | {name} | {milliseconds:.2f} | {ratio:.2f} | {wanted} |")


def main() -> None:
    """Paint, check, measure, print a Markdown table."""
    parser = argparse.ArgumentParser(description="Masks to boxes against only decoding.")
    parser.add_argument("count", nargs="?", type=int, default=40, help="masks of each kind")
    count = parser.parse_args().count
    cv2.setNumThreads(1)
    rng = np.random.default_rng(3)
    sparse = [as_png(paint_sparse(rng)) for _ in range(count)]
    dense = [as_png(paint_dense(rng)) for _ in range(count)]
    print("| masks | number | boxes | contestant | ms per mask | speed / decode only | wanted |")
    print("|---|---|---|---|---|---|---|")
    report("sparse binary", sparse, DEFECT, 0.8)
    report("dense colour", dense, COLOUR_CLASSES, 0.5)
    print()
    print(f"{SIDE} x {SIDE} PNG, one process, cv2.setNumThreads(1), of each mask the best of {ROUNDS} rounds in turns.")
    print("Ours and scipy's boxes were the same on every mask.")
    print(
        "supervision looks for no components: one box for each class, corners inclusive; its time is no like for like."
    )


if __name__ == "__main__":
    main()
