"""A bundle on engineered features alone, made by hand: a head that sums the shares of the first three visual words."""

from pathlib import Path

import numpy as np

from tasks.bundle.engineered import write_features
from tasks.bundle.format import ModelCard, Network, file_sha256, write_model_card
from tasks.bundle.preprocessing import standard_steps
from tasks.features.colour import Colour
from tasks.features.feature_set import FeatureSet
from tasks.features.keypoints import DESCRIPTOR_WIDTH, SiftWords
from tasks.train.heads.graphs import written

STEPS = (SiftWords(words=4, keypoints=50), Colour(hues=4))
FEATURES = FeatureSet(STEPS, np.random.default_rng(0).random((4, DESCRIPTOR_WIDTH), np.float32))
_HEAD = "decisions = MatMul (features, weights)  probabilities = Softmax <axis = 1> (decisions)"


def write_engineered_model(folder: Path) -> Path:
    """Write the bundle into a folder that is not there yet; it knows the labels `few` and `many`."""
    folder.mkdir(parents=True)
    weights = np.zeros((FEATURES.width, 2), np.float32)
    weights[:3, 1] = 1.0
    head = written(_HEAD, FEATURES.width, 2, {"weights": weights})
    (folder / "head.onnx").write_bytes(head.SerializeToString())
    card = ModelCard(
        task="classification",
        labels=("few", "many"),
        thresholds={"few": 0.5, "many": 0.5},
        steps=standard_steps(64),
        networks={"head": Network(file="head.onnx", sha256=file_sha256(folder / "head.onnx"))},
        dataset_digest="d" * 64,
        provenance={},
        features=write_features(folder, FEATURES),
    )
    write_model_card(folder, card)
    return folder
