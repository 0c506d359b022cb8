"""The memory of normal patches: as few as cover all others; and the distance to the nearest of them, as ONNX."""

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

PROJECTED_CHANNELS = 64
"""Distances between random projections differ by some per cent from the true ones (Johnson and Lindenstrauss)."""
MEMORY_OPSET = 17
MEMORY_IR_VERSION = 10

Patches = NDArray[np.float32]
"""P x C: a row of features for each of P patches."""


def choose_memory(candidates: Patches, size: int, seed: int) -> NDArray[np.intp]:
    """Return the places of at most `size` patches such that all others lie near one of them.

    Greedy k-centre in a random projection: the next patch is ever the one that is farthest from all chosen so far
    (Roth and others, section 3.2; Gonzalez, "Clustering to Minimize the Maximum Intercluster Distance", 1985).
    """
    if size >= len(candidates):
        return np.arange(len(candidates))
    rng = np.random.default_rng(seed)
    axes = rng.standard_normal((candidates.shape[1], PROJECTED_CHANNELS)).astype(np.float32)
    points = (candidates - candidates.mean(axis=0)) @ axes
    squares = np.einsum("pc,pc->p", points, points)
    chosen = np.empty(size, np.intp)
    chosen[0] = rng.integers(len(points))
    nearest = np.full(len(points), np.inf, np.float32)
    for place in range(1, size):
        last = chosen[place - 1]
        np.minimum(nearest, squares + squares[last] - 2.0 * (points @ points[last]), out=nearest)
        nearest[last] = -1.0  # however rounding falls, no patch is chosen twice
        chosen[place] = nearest.argmax()
    return chosen


def memory_to_onnx(memory: Patches) -> bytes:
    """Return an ONNX graph: P x C patches in, P distances to the nearest patch of a memory (M x C) out.

    |q - m|^2 is |q|^2 + |m|^2 - 2 qm, about the memory's own centre, where little is lost to rounding.
    """
    centre = memory.mean(axis=0)
    centred = memory - centre
    nodes = [
        helper.make_node("Sub", ["patches", "centre"], ["centred"]),
        helper.make_node("Gemm", ["centred", "memory", "memory_squares"], ["partial"], alpha=-2.0, transB=1),
        helper.make_node("ReduceMin", ["partial"], ["nearest"], axes=[1], keepdims=0),
        helper.make_node("ReduceSumSquare", ["centred"], ["squares"], axes=[1], keepdims=0),
        helper.make_node("Add", ["nearest", "squares"], ["squared_distances"]),
        helper.make_node("Relu", ["squared_distances"], ["positive"]),
        helper.make_node("Sqrt", ["positive"], ["distances"]),
    ]
    values = {"centre": centre, "memory": centred, "memory_squares": np.einsum("mc,mc->m", centred, centred)}
    graph = helper.make_graph(
        nodes,
        "memory",
        [helper.make_tensor_value_info("patches", TensorProto.FLOAT, ["p", memory.shape[1]])],
        [helper.make_tensor_value_info("distances", TensorProto.FLOAT, ["p"])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", MEMORY_OPSET)])
    model.ir_version = MEMORY_IR_VERSION
    return bytes(model.SerializeToString())
