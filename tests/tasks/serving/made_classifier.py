"""Classifier bundles that need no training: the network averages each colour, so a picture's colour is its label."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tasks.bundle.format import ModelCard, Network, Role, file_sha256, write_model_card
from tasks.bundle.preprocessing import standard_steps
from tests.makers import png_bytes

INPUT_SIZE = 16
SHARPNESS = 3.0
"""A plain red picture is red with a confidence of nearly 1, a mixed one is in between."""


def write_classifier(folder: Path, labels: tuple[str, str, str], threshold: float = 0.5) -> Path:
    """Write a bundle whose labels are those of red, green and blue pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = numpy_helper.from_array(np.eye(3, dtype=np.float32) * SHARPNESS, "weights")
    mean = helper.make_node("ReduceMean", ["images"], ["features"], axes=[2, 3], keepdims=0)
    head = [
        helper.make_node("MatMul", ["features", "weights"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["confidences"]),
    ]
    networks: dict[Role, Network] = {
        "backbone": _write(folder / "backbone.onnx", [mean], ("images", ["n", 3, INPUT_SIZE, INPUT_SIZE]), "features"),
        "head": _write(folder / "head.onnx", head, ("features", ["n", 3]), "confidences", [weights]),
    }
    card = ModelCard(
        task="classification",
        labels=labels,
        thresholds=dict.fromkeys(labels, threshold),
        steps=standard_steps(INPUT_SIZE),
        networks=networks,
        dataset_digest="d" * 64,
        provenance={"seed": 0},
    )
    write_model_card(folder, card)
    return folder


def coloured(red: int, green: int, blue: int, width: int = 24, height: int = 24) -> bytes:
    """Return a plain picture as PNG."""
    return png_bytes(np.full((height, width, 3), (red, green, blue), np.uint8))


def _write(path, nodes, entry, output, values=()):
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(entry[0], TensorProto.FLOAT, entry[1])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", 3])],
        list(values),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    onnx.save(model, path)
    return Network(file=path.name, sha256=file_sha256(path))
