"""Random true boxes, and boxes as a fair detector would find them."""

from dataclasses import replace

import numpy as np

from tasks.vision.boxes import BoundingBox, DetectedBox

LABELS = ("bent", "cut", "lost", "odd")
Truths = list[list[BoundingBox]]
Found = list[list[DetectedBox]]


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
