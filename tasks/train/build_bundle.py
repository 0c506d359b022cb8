"""Assemble the model bundle, and prove that it answers like the pieces it was made from."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.pipeline import Pipeline

from tasks.bundle.format import ModelCard, Network, Role, file_sha256, write_model_card
from tasks.bundle.predictor import Predictor
from tasks.bundle.preprocessing import ClassifierSteps
from tasks.errors import TrainingError
from tasks.train.backbone import BACKBONE_FILE
from tasks.train.heads import Probabilities
from tasks.vision.images import RgbImage

HEAD_FILE = "head.onnx"
HEAD_OPSET = 17
MAX_PARITY_DIFFERENCE = 1e-4
"""Largest difference of a confidence between bundle and pieces; measured 1e-6, single precision against double."""


def build_bundle(
    folder: Path,
    *,
    backbone: Path,
    pipeline: Pipeline,
    labels: Sequence[str],
    thresholds: Mapping[str, float],
    steps: ClassifierSteps,
    dataset_digest: str,
    provenance: Mapping[str, str | int | float | bool],
) -> str:
    """Write a bundle into an empty folder; returns its digest."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(backbone, folder / BACKBONE_FILE)
    (folder / HEAD_FILE).write_bytes(head_to_onnx(pipeline))
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


def head_to_onnx(pipeline: Pipeline) -> bytes:
    """Convert a fitted scaler and classifier: N x F floats in, N x L probabilities as the last output."""
    width = pipeline.named_steps["scale"].n_features_in_
    model = to_onnx(
        pipeline,
        initial_types=[("features", FloatTensorType([None, width]))],
        options={"zipmap": False},
        target_opset=HEAD_OPSET,
    )
    # The converter names graphs at random; equal heads must give equal bytes.
    model.graph.name = "head"
    return bytes(model.SerializeToString())


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
    difference = float(np.abs(found - expected).max())
    if not difference <= MAX_PARITY_DIFFERENCE:
        raise TrainingError(
            f"the bundle's confidences differ from the trained model's by {difference:.2g}, more than "
            f"{MAX_PARITY_DIFFERENCE:g}; report this with the versions of skl2onnx and onnxruntime"
        )
    return difference
