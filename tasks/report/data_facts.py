"""The numbers of a data report: counted in one pass over the entries, then aggregated as arrays."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tasks.dataset.entries import SPLITS, ImageEntry, Split
from tasks.report.data_inputs import DataReportInputs
from tasks.report.pictures import Place

INPUT_PIXELS = 320
"""Longer side of an image as a detector sees it; sizes of boxes are told at this scale."""
SMALL_BOX_PIXELS = 32
"""Boxes of less area than a square of this side are small (the COCO evaluation's limit)."""
TINY_BOX_PIXELS = 8
"""Boxes whose shorter side is below it are hardly seen."""
HEAT_CELLS = 24
"""Per side of the map of box positions."""
BOXES_PER_IMAGE_STEPS = (0, 1, 2, 3, 4, 5, 10, 20, 50)
ASPECT_STEPS = (0.0, 0.5, 0.75, 0.95, 1.05, 4 / 3 + 0.01, 2.0)
"""Width to height; within 5 % an image is square."""
ASPECT_NAMES = (
    "taller than 1:2",
    "1:2 to 3:4",
    "3:4 to square",
    "square",
    "square to 4:3",
    "4:3 to 2:1",
    "2:1 or wider",
)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BoxTable:
    """All boxes as columns, one value for each of N boxes.

    Attributes:
        images: place of the box's image in `DataFacts.places`.
        left: fraction of the image's width, 0 to 1.
        top: fraction of the image's height, 0 to 1.
        right: likewise, half-open.
        bottom: likewise, half-open.
        width: pixels, once the image's longer side has `INPUT_PIXELS`.
        height: likewise.
    """

    images: NDArray[np.int64]
    left: Floats
    top: Floats
    right: Floats
    bottom: Floats
    width: Floats
    height: Floats

    def __len__(self) -> int:
        return len(self.images)

    @property
    def is_small(self) -> NDArray[np.bool_]:
        """Whether the area is below `SMALL_BOX_PIXELS` squared."""
        return self.width * self.height < SMALL_BOX_PIXELS**2

    @property
    def is_tiny(self) -> NDArray[np.bool_]:
        """Whether the shorter side is below `TINY_BOX_PIXELS`."""
        return np.minimum(self.width, self.height) < TINY_BOX_PIXELS


class DataFacts:
    """What sections and rules need, each computed once."""

    def __init__(self, inputs: DataReportInputs) -> None:
        self.inputs = inputs
        self.places = [
            Place(inputs.roots[split], entry, inputs.mask_options)
            for split in SPLITS
            for entry in inputs.entries.get(split, ())
        ]
        self.images = Counter((split, label) for split, entry in self._entries() for label in entry.truth.labels)
        self.boxes = Counter((split, box.label) for split, entry in self._entries() for box in entry.truth.boxes or ())

    def _entries(self) -> Iterator[tuple[Split, ImageEntry]]:
        return ((split, entry) for split in SPLITS for entry in self.inputs.entries.get(split, ()))

    @cached_property
    def images_by_split(self) -> dict[Split, int]:
        """Number of images per split."""
        return {split: len(self.inputs.entries.get(split, ())) for split in SPLITS}

    @cached_property
    def images_by_label(self) -> dict[str, int]:
        """Number of images per label, over all splits."""
        return {label: sum(self.images[split, label] for split in SPLITS) for label in self.inputs.labels}

    @cached_property
    def boxes_by_label(self) -> dict[str, int]:
        """Number of boxes per label, over all splits."""
        return {label: sum(self.boxes[split, label] for split in SPLITS) for label in self.inputs.labels}

    @cached_property
    def true_negatives(self) -> int:
        """Number of images that were looked at and have no boxes, or where there may be any number of labels, none."""
        if self.inputs.is_multi_label:
            return sum(not place.entry.truth.labels for place in self.places)
        return sum(place.entry.truth.boxes == () for place in self.places)

    @cached_property
    def unlabelled(self) -> list[Place]:
        """Images of which nothing is said: no label, and nobody looked for boxes."""
        if self.inputs.is_multi_label:
            return []
        return [p for p in self.places if not p.entry.truth.labels and p.entry.truth.boxes is None]

    @cached_property
    def without_boxes(self) -> list[Place]:
        """Images with labels, in which nobody looked for boxes."""
        return [p for p in self.places if p.entry.truth.labels and p.entry.truth.boxes is None]

    @cached_property
    def box_table(self) -> BoxTable:
        """All boxes; those of an image of unknown size are left out."""
        rows = [
            (place, box.left, box.top, box.right, box.bottom, entry.width, entry.height)
            for place, entry in enumerate(one.entry for one in self.places)
            if entry.width > 0 and entry.height > 0
            for box in entry.truth.boxes or ()
        ]
        table = np.array(rows, np.float64).reshape(-1, 7).T
        images, left, top, right, bottom, width, height = table
        scale = INPUT_PIXELS / np.maximum(width, height)
        return BoxTable(
            images.astype(np.int64),
            np.clip(left / width, 0, 1),
            np.clip(top / height, 0, 1),
            np.clip(right / width, 0, 1),
            np.clip(bottom / height, 0, 1),
            (right - left) * scale,
            (bottom - top) * scale,
        )

    @cached_property
    def coverage(self) -> Floats:
        """`HEAT_CELLS` x `HEAT_CELLS` (rows first): the share of boxes, 0 to 1, that reach into each cell."""
        return coverage(self.box_table, HEAT_CELLS)

    @cached_property
    def boxes_per_image(self) -> list[tuple[str, int]]:
        """Number of images by their number of boxes, up to the most; images in which nobody looked do not count."""
        counts = [len(place.entry.truth.boxes) for place in self.places if place.entry.truth.boxes is not None]
        places = np.digitize(np.array(counts, np.int64), BOXES_PER_IMAGE_STEPS) - 1
        return list(zip(_step_names(BOXES_PER_IMAGE_STEPS), np.bincount(places).tolist(), strict=False))

    @cached_property
    def image_sizes(self) -> list[tuple[tuple[int, int], int]]:
        """Width and height (pixels) with the number of images, the most frequent first."""
        sizes = Counter((place.entry.width, place.entry.height) for place in self.places)
        return sorted(sizes.items(), key=lambda item: (-item[1], item[0]))

    @cached_property
    def aspects(self) -> list[tuple[str, int]]:
        """Number of images by width to height."""
        ratios = [p.entry.width / p.entry.height for p in self.places if p.entry.height > 0]
        places = np.digitize(np.array(ratios, np.float64), ASPECT_STEPS) - 1
        return list(zip(ASPECT_NAMES, np.bincount(places, minlength=len(ASPECT_NAMES)).tolist(), strict=True))

    @cached_property
    def tiny_box_places(self) -> list[Place]:
        """Images with boxes below `TINY_BOX_PIXELS`, the smallest first."""
        table = self.box_table
        tiny = np.flatnonzero(table.is_tiny)
        order = tiny[np.argsort(np.minimum(table.width, table.height)[tiny], kind="stable")]
        return [self.places[image] for image in dict.fromkeys(table.images[order].tolist())]


def coverage(table: BoxTable, cells: int) -> Floats:
    """Return the share of boxes (0 to 1) that reach into each of cells x cells, rows first."""
    # Each box adds 1 to a rectangle of cells: its corners are marked, and two running sums fill it.
    left, top = (np.clip((edge * cells).astype(np.int64), 0, cells - 1) for edge in (table.left, table.top))
    right, bottom = (np.clip(np.ceil(edge * cells).astype(np.int64), 1, cells) for edge in (table.right, table.bottom))
    marks = np.zeros((cells + 1, cells + 1), np.int64)
    for row, column, sign in ((top, left, 1), (top, right, -1), (bottom, left, -1), (bottom, right, 1)):
        np.add.at(marks, (row, column), sign)
    covered = marks.cumsum(axis=0).cumsum(axis=1)[:cells, :cells]
    shares: Floats = covered / max(1, len(table))
    return shares


def _step_names(steps: Sequence[int]) -> list[str]:
    ends = [*steps[1:], None]
    return [
        f"{start}+" if end is None else str(start) if end == start + 1 else f"{start} to {end - 1}"
        for start, end in zip(steps, ends, strict=True)
    ]
