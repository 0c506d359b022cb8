"""Patches are the backbone's own maps, averaged over their neighbours, side by side."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from tasks.bundle.predictor import OnnxNetwork
from tasks.errors import TrainingError
from tasks.train.anomaly.patch_network import MAP_CHANNELS, PATCH_CHANNELS, STRIDE, patch_network
from tests.tasks.conftest import INPUT_SIZE

CELLS = INPUT_SIZE // STRIDE


def images(count: int) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(count, 3, INPUT_SIZE, INPUT_SIZE)).astype(np.float32)


def test_patches_are_means_of_the_backbones_maps(backbone: Path) -> None:
    batch = images(2)
    patches = OnnxNetwork(patch_network(backbone)).run(batch)
    assert patches.shape == (2, CELLS, CELLS, PATCH_CHANNELS)
    fine, coarse = maps_of(backbone, batch)
    assert (fine.shape[1:], coarse.shape[1:]) == ((112, CELLS, CELLS), (320, CELLS // 2, CELLS // 2))
    inner = fine[:, :, 0:3, 1:4].mean(axis=(2, 3))
    np.testing.assert_allclose(patches[:, 1, 2, : MAP_CHANNELS[0]], inner, rtol=1e-4, atol=1e-4)
    corner = fine[:, :, :2, :2].mean(axis=(2, 3))
    np.testing.assert_allclose(patches[:, 0, 0, : MAP_CHANNELS[0]], corner, rtol=1e-4, atol=1e-4)
    # The coarse map has 2 x 2 places: the mean around each is that of all, and so is what lies between.
    everywhere = np.broadcast_to(coarse.mean(axis=(2, 3))[:, None, None], (2, CELLS, CELLS, MAP_CHANNELS[1]))
    np.testing.assert_allclose(patches[..., MAP_CHANNELS[0] :], everywhere, rtol=1e-4, atol=1e-4)


def maps_of(backbone: Path, batch: np.ndarray) -> list[np.ndarray]:
    """Run the whole backbone and look at the two maps, of which it also gives the largest values."""
    model = onnx.load(backbone)
    names = [node.input[0] for node in model.graph.node if node.op_type == "ReduceMax"]
    model.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    return list(OnnxNetwork(model.SerializeToString()).run_all(batch).values())[-2:]


def test_patches_do_not_depend_on_the_batch_or_the_run(backbone: Path) -> None:
    assert patch_network(backbone) == patch_network(backbone)
    network, batch = OnnxNetwork(patch_network(backbone)), images(3)
    alone = np.concatenate([network.run(one[None]) for one in batch])
    np.testing.assert_allclose(network.run(batch), alone, atol=1e-4)


def test_backbone_without_the_maps_is_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "none",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n"])],
    )
    onnx.save(helper.make_model(graph), tmp_path / "other.onnx")
    with pytest.raises(TrainingError, match="112 channels"):
        patch_network(tmp_path / "other.onnx")
