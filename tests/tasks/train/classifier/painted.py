"""Painted shapes as samples, and small networks to learn from them."""

import numpy as np
import torch

from tasks.bundle.preprocessing import standard_steps
from tasks.train.classifier.fit import Regularisation
from tasks.train.classifier.network import CNN, Architecture, build_network
from tasks.train.classifier.samples import Samples
from tests.makers import paint_shape

INPUT_SIZE = 32
SHAPES = ("square", "ring")
NORMALISE = standard_steps(INPUT_SIZE)[-1]
PLAIN = Regularisation(mixup=0.0, label_smoothing=0.0, layer_decay=0.5)


def paint_samples(counts: tuple[int, ...], seed: int = 0) -> Samples:
    """Paint so many images of each shape."""
    y = np.repeat(np.arange(len(counts)), counts)
    stored = np.stack([paint_shape(SHAPES[label], INPUT_SIZE, (seed, place)) for place, label in enumerate(y)])
    return Samples(stored, np.arange(len(y)), y, len(counts))


def network(
    backbone: str = CNN, frozen: int | None = 0, *, is_pretrained: bool = False, labels: int = 2, seed: int = 0
):
    """Return a network with random weights; torch's generator goes on from the seed."""
    torch.manual_seed(0)
    return build_network(Architecture(backbone, frozen, is_pretrained, labels))
