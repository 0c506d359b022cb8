"""The stages that keep their weights, run by ONNX Runtime: about six times as fast as torch on a CPU (measured).

In torch a detector's take more than a third of a training step: their maps are the largest, and each is passed over
often.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from tasks.bundle.predictor import OnnxNetwork
from tasks.errors import TrainingError
from tasks.train.learning.export import export_onnx, probe_images

MAX_DIFFERENCE = 1e-3
"""Of features that reach 72 at 320 pixels; measured 7e-5."""

Frozen = Callable[[Tensor], list[Tensor]]
"""Turns images (N x 3 x S x S) into what the frozen stages make of them."""


class Staged(Protocol):
    """A module whose first stages keep their weights."""

    frozen_stages: int

    def frozen(self, images: Tensor) -> list[Tensor]:
        """Run them."""


class _Stages(nn.Module):  # type: ignore[misc]  # torch is not followed
    def __init__(self, owner: Staged) -> None:
        super().__init__()
        self.owner = owner

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.owner.frozen(images))


def export_frozen(owner: Staged, input_size: int, path: Path, device: str) -> Frozen | None:
    """Export frozen stages; None when there are none, or another device than a CPU runs them better.

    Args:
        owner: of the stages, with the weights that they keep.
        input_size: side of the square input (pixels).
        path: ONNX file to write.
        device: torch's name of the device that learns.

    Returns:
        What gives the same as `owner.frozen`, faster.

    Raises:
        TrainingError: when the exported stages differ from torch's.
    """
    if not owner.frozen_stages or device != "cpu":
        return None
    export_onnx(_Stages(owner), path, input_size)
    stages = OnnxNetwork(path.read_bytes(), threads=torch.get_num_threads())

    def run(images: Tensor) -> list[Tensor]:
        outputs = stages.run_all(images.contiguous().numpy()).values()
        return [_as_torch_likes_it(torch.from_numpy(values)) for values in outputs]

    probe = probe_images(input_size)
    with torch.no_grad():
        expected = owner.frozen(probe)
    difference = max(float((a - b).abs().max()) for a, b in zip(run(probe), expected, strict=True))
    if not difference <= MAX_DIFFERENCE:
        raise TrainingError(
            f"the exported frozen stages differ from the network's by {difference:.2g}; export them anew"
        )
    return run


def _as_torch_likes_it(values: Tensor) -> Tensor:
    return values.contiguous(memory_format=torch.channels_last) if values.dim() == 4 else values
