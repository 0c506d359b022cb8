"""Images and labels as the network takes them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tasks.metrics.classification import Truths
from tasks.train.heads.model import Indices
from tasks.train.heads.targets import Targets, are_multi_label, as_truths


@dataclass(frozen=True, slots=True)
class Samples:
    """Framed images with one label each, or with any number of labels.

    Attributes:
        stored: M x S x S x 3, 8 bits, RGB; mapped from disk, so that a set larger than the memory can be learned.
        rows: place of each image in `stored`.
        targets: what is learned of each image.
        label_count: number of labels.
    """

    stored: NDArray[np.uint8]
    rows: Indices
    targets: Targets
    label_count: int

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def is_multi_label(self) -> bool:
        """Whether an image may have several labels, or none."""
        return are_multi_label(self.targets)

    @property
    def truths(self) -> Truths:
        """N x L; one true in each row where an image has one label."""
        return as_truths(self.targets, self.label_count)

    def image(self, place: int) -> Tensor:
        """Return one image as 3 x S x S, 8 bits."""
        return torch.from_numpy(np.ascontiguousarray(self.stored[self.rows[place]].transpose(2, 0, 1)))

    def pixels(self, first: int, end: int) -> NDArray[np.uint8]:
        """Return the images from `first` up to `end`, not included, as N x S x S x 3."""
        return self.stored[self.rows[first:end]]

    def take(self, places: Indices) -> "Samples":
        """Return some of the samples; their pixels stay where they are."""
        return Samples(self.stored, self.rows[places], self.targets[places], self.label_count)
