"""ONNX graphs of heads: converted from scikit-learn, written out, joined.

Every graph takes N x F floats named `features`; its last output, `probabilities`, is N x L floats.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import compose, helper, numpy_helper, parser

OPSET = 17
IR_VERSION = 8
"""The one that belongs to the opset."""

Constants = Mapping[str, ArrayLike]


def converted(estimator: Any, width: int) -> onnx.ModelProto:  # noqa: ANN401 - scikit-learn has no types
    """Convert a fitted classifier of scikit-learn that takes `width` features."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    return to_onnx(
        estimator,
        initial_types=[("features", FloatTensorType([None, width]))],
        options={"zipmap": False},
        target_opset=OPSET,
    )


def written(nodes: str, width: int, labels: int, constants: Constants) -> onnx.ModelProto:
    """Return a graph in ONNX's own notation (https://onnx.ai/onnx/repo-docs/Syntax.html).

    Args:
        nodes: statements from `features` to `probabilities`.
        width: number of features.
        labels: number of labels.
        constants: arrays by the names that the nodes give them.
    """
    return _model(_graph(nodes, width, labels, constants), {"": OPSET})


def joined(models: Sequence[onnx.ModelProto], nodes: str, labels: int, constants: Constants) -> onnx.ModelProto:
    """Return a graph that runs others on the same features, and goes on from their probabilities.

    Args:
        models: at least one graph; all take the same features.
        nodes: statements from `part0_probabilities`, `part1_probabilities` and so on to `probabilities`.
        labels: number of labels.
        constants: arrays by the names that the nodes give them.
    """
    parts = [compose.add_prefix(model, f"part{place}_", rename_inputs=False) for place, model in enumerate(models)]
    width = models[0].graph.input[0].type.tensor_type.shape.dim[1].dim_value
    graph = _graph(nodes, width, labels, constants)
    graph.initializer.extend(one for part in parts for one in part.graph.initializer)
    own = list(graph.node)
    del graph.node[:]
    graph.node.extend([*(node for part in parts for node in part.graph.node), *own])
    return _model(graph, {one.domain: one.version for model in models for one in model.opset_import})


def _graph(nodes: str, width: int, labels: int, constants: Constants) -> onnx.GraphProto:
    graph = parser.parse_graph(f"head (float[n, {width}] features) => (float[n, {labels}] probabilities) {{ {nodes} }}")
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    return graph


def _model(graph: onnx.GraphProto, opsets: Mapping[str, int]) -> onnx.ModelProto:
    imports = [helper.make_opsetid(domain, version) for domain, version in sorted(opsets.items())]
    return helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION)
