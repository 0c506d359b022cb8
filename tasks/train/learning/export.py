"""From a network to ONNX: one input `images`, any number of them at a time."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn


def probe_images(input_size: int) -> Tensor:
    """Return two images, 2 x 3 x S x S, with values as normalised ones have; the same at each call."""
    return torch.rand((2, 3, input_size, input_size), generator=torch.Generator().manual_seed(0)) * 4 - 2


def export_onnx(module: nn.Module, path: Path, input_size: int, output_names: Sequence[str] | None = None) -> None:
    """Write the graph of a module whose `forward` takes `images` (N x 3 x S x S); equal networks give equal bytes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (probe_images(input_size),),
            path,
            input_names=["images"],
            output_names=list(output_names) if output_names else None,
            dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}},
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    _drop_traces(path)


def _drop_traces(path: Path) -> None:
    """Remove what tells of the exporting process."""
    model = onnx.load(path)
    for part in (model.graph, *model.graph.node, *model.graph.value_info):
        del part.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
    onnx.save(model, path)
