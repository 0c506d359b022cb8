"""Models that answer by colour, and runs of the prediction stages on them."""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from flows.predict_config import PredictConfig
from tasks.bundle.format import ModelCard, Network, bundle_digest, file_sha256, read_model_card, write_model_card
from tasks.bundle.preprocessing import Normalise, Resize
from tasks.ingest.task import list_images
from tasks.predict.records import FetchedModel
from tasks.predict.task import predict_images, write_predictions
from tasks.stores.home import Home
from tests.makers import png_bytes

COLOURS = ("blue", "green", "red")
RGB = {"red": (220, 40, 40), "green": (40, 220, 40), "blue": (40, 40, 220), "grey": (124, 116, 104)}


def write_colour_classifier(folder: Path, sharpness: float = 4.0, **fields) -> Path:
    """Write a bundle that gives an image the label of its mean colour; grey reaches no threshold."""
    folder.mkdir(parents=True, exist_ok=True)
    networks = {
        "backbone": _network(
            folder / "backbone.onnx",
            [helper.make_node("ReduceMean", ["images"], ["features"], axes=[2, 3], keepdims=0)],
            ("images", ["n", 3, 64, 64]),
            "features",
            {},
        ),
        "head": _network(
            folder / "head.onnx",
            [
                helper.make_node("MatMul", ["features", "weights"], ["logits"]),
                helper.make_node("Softmax", ["logits"], ["confidences"], axis=1),
            ],
            ("features", ["n", 3]),
            "confidences",
            # From red, green, blue to the labels' order; the channels' normalisation hardly matters.
            {"weights": sharpness * np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], np.float32)},
        ),
    }
    card = {
        "task": "classification",
        "labels": COLOURS,
        "thresholds": dict.fromkeys(COLOURS, 0.6),
        "steps": (Resize(width=64, height=64), Normalise()),
        "networks": networks,
        "dataset_digest": "d" * 64,
        "provenance": {"seed": 0},
    }
    write_model_card(folder, ModelCard(**(card | fields)))
    return folder


def _network(path, nodes, given, answer, values):
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(given[0], TensorProto.FLOAT, given[1])],
        [helper.make_tensor_value_info(answer, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    onnx.save(model, path)
    return Network(file=path.name, sha256=file_sha256(path))


def fetched(bundle: Path, name: str = "colours", version: str = "3") -> FetchedModel:
    """Return the record of a bundle as if it came from a registry."""
    card = read_model_card(bundle)
    return FetchedModel(
        model_name=name,
        model_version=version,
        model_uri=f"models:/{name}/{version}",
        bundle_digest=bundle_digest(bundle),
        bundle_path=str(bundle),
        task=card.task,
        labels=card.labels,
        thresholds=card.thresholds,
    )


def paint(path: Path, colour: str, seed: int = 0, width: int = 40, height: int = 30) -> Path:
    """Write a noisy picture of one colour; equal arguments give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png_bytes(pixels(colour, seed, width, height)))
    return path


def pixels(colour: str, seed: int = 0, width: int = 40, height: int = 30) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(-30, 30, (height, width, 3))
    return np.clip(np.array(RGB[colour]) + noise, 0, 255).astype(np.uint8)


def run(home: Home, model: FetchedModel, source: Path, output: Path, **fields):
    """Run the stages after the model was fetched; returns their records."""
    config = PredictConfig(model=model.model_uri, source=str(source), output=str(output), **fields)
    listed = list_images.fn(home, config.source, config.images.image_root, config.images.rewrite)
    predicted = predict_images.fn(home, model, listed, config)
    return listed, predicted, write_predictions.fn(home, model, listed, predicted, config)


def lines_of(path: Path) -> list[dict]:
    with path.open("rb") as stream:
        return [json.loads(line) for line in stream]


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
