"""What a bundle holds of a trained network: one graph, images to calibrated probabilities."""

import torch
from torch import Tensor, nn

from tasks.train.classifier.network import ClassifierNetwork
from tasks.train.heads.calibration import EVEN_SHARE

OUTPUT_NAME = "probabilities"


class Graph(nn.Module):  # type: ignore[misc]  # torch is not followed
    """What is exported: the network, its probabilities, and their calibration (`tasks/train/heads/calibration.py`)."""

    def __init__(self, network: ClassifierNetwork, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature

    def forward(self, images: Tensor) -> Tensor:
        """Turn N x 3 x S x S into N x L probabilities."""
        shares = self.network.shares(self.network(images))
        if self.network.is_multi_label:
            # Of every label by itself there are two answers.
            return self._calibrated(torch.stack([1.0 - shares, shares], dim=-1))[..., 1]
        return self._calibrated(shares)

    def _calibrated(self, shares: Tensor) -> Tensor:
        even: Tensor = shares * (1.0 - EVEN_SHARE) + EVEN_SHARE / shares.shape[-1]
        probabilities: Tensor = (even.log() / self.temperature).softmax(dim=-1)
        return probabilities
