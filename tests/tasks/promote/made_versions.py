"""Registered versions without a registry: a made bundle, the manifests it would have learned from, its images."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from tasks.bundle.format import bundle_digest
from tasks.bundle_export.records import ExportSource
from tasks.dataset.entries import SPLITS, ImageEntry
from tasks.dataset.truth import Truth
from tasks.dataset.versions import manifests_digest
from tasks.ground_truth.manifests import write_manifest
from tasks.manifest.records import Manifest
from tasks.train.records import TrainedModel
from tasks.vision.boxes import BoundingBox
from tests.makers import png_bytes
from tests.tasks.bundle.made_detector import LABELS as BOX_LABELS
from tests.tasks.bundle.made_detector import put_box, silent_outputs, write_detector
from tests.tasks.serving.made_classifier import write_classifier

COLOURS = ("red", "green", "blue")
SEEN = BoundingBox("dent", 16, 16, 16, 16)
"""Where the made detector sees a dent in every image of 64 x 64 pixels."""


@dataclass(frozen=True)
class Painted:
    """Image files below one folder, with their entries by reference."""

    root: Path
    entries: dict

    def add(self, ref, pixels, truth):
        """Write an image and return its entry."""
        data = png_bytes(pixels)
        path = self.root / ref
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        entry = ImageEntry(ref, digest, pixels.shape[1], pixels.shape[0], truth, group=digest)
        self.entries[ref] = entry
        return entry


def tinted(label, seed, side=48):
    """Paint smooth noise of one colour: unlike any other seed's, and told apart by its mean colour."""
    rng = np.random.default_rng(seed)
    noise = cv2.resize(rng.uniform(20, 180, (5, 5)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    picture = np.repeat(np.clip(noise, 0, 200)[:, :, None], 3, axis=2)
    picture[:, :, COLOURS.index(label)] += 55
    return np.clip(picture, 0, 255).astype(np.uint8)


def paint_tinted(root, count, labels=COLOURS, seed=0):
    """Paint `count` images of each label; returns them with their labels true."""
    painted = Painted(root, {})
    for place, label in enumerate(labels):
        for number in range(count):
            name = f"{label}/{seed}-{number:03}.png"
            painted.add(name, tinted(label, (seed, place, number)), Truth((label,)))
    return painted


def classifier(folder, number, learned, tested, labels=COLOURS, root=None, threshold=0.5):
    """Return a version whose classifier tells tints apart; `labels` name what it answers to red, green and blue."""
    bundle = write_classifier(folder / f"bundle-{number}", labels, threshold)
    known = tuple(sorted({*labels, *(label for entry in (*learned, *tested) for label in entry.truth.labels)}))
    return _source(folder / f"version-{number}", number, bundle, "classification", known, learned, tested, root)


def detector(folder, number, tested, scores=(0.9,), labels=BOX_LABELS, root=None):
    """Return a version whose detector sees in every image a dent for each score, the first on `SEEN`."""
    outputs = silent_outputs(len(labels))
    for place, score in enumerate(scores):
        # The cells of stride 16 on the image's diagonal.
        put_box(outputs, place * 5 + 5, labels.index("dent"), (0, 0, 1, 1), score)
    bundle = folder / f"bundle-{number}"
    bundle.mkdir(parents=True)
    write_detector(bundle, outputs, labels=labels, thresholds=dict.fromkeys(labels, 0.5))
    return _source(folder / f"version-{number}", number, bundle, "detection", labels, [], tested, root)


def relabelled(entry, *labels):
    """Return an entry whose truth is other labels."""
    return replace(entry, truth=Truth(tuple(sorted(labels))))


def _source(folder, number, bundle, task, labels, learned, tested, root):
    folder.mkdir(parents=True)
    splits = {"train": learned, "validation": [], "test": tested}
    for split in SPLITS:
        ids = {label: place for place, label in enumerate(sorted(labels))}
        write_manifest(folder / f"{split}.manifest", splits[split], ids, "made")
    digest = bundle_digest(bundle)
    return ExportSource(
        model_name="made",
        model_version=str(number),
        model_uri=f"models:/made/{number}",
        bundle_digest=digest,
        bundle_path=str(bundle),
        manifest=Manifest(
            entry_path=str(folder),
            task=task,
            dataset_name="made",
            dataset_digest="d" * 64,
            manifest_digest=manifests_digest({split: folder / f"{split}.manifest" for split in SPLITS}),
            parent_digest="",
            roots=dict.fromkeys(SPLITS, str(root)),
            labels=tuple(sorted(labels)),
            totals={split: len(splits[split]) for split in SPLITS},
            images={split: {} for split in SPLITS},
            boxes={split: {} for split in SPLITS},
            negatives=dict.fromkeys(SPLITS, 0),
            groups=0,
            findings={},
            invalid=0,
        ),
        model=TrainedModel(
            bundle_digest=digest, input_size=16, seed=0, chosen={}, cross_validated=None, parity_difference=0.0
        ),
    )
