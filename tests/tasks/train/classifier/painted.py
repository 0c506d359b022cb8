"""Painted shapes as samples, and small networks to learn from them."""

import numpy as np
import torch

from tasks.bundle.preprocessing import standard_steps
from tasks.train.classifier.fit import Regularisation
from tasks.train.classifier.network import CNN, Architecture, build_network
from tasks.train.classifier.samples import Samples
from tests.makers import paint_marks, paint_shape

INPUT_SIZE = 32
SHAPES = ("square", "ring")
NORMALISE = standard_steps(INPUT_SIZE)[-1]
PLAIN = Regularisation(mixup=0.0, label_smoothing=0.0, layer_decay=0.5)


def paint_samples(counts: tuple[int, ...], seed: int = 0) -> Samples:
    """Paint so many images of each shape."""
    y = np.repeat(np.arange(len(counts)), counts)
    stored = np.stack([paint_shape(SHAPES[label], INPUT_SIZE, (seed, place)) for place, label in enumerate(y)])
    return Samples(stored, np.arange(len(y)), y, len(counts))


def paint_marked_samples(count: int, seed: int = 0) -> Samples:
    """Paint so many images that carry each of two shapes by chance, some neither, some both."""
    truths = np.random.default_rng(seed).random((count, len(SHAPES))) < (0.5, 0.3)
    marks = [[shape for shape, carries in zip(SHAPES, row, strict=True) if carries] for row in truths]
    stored = np.stack([paint_marks(shapes, INPUT_SIZE, (seed, place)) for place, shapes in enumerate(marks)])
    return Samples(stored, np.arange(count), truths, len(SHAPES))


def network(
    backbone: str = CNN,
    frozen: int | None = 0,
    *,
    is_pretrained: bool = False,
    labels: int = 2,
    is_multi_label: bool = False,
):
    """Return a network with random weights; torch's generator goes on from the seed."""
    torch.manual_seed(0)
    return build_network(Architecture(backbone, frozen, is_pretrained, labels, is_multi_label))
