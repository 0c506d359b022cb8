"""The bundle of a network: its graph, and the tensors that learning can go on from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from tasks.bundle.format import ModelCard, Network, Role, WeightsFile, file_sha256, write_model_card
from tasks.train.learning.export import export_onnx
from tasks.train.learning.weights import save_weights

WEIGHTS_FILE = "weights.safetensors"


def write_network_bundle(
    folder: Path,
    network: nn.Module,
    graph: nn.Module,
    *,
    role: Role,
    input_size: int,
    output_names: Sequence[str],
    **card: Any,  # noqa: ANN401 - checked by the model card
) -> str:
    """Write a bundle into an empty folder; returns its digest.

    Args:
        folder: where to write.
        network: whose tensors are kept.
        graph: what is exported of it.
        role: of the graph in the bundle.
        input_size: side of the square input (pixels).
        output_names: of the graph, in order.
        card: what else the model card holds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = f"{role}.onnx"
    export_onnx(graph, folder / file, input_size, output_names)
    save_weights(network, folder / WEIGHTS_FILE)
    made = ModelCard(
        networks={role: Network(file=file, sha256=file_sha256(folder / file))},
        weights=WeightsFile(sha256=file_sha256(folder / WEIGHTS_FILE)),
        **card,
    )
    return write_model_card(folder, made)
