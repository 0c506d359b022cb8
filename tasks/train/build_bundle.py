"""Assemble the model bundle, and prove that it answers like the pieces it was made from."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.bundle.format import ModelCard, Network, Role, file_sha256, write_model_card
from tasks.bundle.predictor import OnnxNetwork, Predictor
from tasks.bundle.preprocessing import ClassifierSteps
from tasks.errors import TrainingError
from tasks.train.backbone import BACKBONE_FILE, cut_backbone
from tasks.train.candidates import Classifier
from tasks.train.heads.model import FittedHead, Probabilities, Views
from tasks.vision.images import RgbImage

HEAD_FILE = "head.onnx"
MAX_PARITY_DIFFERENCE = 1e-4
"""Largest difference of a confidence between bundle and pieces; measured 1e-6, single precision against double."""


def build_bundle(
    folder: Path,
    *,
    backbone: Path,
    classifier: Classifier,
    labels: Sequence[str],
    thresholds: Mapping[str, float],
    steps: ClassifierSteps,
    dataset_digest: str,
    provenance: Mapping[str, str | int | float | bool],
) -> str:
    """Write a bundle into an empty folder; returns its digest."""
    folder.mkdir(parents=True, exist_ok=True)
    cut_backbone(backbone, classifier.features, folder / BACKBONE_FILE)
    (folder / HEAD_FILE).write_bytes(head_to_onnx(classifier.head))
    files: dict[Role, str] = {"backbone": BACKBONE_FILE, "head": HEAD_FILE}
    card = ModelCard(
        task="classification",
        labels=tuple(labels),
        thresholds=dict(thresholds),
        steps=steps,
        networks={role: Network(file=name, sha256=file_sha256(folder / name)) for role, name in files.items()},
        dataset_digest=dataset_digest,
        provenance=dict(provenance),
    )
    return write_model_card(folder, card)


def head_to_onnx(head: FittedHead) -> bytes:
    """Convert a fitted head: N x F floats in, N x L probabilities as the last output."""
    model = head.model.to_onnx()
    # The converter names graphs at random; equal heads must give equal bytes.
    model.graph.name = "head"
    return bytes(model.SerializeToString())


def require_head_parity(bundle: Path, classifier: Classifier, features: Views) -> float:
    """Compare a bundle's head with the fitted one on N x V x F features; returns the largest difference.

    Raises:
        TrainingError: when they differ by more than `MAX_PARITY_DIFFERENCE`.
    """
    network = OnnxNetwork((bundle / HEAD_FILE).read_bytes(), threads=1)
    return _require_alike(network.run(classifier.columns(features[:, 0])), classifier.probabilities(features))


def require_parity(bundle: Path, images: Sequence[RgbImage], expected: Probabilities) -> float:
    """Compare the bundle's confidences of images with those of the pieces; returns the largest difference.

    Args:
        bundle: the bundle's folder.
        images: decoded images.
        expected: N x L probabilities of the fitted classifier on the cached features of the same images.

    Raises:
        TrainingError: when they differ by more than `MAX_PARITY_DIFFERENCE`.
    """
    predictor = Predictor.open(bundle)
    labels = predictor.card.labels
    found = np.array([[p.confidences[label] for label in labels] for p in predictor.predict(images)])
    return _require_alike(found, expected)


def _require_alike(found: NDArray[np.floating], expected: Probabilities) -> float:
    difference = float(np.abs(found - expected).max())
    if not difference <= MAX_PARITY_DIFFERENCE:
        raise TrainingError(
            f"the bundle's confidences differ from the trained model's by {difference:.2g}, more than "
            f"{MAX_PARITY_DIFFERENCE:g}; report this with the versions of skl2onnx and onnxruntime"
        )
    return difference
