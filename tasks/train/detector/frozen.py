"""The stages that keep their weights, run by ONNX Runtime: about six times as fast as torch on a CPU (measured).

In torch they take more than a third of a training step: their maps are the largest, and each is passed over often.
"""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS

from tasks.bundle.predictor import OnnxNetwork
from tasks.errors import TrainingError
from tasks.train.detector.network import Frozen

MAX_DIFFERENCE = 1e-3
"""Of features that reach 72 at 320 pixels; measured 7e-5."""


class _Stages(nn.Module):  # type: ignore[misc]  # torch is not followed
    def __init__(self, network: FCOS) -> None:
        super().__init__()
        self.backbone = network.backbone

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.backbone.frozen(images))


def export_frozen(network: FCOS, input_size: int, path: Path, device: str) -> Frozen | None:
    """Export a network's frozen stages; None when there are none, or another device than a CPU runs them better.

    Args:
        network: any network with these stages' weights.
        input_size: side of the square input (pixels).
        path: ONNX file to write.
        device: torch's name of the device that learns.

    Raises:
        TrainingError: when the exported stages differ from torch's.
    """
    if not network.backbone.frozen_stages or device != "cpu":
        return None
    probe = torch.rand((2, 3, input_size, input_size), generator=torch.Generator().manual_seed(0)) * 4 - 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Stages(network).eval(),
            (probe,),
            path,
            input_names=["images"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}},
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    stages = OnnxNetwork(path.read_bytes(), threads=torch.get_num_threads())

    def run(images: Tensor) -> list[Tensor]:
        outputs = stages.run_all(images.contiguous().numpy()).values()
        return [torch.from_numpy(values).contiguous(memory_format=torch.channels_last) for values in outputs]

    expected = network.backbone.eval().frozen(probe)
    difference = max(float((a - b).abs().max()) for a, b in zip(run(probe), expected, strict=True))
    if not difference <= MAX_DIFFERENCE:
        raise TrainingError(
            f"the exported frozen stages differ from the network's by {difference:.2g}; export them anew"
        )
    return run
