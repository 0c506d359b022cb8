"""Assemble an anomaly model's bundle, and prove that it answers like the pieces it was made from."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.spatial.distance import cdist

from tasks.bundle.anomaly import smooth
from tasks.bundle.format import AnomalyScoring, ModelCard, Network, Role, file_sha256, write_model_card
from tasks.bundle.predictor import OnnxNetwork, Predictor
from tasks.bundle.preprocessing import StretchedSteps, prepare_batch
from tasks.dataset.entries import ImageEntry
from tasks.dataset.files import read_image_bytes
from tasks.errors import TrainingError
from tasks.metrics.anomaly import ANOMALY
from tasks.train.anomaly.memory import Patches
from tasks.vision.heat_maps import Heat
from tasks.vision.images import RgbImage, decode_rgb

PARITY_IMAGES = 2
MAX_PARITY_DIFFERENCE = 2e-3
"""Largest difference of a heat map between bundle and pieces, as a share of the limit; half precision has 5e-4."""


def build_bundle(
    folder: Path,
    *,
    backbone: bytes,
    memory: bytes,
    scoring: AnomalyScoring,
    threshold: float,
    steps: StretchedSteps,
    dataset_digest: str,
    provenance: Mapping[str, str | int | float | bool],
) -> str:
    """Write a bundle into an empty folder; returns its digest.

    Args:
        folder: where to write.
        backbone: the network of patches.
        memory: the network of distances.
        scoring: calibrated.
        threshold: of the confidence, 0 to 1.
        steps: preprocessing.
        dataset_digest: the dataset version it learned from.
        provenance: whatever else identifies its making.
    """
    folder.mkdir(parents=True, exist_ok=True)
    networks: dict[Role, Network] = {}
    parts: dict[Role, bytes] = {"backbone": backbone, "memory": memory}
    for role, content in parts.items():
        path = folder / f"{role}.onnx"
        path.write_bytes(content)
        networks[role] = Network(file=path.name, sha256=file_sha256(path))
    card = ModelCard(
        task="anomaly",
        labels=(ANOMALY,),
        thresholds={ANOMALY: threshold},
        steps=steps,
        networks=networks,
        dataset_digest=dataset_digest,
        provenance=dict(provenance),
        scoring=scoring,
    )
    return write_model_card(folder, card)


def require_parity(
    bundle: Path, root: Path, entries: Sequence[ImageEntry], network: OnnxNetwork, memory: Patches
) -> float:
    """Compare the bundle's heat maps of images with plain distances to the remembered patches.

    Args:
        bundle: the bundle's folder.
        root: folder to which the entries' references are relative.
        entries: images, of which the first few are compared.
        network: the network of patches.
        memory: the remembered patches.

    Returns:
        The largest difference, as a share of the limit.

    Raises:
        TrainingError: when it is more than `MAX_PARITY_DIFFERENCE`.
    """
    predictor = Predictor.open(bundle)
    difference = 0.0
    for entry in entries[:PARITY_IMAGES]:
        image = decode_rgb(read_image_bytes(root, entry))
        patches = network.run(prepare_batch([image], predictor.card.steps))[0]
        distances = cdist(patches.reshape(-1, patches.shape[-1]), memory).min(axis=1).reshape(patches.shape[:2])
        difference = max(difference, _difference(predictor, image, distances.astype(np.float32)))
    if not difference <= MAX_PARITY_DIFFERENCE:
        raise TrainingError(
            f"the bundle's heat maps differ by {difference:.2g} of the limit from plain distances, more than "
            f"{MAX_PARITY_DIFFERENCE:g}; report this with the version of onnxruntime"
        )
    return difference


def _difference(predictor: Predictor, image: RgbImage, distances: Heat) -> float:
    scoring, found = predictor.card.scoring, predictor.predict([image])[0].heat_map
    if scoring is None or found is None or (found.rows, found.columns) != distances.shape:
        raise TrainingError("the bundle gives no heat map of the images it learned from; report this")
    return float(np.abs(found.heat() - smooth(distances, scoring)).max()) / scoring.limit
