"""Which images stand for a label: evenly chosen, from all splits."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.dataset.entries import SPLITS, ImageEntry, Split
from tasks.report.pictures import DEFAULT_MASK_OPTIONS, Place, choose_evenly
from tasks.vision.masks import MaskOptions
from tasks.vision.overlays import Rgb, label_colours


@dataclass(frozen=True, slots=True)
class Example:
    """An image to show, and the split it is in."""

    place: Place
    split: Split


@dataclass(frozen=True, slots=True)
class Sheet:
    """Examples of one label.

    Attributes:
        label: the label; empty for images that were looked at and have no boxes, or no label.
        examples: those to show, by reference.
        image_count: number of all images of this kind.
        box_count: number of boxes of this label in all of them.
    """

    label: str
    examples: tuple[Example, ...]
    image_count: int
    box_count: int

    @property
    def is_of_negatives(self) -> bool:
        """Whether it shows images without boxes and labels."""
        return not self.label


def choose_examples(
    entries: Mapping[Split, Sequence[ImageEntry]],
    roots: Mapping[Split, Path],
    labels: Sequence[str],
    examples_per_label: int,
    mask_options: MaskOptions = DEFAULT_MASK_OPTIONS,
) -> list[Sheet]:
    """Return a sheet for each label, and one of the images without boxes and labels if there are any."""
    found: dict[str, list[tuple[str, Split, ImageEntry]]] = defaultdict(list)
    boxes: dict[str, int] = defaultdict(int)
    for split in SPLITS:
        for entry in entries.get(split, ()):
            for label in entry.truth.labels or ([""] if entry.is_negative else []):
                found[label].append((entry.source_ref, split, entry))
            for box in entry.truth.boxes or ():
                boxes[box.label] += 1

    def place_of(split: Split, entry: ImageEntry) -> Place:
        return Place(roots[split], entry, mask_options)

    wanted = [*labels, *([""] if found[""] else [])]
    return [_sheet(label, found[label], boxes[label], place_of, examples_per_label) for label in wanted]


def colours_of(entries: Mapping[Split, Sequence[ImageEntry]], labels: Sequence[str]) -> dict[str, Rgb]:
    """Return the colour of each label, of those that only entries know too."""
    known = set(labels)
    for split in SPLITS:
        for entry in entries.get(split, ()):
            known.update(entry.truth.labels)
    return label_colours(known)


def _sheet(
    label: str,
    found: list[tuple[str, Split, ImageEntry]],
    box_count: int,
    place_of: Callable[[Split, ImageEntry], Place],
    examples_per_label: int,
) -> Sheet:
    ordered = sorted(found, key=lambda item: (item[0], SPLITS.index(item[1])))
    chosen = choose_evenly(ordered, examples_per_label)
    examples = tuple(Example(place_of(split, entry), split) for _, split, entry in chosen)
    return Sheet(label, examples, len(found), box_count)
