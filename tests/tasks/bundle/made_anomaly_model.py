"""Anomaly bundles whose answers can be worked out by hand: a patch is the mean colour of 16 x 16 input pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tasks.bundle.format import AnomalyScoring, ModelCard, Network, file_sha256, write_model_card
from tasks.bundle.preprocessing import Normalise, Resize
from tasks.train.anomaly.memory import memory_to_onnx

SIDE, STRIDE = 64, 16
CELLS = SIDE // STRIDE
GREY = 100
"""The one colour that is remembered; the distance of another is the length of the difference, in 8-bit steps."""
SCORING = AnomalyScoring(
    rows=CELLS, columns=CELLS, smoothing_cells=0.1, top_share=0.1, limit=20.0, steepness=4.0, region_limit=10.0
)
PLAIN = Normalise(mean=(0.0, 0.0, 0.0), standard_deviation=(1 / 255, 1 / 255, 1 / 255))


def write_anomaly_model(folder: Path, **fields: Any) -> Path:
    """Write a bundle; `fields` replace those of the card."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.onnx").write_bytes(memory_to_onnx(np.full((2, 3), GREY, np.float32)))
    onnx.save(_mean_colours(), folder / "backbone.onnx")
    roles = ("backbone", "memory")
    card = {
        "task": "anomaly",
        "labels": ("anomaly",),
        "thresholds": {"anomaly": 0.5},
        "steps": (Resize(width=SIDE, height=SIDE), PLAIN),
        "networks": {r: Network(file=f"{r}.onnx", sha256=file_sha256(folder / f"{r}.onnx")) for r in roles},
        "dataset_digest": "d" * 64,
        "provenance": {"seed": 0},
        "scoring": SCORING,
    }
    write_model_card(folder, ModelCard(**(card | fields)))
    return folder


def grey(*spots: tuple[int, int, int, int], by: int = 40, side: int = SIDE) -> np.ndarray:
    """Return an image of the remembered colour with rectangles (left, top, width, height) brighter in one channel."""
    image = np.full((side, side, 3), GREY, np.uint8)
    for left, top, width, height in spots:
        image[top : top + height, left : left + width, 0] += by
    return image


def _mean_colours() -> onnx.ModelProto:
    nodes = [
        helper.make_node("AveragePool", ["images"], ["means"], kernel_shape=[STRIDE] * 2, strides=[STRIDE] * 2),
        helper.make_node("Transpose", ["means"], ["patches"], perm=[0, 2, 3, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("patches", TensorProto.FLOAT, ["n", CELLS, CELLS, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    return model
