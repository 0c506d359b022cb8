"""A classifier made by hand, one network, that looks at one part of an image: how red is it there?"""

from pathlib import Path

import numpy as np
import onnx

from tasks.bundle.format import ModelCard, Network, file_sha256, write_model_card
from tasks.bundle.preprocessing import Steps

LABELS = ("red", "not")
_NETWORK = """
<ir_version: 8, opset_import: ["" : 18]>
looking (float[N, 3, S, S] images) => (float[N, 2] confidences)
{
    seen = Mul (images, weights)
    axes = Constant <value_ints = [1, 2, 3]> ()
    red = ReduceSum <keepdims = 0> (seen, axes)
    column = Constant <value_ints = [1]> ()
    one = Unsqueeze (red, column)
    other = Neg (one)
    both = Concat <axis = 1> (one, other)
    confidences = Softmax <axis = 1> (both)
}
"""


def write_looking_model(folder: Path, steps: Steps, part: tuple[slice, slice]) -> Path:
    """Write the bundle into a folder that is not there yet; `part` is of rows and columns of the input."""
    folder.mkdir(parents=True)
    size = steps[-2].width
    weights = np.zeros((1, 3, size, size), np.float32)
    weights[(0, 0, *part)] = 1.0
    weights /= weights.sum()
    network = onnx.parser.parse_model(_NETWORK)
    network.graph.initializer.append(onnx.numpy_helper.from_array(weights, "weights"))
    (folder / "network.onnx").write_bytes(network.SerializeToString())
    card = ModelCard(
        task="classification",
        labels=LABELS,
        thresholds=dict.fromkeys(LABELS, 0.5),
        steps=steps,
        networks={"network": Network(file="network.onnx", sha256=file_sha256(folder / "network.onnx"))},
        dataset_digest="d" * 64,
        provenance={},
    )
    write_model_card(folder, card)
    return folder
