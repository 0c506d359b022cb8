"""Painted images with known boxes, as entries and as samples, and small networks to learn from them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torchvision.models.detection import FCOS

from tasks.bundle.preprocessing import DetectorSteps, detection_steps
from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.train.detector.network import Architecture, build_network
from tasks.train.detector.samples import Samples, prepare_samples
from tasks.train.learning.weights import load_packaged
from tasks.vision.boxes import BoundingBox, DetectedBox
from tests.makers import paint_with_boxes, save

INPUT_SIZE = 64
SIDE = 96
LABEL = "part"
BACKBONE = "tf_efficientnet_lite0"
STEPS = detection_steps(INPUT_SIZE)


def ignore(done: int, total: int) -> None:
    """Take no interest in progress."""


def paint_entries(
    root: Path, boxes: Sequence[Sequence[BoundingBox]], *, width: int = SIDE, height: int = SIDE, name: str = ""
) -> list[ImageEntry]:
    """Paint an image for each list of boxes."""
    entries = []
    for number, placed in enumerate(boxes):
        ref = f"{name}{number:03d}.png"
        edges = [(box.left, box.top, box.width, box.height) for box in placed]
        save(root / ref, paint_with_boxes(edges, max(width, height), (number, *name.encode()))[:height, :width])
        truth = Truth(tuple(sorted({box.label for box in placed})), tuple(placed))
        digest = hashlib.sha256((root / ref).read_bytes()).hexdigest()
        entries.append(ImageEntry(ref, digest, width, height, truth))
    return entries


def some_boxes(count: int, seed: int = 0, label: str = LABEL) -> list[list[BoundingBox]]:
    """Return one box for each image, somewhere, with sides of 24 to 48 pixels."""
    rng = np.random.default_rng(seed)
    sides = rng.integers(24, 49, (count, 2))
    corners = rng.integers(0, SIDE - sides + 1)
    return [
        [BoundingBox(label, int(left), int(top), int(width), int(height))]
        for (left, top), (width, height) in zip(corners, sides, strict=True)
    ]


def samples_of(
    folder: Path, entries: Sequence[ImageEntry], labels: Sequence[str] = (LABEL,), steps: DetectorSteps = STEPS
) -> Samples:
    """Frame entries that were painted in the folder."""
    first = entries[0].source_ref if entries else "none"
    return prepare_samples(folder / f"{first}.npy", folder, entries, labels, steps, ignore)


def first_network(labels: int = 1, frozen_stages: int = 3, seed: int = 0) -> FCOS:
    """Return a network that knows ImageNet; torch's generator goes on from the seed."""
    torch.manual_seed(seed)
    network = build_network(Architecture(BACKBONE, frozen_stages, labels))
    load_packaged(network.backbone.body, BACKBONE)
    return network


def found_box(left: float, top: float, width: float, height: float, confidence: float, label: str = LABEL):
    """Return a found box that is not given."""
    return DetectedBox(label, left, top, width, height, confidence, is_given=False)
