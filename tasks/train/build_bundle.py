"""Assemble the model bundle, and prove that it answers like the pieces it was made from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tasks.bundle.engineered import write_features
from tasks.bundle.format import ModelCard, Network, Role, file_sha256, write_model_card
from tasks.bundle.predictor import OnnxNetwork, Predictor
from tasks.bundle.preprocessing import Steps
from tasks.errors import TrainingError
from tasks.train.backbone import BACKBONE_FILE, cut_backbone
from tasks.train.candidates import Classifier
from tasks.train.feature_table import FeatureTable
from tasks.train.heads.model import FittedHead, Probabilities
from tasks.train.heads.neighbours import BLOCK_IMAGES
from tasks.vision.images import RgbImage

HEAD_FILE = "head.onnx"
MAX_PARITY_DIFFERENCE = 1e-4
"""Largest difference of a confidence between bundle and pieces; measured 1e-6, single precision against double."""


def build_bundle(
    folder: Path,
    *,
    backbone: Path | None,
    classifier: Classifier,
    labels: Sequence[str],
    thresholds: Mapping[str, float],
    steps: Steps,
    dataset_digest: str,
    provenance: Mapping[str, str | int | float | bool],
    labels_per_image: Literal["any"] | None = None,
) -> str:
    """Write a bundle into an empty folder; returns its digest. Without features of a backbone it holds none."""
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[Role, str] = {"head": HEAD_FILE}
    if backbone and classifier.backbone_features:
        files["backbone"] = BACKBONE_FILE
        cut_backbone(backbone, classifier.backbone_features, folder / BACKBONE_FILE)
    (folder / HEAD_FILE).write_bytes(head_to_onnx(classifier.head))
    card = ModelCard(
        task="classification",
        labels=tuple(labels),
        labels_per_image=labels_per_image,
        thresholds=dict(thresholds),
        steps=steps,
        networks={role: Network(file=name, sha256=file_sha256(folder / name)) for role, name in files.items()},
        dataset_digest=dataset_digest,
        provenance=dict(provenance),
        features=write_features(folder, classifier.engineered) if classifier.engineered else None,
    )
    return write_model_card(folder, card)


def head_to_onnx(head: FittedHead) -> bytes:
    """Convert a fitted head: N x F floats in, N x L probabilities as the last output."""
    model = head.model.to_onnx()
    # The converter names graphs at random; equal heads must give equal bytes.
    model.graph.name = "head"
    return bytes(model.SerializeToString())


def require_head_parity(bundle: Path, classifier: Classifier, features: FeatureTable) -> float:
    """Compare a bundle's head with the fitted one on the features of images; returns the largest difference.

    Raises:
        TrainingError: when they differ by more than `MAX_PARITY_DIFFERENCE`.
    """
    network = OnnxNetwork((bundle / HEAD_FILE).read_bytes(), threads=1)
    rows = classifier.rows(features)
    # Nearest neighbours are looked for among all images that were learned from, for a block at a time.
    found = [network.run(rows[start : start + BLOCK_IMAGES]) for start in range(0, len(rows), BLOCK_IMAGES)]
    return _require_alike(np.concatenate(found), classifier.probabilities(features))


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
