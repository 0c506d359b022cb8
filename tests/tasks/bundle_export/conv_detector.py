"""A small detector with real convolutions, for what changes networks: its answers follow the image."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tasks.bundle.format import BoxDecoding, ModelCard, Network, file_sha256, write_model_card
from tasks.bundle.preprocessing import detection_steps

SIDE = 64
STRIDES = (8, 16)
CHANNELS = 24
OUTPUTS = {"class_logits": "class", "box_regression": "reach", "centreness": "centre"}


def write_conv_detector(folder, labels, **fields):
    """Write a bundle whose network sees with three convolutions on two levels; returns its folder."""
    folder.mkdir(parents=True)
    onnx.save(_network(len(labels)), folder / "detector.onnx")
    card = {
        "task": "detection",
        "labels": labels,
        "thresholds": dict.fromkeys(labels, 0.3),
        "steps": detection_steps(SIDE),
        "networks": {"detector": Network(file="detector.onnx", sha256=file_sha256(folder / "detector.onnx"))},
        "dataset_digest": "d" * 64,
        "provenance": {"seed": 0},
        "decoding": BoxDecoding(strides=STRIDES),
    }
    write_model_card(folder, ModelCard(**(card | fields)))
    return folder


def _network(labels):
    rng = np.random.default_rng(0)
    shapes = {
        "stem": (CHANNELS, 3, 4, 4),
        "middle": (CHANNELS, CHANNELS, 3, 3),
        "level8": (CHANNELS, CHANNELS, 3, 3),
        "level16": (CHANNELS, CHANNELS, 3, 3),
        **{"class": (labels, CHANNELS, 1, 1), "reach": (4, CHANNELS, 1, 1), "centre": (1, CHANNELS, 1, 1)},
    }
    weights = {name: rng.normal(0, 1.4 / np.sqrt(np.prod(shape[1:])), shape) for name, shape in shapes.items()}
    biases = {name: np.full(shape[0], {"reach": 1.5, "class": -0.5}.get(name, 0.1)) for name, shape in shapes.items()}
    nodes = [*_seeing("images", "stem", 4), *_seeing("stem_out", "middle", 2), *_seeing("middle_out", "level8", 1)]
    nodes += _seeing("level8_out", "level16", 2)
    for head in OUTPUTS.values():
        for level in ("level8", "level16"):
            nodes += _head(level, head)
    for output, head in OUTPUTS.items():
        nodes.append(helper.make_node("Concat", [f"{head}_level8_rows", f"{head}_level16_rows"], [output], axis=1))
    values = {f"{name}_weight": value for name, value in weights.items()}
    values |= {f"{name}_bias": value for name, value in biases.items()}
    rows = {"class": labels, "reach": 4, "centre": 1}
    initializers = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()]
    initializers += [numpy_helper.from_array(np.array([0, -1, size]), f"{name}_rows") for name, size in rows.items()]
    locations = sum((SIDE // stride) ** 2 for stride in STRIDES)
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [
            helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", locations, rows[head]])
            for output, head in OUTPUTS.items()
        ],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    return model


def _seeing(source, name, stride):
    side = 4 if name == "stem" else 3
    pads = [0] * 4 if name == "stem" else [1] * 4
    weights = [f"{name}_weight", f"{name}_bias"]
    return [
        helper.make_node(
            "Conv", [source, *weights], [f"{name}_raw"], name, kernel_shape=[side] * 2, strides=[stride] * 2, pads=pads
        ),
        helper.make_node("Relu", [f"{name}_raw"], [f"{name}_out"], f"{name}_relu"),
    ]


def _head(level, head):
    name = f"{head}_{level}"
    raw = f"{name}_map"
    nodes = [helper.make_node("Conv", [f"{level}_out", f"{head}_weight", f"{head}_bias"], [raw], name)]
    if head == "reach":
        nodes.append(helper.make_node("Relu", [raw], [f"{raw}_relu"], f"{name}_relu"))
        raw = f"{raw}_relu"
    return [
        *nodes,
        helper.make_node("Transpose", [raw], [f"{name}_last"], f"{name}_transpose", perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", [f"{name}_last", f"{head}_rows"], [f"{name}_rows"], f"{name}_reshape"),
    ]
