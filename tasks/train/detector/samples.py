"""Images and boxes as the network takes them: letterboxed once, kept on disk, read by the batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tasks.bundle.preprocessing import DetectorSteps, Edges, Placement
from tasks.dataset.entries import ImageEntry
from tasks.train.learning.pixels import frame_images
from tasks.vision.boxes import BoundingBox


@dataclass(frozen=True, slots=True)
class Samples:
    """Letterboxed images with their true boxes.

    Attributes:
        stored: M x S x S x 3, 8 bits, RGB; mapped from disk, so that a set larger than the memory can be learned.
        boxes: per image B x 4 (left, top, right, bottom in input pixels): the parts that a crop leaves.
        labels: per image B label columns.
        truths: per image its true boxes, in pixels of the image itself.
        image_sizes: per image its own width and height (pixels).
        rows: per image its place in `stored`; None when all are there in order.
    """

    stored: NDArray[np.uint8]
    boxes: tuple[Edges, ...]
    labels: tuple[NDArray[np.int64], ...]
    truths: tuple[tuple[BoundingBox, ...], ...]
    image_sizes: tuple[tuple[int, int], ...]
    rows: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def image(self, index: int) -> Tensor:
        """Return one image as 3 x S x S, 8 bits."""
        return torch.from_numpy(np.ascontiguousarray(self.stored[self._row(index)].transpose(2, 0, 1)))

    def pixels(self, first: int = 0, end: int | None = None) -> NDArray[np.uint8]:
        """Return the images from `first` up to `end`, not included, as N x S x S x 3."""
        return self.stored[[self._row(index) for index in range(*slice(first, end).indices(len(self)))]]

    def take(self, indices: Sequence[int]) -> "Samples":
        """Return some of the samples; their pixels stay where they are."""
        return Samples(
            self.stored,
            tuple(self.boxes[i] for i in indices),
            tuple(self.labels[i] for i in indices),
            tuple(self.truths[i] for i in indices),
            tuple(self.image_sizes[i] for i in indices),
            tuple(self._row(i) for i in indices),
        )

    def _row(self, index: int) -> int:
        return index if self.rows is None else self.rows[index]


def prepare_samples(
    path: Path,
    root: Path,
    entries: Sequence[ImageEntry],
    labels: Sequence[str],
    steps: DetectorSteps,
    report: Callable[[int, int], None],
) -> Samples:
    """Letterbox images into one file that is mapped into memory.

    Args:
        path: the `.npy` file to write.
        root: folder to which references are relative.
        entries: images whose boxes are known.
        labels: label names by column.
        steps: to the network's input.
        report: called with the images done and their number.

    Raises:
        SourceChanged: when a file's bytes are not those that were checked at ingest.
    """
    columns = {label: column for column, label in enumerate(labels)}
    input_size = steps[-2].size
    pixels = frame_images(path, root, entries, steps, (input_size, input_size), report)
    visible = [_visible_boxes(entry, steps, columns) for entry in entries]
    return Samples(
        pixels,
        tuple(edges for edges, _ in visible),
        tuple(box_labels for _, box_labels in visible),
        tuple(entry.truth.boxes or () for entry in entries),
        tuple((entry.width, entry.height) for entry in entries),
    )


def _visible_boxes(
    entry: ImageEntry, steps: DetectorSteps, columns: Mapping[str, int]
) -> tuple[Edges, NDArray[np.int64]]:
    """Return the parts of the true boxes that a crop leaves, in pixels of the input, and their label columns."""
    boxes = entry.truth.boxes or ()
    edges = np.array([[box.left, box.top, box.right, box.bottom] for box in boxes], np.float32).reshape(-1, 4)
    within = Placement.of(steps, entry.width, entry.height).to_input(edges)
    is_visible = (within[:, 2:] > within[:, :2]).all(axis=1)
    return within[is_visible], np.array([columns[box.label] for box in boxes], np.int64)[is_visible]
