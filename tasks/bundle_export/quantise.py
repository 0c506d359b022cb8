"""A bundle with 8-bit networks: the same format, about a quarter of the size, a new digest.

Static quantisation as ONNX Runtime does it: 8-bit activations without sign whose ranges come from sample images, 8-bit
weights with one scale per output channel, both told by QuantizeLinear and DequantizeLinear nodes.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

from tasks.bundle.format import Network, Role, bundle_digest, file_sha256, read_model_card, write_model_card
from tasks.bundle.predictor import OnnxNetwork
from tasks.errors import RequestError
from tasks.features.vocabulary import VOCABULARY_FILE

QUANTISED_ROLES: frozenset[Role] = frozenset({"backbone", "network", "detector"})
"""A classifier's head is small, and its probabilities are what is told: it stays as it is."""
QUANTISED_OPERATORS = ("Conv", "Clip", "Relu", "Add", "MaxPool", "Resize")
FLOAT_CONVOLUTIONS = 3
"""Convolutions, from the image on, that stay in single precision. Measured on the demo's classifier, relative error of
the features: all in 8 bits 0.104, three in floats 0.066, twelve 0.057 at half the speed."""

Inputs = Iterable[NDArray[np.float32]]
"""Batches as the network takes them."""


class _Samples(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime is not followed
    def __init__(self, name: str, inputs: Inputs) -> None:
        self._name = name
        self._inputs: Iterator[NDArray[np.float32]] = iter(inputs)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        batch = next(self._inputs, None)
        return None if batch is None else {self._name: batch}


def quantise_bundle(bundle: Path, folder: Path, samples: Callable[[], Inputs], sample_count: int) -> str:
    """Write a bundle with 8-bit networks into an empty folder; returns its digest.

    Equal bundles and equal samples give equal bytes, on the same machine with the same libraries.

    Args:
        bundle: the float bundle's folder, verified.
        folder: where to write.
        samples: gives the inputs of the network, the same at each call; they are not all held in memory.
        sample_count: told in the provenance.

    Raises:
        RequestError: when the bundle has no network that could be made smaller.
    """
    card = read_model_card(bundle)
    if not QUANTISED_ROLES & set(card.networks):
        raise RequestError(
            "the model sees engineered features only and has no network whose numbers could take 8 bits; choose "
            "--format onnx"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if card.features and card.features.vocabulary:
        shutil.copyfile(bundle / VOCABULARY_FILE, folder / VOCABULARY_FILE)
    for role, network in card.networks.items():
        source, target = bundle / network.file, folder / network.file
        if role not in QUANTISED_ROLES:
            shutil.copyfile(source, target)
            continue
        quantise_network(source, target, samples())
        if role == "backbone":
            correct_bias(source, target, samples())
    provenance = {
        "quantised": "int8",
        "quantised_from": bundle_digest(bundle),
        "calibration_images": sample_count,
        "quantised_with": f"onnxruntime {onnxruntime.__version__}",
    }
    networks = {
        role: Network(file=network.file, sha256=file_sha256(folder / network.file))
        for role, network in card.networks.items()
    }
    # No training goes on from 8-bit numbers: the weights stay with the registered bundle.
    changes = {"networks": networks, "weights": None, "provenance": {**card.provenance, **provenance}}
    return write_model_card(folder, card.model_copy(update=changes))


def quantise_network(source: Path, target: Path, inputs: Inputs) -> None:
    """Write a graph with 8-bit operators; the first `FLOAT_CONVOLUTIONS` stay as they are."""
    model = onnx.load(source)
    # Exported graphs have their batch normalisations folded already; without the mark ONNX Runtime asks for it.
    add_pre_process_metadata(model)
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    quantize_static(
        model,
        target,
        _Samples(model.graph.input[0].name, inputs),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(QUANTISED_OPERATORS),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=convolutions[:FLOAT_CONVOLUTIONS],
    )


def correct_bias(source: Path, quantised: Path, inputs: Inputs) -> None:
    """Add to the features of a quantised backbone what they lack in the mean over the inputs; rewrites its file.

    Bias correction after Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV
    2019, at the last layer only. Measured on the demo's classifier, relative error of the features: 0.066 without,
    0.047 with it.
    """
    float_network, network = OnnxNetwork(source.read_bytes()), OnnxNetwork(quantised.read_bytes())
    gaps = [(float_network.run(batch) - network.run(batch)).mean(axis=0) for batch in inputs]
    model = onnx.load(quantised)
    name = model.graph.output[-1].name
    for node in model.graph.node:
        node.output[:] = [f"{name}_raw" if output == name else output for output in node.output]
    model.graph.initializer.append(numpy_helper.from_array(np.mean(gaps, axis=0, dtype=np.float32), f"{name}_lacking"))
    model.graph.node.append(helper.make_node("Add", [f"{name}_raw", f"{name}_lacking"], [name], "correct_bias"))
    onnx.save(model, quantised)
