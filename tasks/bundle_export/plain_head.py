"""A classifier's head in ONNX's plain operators: OpenVINO does not know those of classical machine learning.

Heads consist of plain operators already, but for forests, which have no other, and for those of older bundles: a scaler
and a logistic regression as skl2onnx writes them, which are Scaler, LinearClassifier, and with more than two labels a
Normalizer. See the operators' definitions at https://onnx.ai/onnx/operators/ under ai.onnx.ml.
"""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tasks.errors import BundleError

HEAD_OPERATORS = ("Scaler", "LinearClassifier", "Normalizer")
OPSET = 17
IR_VERSION = 10


def plain_head(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph with one output, `probabilities`, equal to the last output of a head.

    Raises:
        BundleError: when the head is made of anything else.
    """
    if not any(node.domain for node in model.graph.node):
        return model
    operators = tuple(node.op_type for node in model.graph.node)
    if operators not in (HEAD_OPERATORS, HEAD_OPERATORS[:2]):
        raise BundleError("the head is made of trees, which OpenVINO does not know; choose --format onnx")
    scaler, classifier = (_attributes(node) for node in model.graph.node[:2])
    labels = len(classifier["intercepts"])
    activation = "Sigmoid" if labels == 2 else "Softmax"
    if classifier["post_transform"] != {"Sigmoid": b"LOGISTIC", "Softmax": b"SOFTMAX"}[activation]:
        raise BundleError(f"the head makes probabilities of {labels} labels in an unknown way; choose --format onnx")
    values = {
        "offset": np.array(scaler["offset"], np.float32),
        "scale": np.array(scaler["scale"], np.float32),
        "coefficients": np.array(classifier["coefficients"], np.float32).reshape(labels, -1),
        "intercepts": np.array(classifier["intercepts"], np.float32),
    }
    # A softmax sums to 1, and so do the sigmoids of a number and its negative: nothing is left for a normaliser.
    nodes = [
        helper.make_node("Sub", ["features", "offset"], ["centred"]),
        helper.make_node("Mul", ["centred", "scale"], ["scaled"]),
        helper.make_node("Gemm", ["scaled", "coefficients", "intercepts"], ["logits"], transB=1),
        helper.make_node(activation, ["logits"], ["probabilities"]),
    ]
    width = values["coefficients"].shape[1]
    graph = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", labels])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    plain = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    plain.ir_version = IR_VERSION
    return plain


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {one.name: helper.get_attribute_value(one) for one in node.attribute}
