"""Detector bundles whose raw outputs a test dictates: the network answers the same for every image."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tasks.bundle.format import BoxDecoding, ModelCard, Network, file_sha256, write_model_card
from tasks.bundle.preprocessing import detection_steps

INPUT_SIZE = 64
STRIDES = (16, 32)
LOCATIONS = 4 * 4 + 2 * 2
LABELS = ("cut", "dent", "hole")
Outputs = dict[str, np.ndarray]


def silent_outputs(labels: int = len(LABELS)) -> Outputs:
    """Return outputs without any box."""
    return {
        "class_logits": np.full((LOCATIONS, labels), -20, np.float32),
        "box_regression": np.zeros((LOCATIONS, 4), np.float32),
        "centreness": np.zeros((LOCATIONS, 1), np.float32),
    }


def put_box(outputs: Outputs, location: int, label: int, reach: tuple[float, ...], score: float) -> None:
    """Let a location see a box; `reach` is left, top, right, bottom in strides."""
    outputs["centreness"][location] = outputs["class_logits"][location, label] = np.log(score / (1 - score))
    outputs["box_regression"][location] = reach


def write_network(path: Path, outputs: Outputs) -> Network:
    """Write a graph that answers the outputs for each image of a batch."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Reshape", ["nothing", "shape"], ["per_image"]),
        *(helper.make_node("Add", ["per_image", f"{name}_value"], [name]) for name in outputs),
    ]
    values = [
        numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
        numpy_helper.from_array(np.array([-1, 1, 1]), "shape"),
        *(numpy_helper.from_array(value[None], f"{name}_value") for name, value in outputs.items()),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, INPUT_SIZE, INPUT_SIZE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        values,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    onnx.save(model, path)
    return Network(file=path.name, sha256=file_sha256(path))


def write_detector(folder: Path, outputs: Outputs, **fields: Any) -> Path:
    """Write a bundle; `fields` replace those of the card."""
    card = {
        "task": "detection",
        "labels": LABELS,
        "thresholds": dict.fromkeys(LABELS, 0.5),
        "steps": detection_steps(INPUT_SIZE),
        "networks": {"detector": write_network(folder / "detector.onnx", outputs)},
        "dataset_digest": "d" * 64,
        "provenance": {"seed": 0},
        "decoding": BoxDecoding(strides=STRIDES),
    }
    write_model_card(folder, ModelCard(**(card | fields)))
    return folder
