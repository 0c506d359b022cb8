"""Images and labels as the network takes them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tasks.metrics.classification import Truths
from tasks.train.heads.model import Indices
from tasks.train.heads.thresholds import one_label_each


@dataclass(frozen=True, slots=True)
class Samples:
    """Framed images with one label each.

    Attributes:
        stored: M x S x S x 3, 8 bits, RGB; mapped from disk, so that a set larger than the memory can be learned.
        rows: place of each image in `stored`.
        y: label index of each image.
        label_count: number of labels.
    """

    stored: NDArray[np.uint8]
    rows: Indices
    y: Indices
    label_count: int

    def __len__(self) -> int:
        return len(self.y)

    @property
    def truths(self) -> Truths:
        """N x L, one true in each row."""
        return one_label_each(self.y, self.label_count)

    def image(self, place: int) -> Tensor:
        """Return one image as 3 x S x S, 8 bits."""
        return torch.from_numpy(np.ascontiguousarray(self.stored[self.rows[place]].transpose(2, 0, 1)))

    def pixels(self, first: int, end: int) -> NDArray[np.uint8]:
        """Return the images from `first` up to `end`, not included, as N x S x S x 3."""
        return self.stored[self.rows[first:end]]

    def take(self, places: Indices) -> "Samples":
        """Return some of the samples; their pixels stay where they are."""
        return Samples(self.stored, self.rows[places], self.y[places], self.label_count)
