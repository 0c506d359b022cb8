"""Random true boxes, and boxes as a fair detector would find them."""

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from tasks.vision.boxes import BoundingBox, DetectedBox

LABELS = ("bent", "cut", "lost", "odd")
Truths = list[list[BoundingBox]]
Found = list[list[DetectedBox]]
Image = tuple[list[BoundingBox], list[DetectedBox]]


def true_on_a_raster(labels: tuple[str, ...]) -> st.SearchStrategy[BoundingBox]:
    """True boxes on a coarse raster: they often coincide or overlap by exactly one half."""
    return st.builds(BoundingBox, **_on_a_raster(labels))


def found_on_a_raster(labels: tuple[str, ...]) -> st.SearchStrategy[DetectedBox]:
    """Boxes found on the raster of the true ones, often equally sure."""
    sureness = st.sampled_from((0.1, 0.25, 0.5, 0.75, 0.9))
    return st.builds(DetectedBox, **_on_a_raster(labels), confidence=sureness, is_given=st.booleans())


def images_on_a_raster(labels: tuple[str, ...], min_size: int = 0) -> st.SearchStrategy[list[Image]]:
    """Up to four images, each with its true boxes and the boxes found."""
    truths, found = st.lists(true_on_a_raster(labels), max_size=5), st.lists(found_on_a_raster(labels), max_size=7)
    return st.lists(st.tuples(truths, found), min_size=min_size, max_size=4)


def _on_a_raster(labels: tuple[str, ...]) -> dict[str, st.SearchStrategy]:
    place, side = st.sampled_from((0, 2, 4, 8)), st.sampled_from((2, 4, 8))
    return {"label": st.sampled_from(labels), "left": place, "top": place, "width": side, "height": side}


def dataset(
    seed: int,
    images: int = 12,
    boxes: int = 4,
    extra: int = 6,
    labels: tuple[str, ...] = LABELS[:3],
    tied: bool = False,
) -> tuple[Truths, Found]:
    """Images with true boxes of all sizes and boxes found near them and elsewhere; some images are empty."""
    rng = np.random.default_rng(seed)
    truths = [[_true(rng, labels) for _ in range(rng.integers(0, boxes + 1))] for _ in range(images)]
    found = []
    for true_boxes in truths:
        near = [_near(rng, box, labels) for box in true_boxes for _ in range(rng.integers(0, 3))]
        far = [_far(rng, labels) for _ in range(rng.integers(0, extra + 1))]
        found.append([replace(box, confidence=round(box.confidence, 1 if tied else 15)) for box in near + far])
    return truths, found


def _true(rng: np.random.Generator, labels: tuple[str, ...]) -> BoundingBox:
    left, top = rng.integers(0, 400, 2).tolist()
    width, height = (1 + np.exp(rng.uniform(0, 6, 2))).astype(int).tolist()
    return BoundingBox(str(rng.choice(labels)), left, top, width, height)


def _near(rng: np.random.Generator, box: BoundingBox, labels: tuple[str, ...]) -> DetectedBox:
    label = box.label if rng.random() < 0.8 else str(rng.choice(labels))
    left, top = box.left + rng.normal(0, 0.12) * box.width, box.top + rng.normal(0, 0.12) * box.height
    width, height = box.width * np.exp(rng.normal(0, 0.12)), box.height * np.exp(rng.normal(0, 0.12))
    return DetectedBox(label, left, top, width, height, float(rng.random()), False)


def _far(rng: np.random.Generator, labels: tuple[str, ...]) -> DetectedBox:
    edges = (*rng.uniform(0, 400, 2).tolist(), *rng.uniform(1, 200, 2).tolist())
    return DetectedBox(str(rng.choice(labels)), *edges, float(rng.random()), False)
