"""What a source says of one image, before anything is checked against the image itself."""

from dataclasses import dataclass, field
from typing import Literal

from tasks.dataset.entries import Split
from tasks.dataset.findings import Finding
from tasks.ground_truth.limits import MAX_LABEL_CHARACTERS as MAX_LABEL_CHARACTERS
from tasks.vision.masks import MaskClass

SPLIT_BY_NAME: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""The words by which folders and files name splits, lower case."""
ANNOTATION_SUFFIXES = (".manifest", ".jsonl", ".json", ".yaml", ".yml", ".csv")
"""How the names of annotation files end that can be named as a source, lower case."""


@dataclass(frozen=True, slots=True)
class StatedBox:
    """A box as a source states it: perhaps with fractions of a pixel, perhaps off its image.

    Attributes:
        label: its class.
        left: of the left edge, in pixels from the image's left edge; in image widths when `is_relative`.
        top: likewise, in image heights when `is_relative`.
        width: half-open, so right edge minus left edge.
        height: likewise.
        is_relative: coordinates are fractions of the image's sides, as YOLO states them.
        confidence: 0 to 1.
    """

    label: str
    left: float
    top: float
    width: float
    height: float
    is_relative: bool = False
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """An image file that a source names, with what it says of it.

    Attributes:
        source_ref: path relative to the source's root, with forward slashes.
        labels: image-level labels, sorted, each once.
        boxes: None when the source says nothing of boxes; empty when it says there are none.
        given_split: the split that the source itself names; empty without one.
        group: images of one group never part; empty when the source names none.
        mask_ref: the mask's path relative to the root; empty without one.
        mask_classes: which pixels of the mask are of which class.
        stated_width: of the image (pixels); 0 when the source does not say.
        stated_height: likewise.
        confidences: 0 to 1, one for each of `labels`; empty means 1 each.
        creation_date: of the annotation, as ISO 8601 UTC without zone; empty when the source does not say.
        job_name: the labelling job; empty when the source does not say.
        is_human: drawn or confirmed by a person.
        stated_ref: the reference as a manifest states it; empty when no manifest does.
        is_negative: the source lists no label for it, rather than saying nothing of labels.
    """

    source_ref: str
    labels: tuple[str, ...] = ()
    boxes: tuple[StatedBox, ...] | None = None
    given_split: Split | Literal[""] = ""
    group: str = ""
    mask_ref: str = ""
    mask_classes: tuple[MaskClass, ...] = ()
    stated_width: int = 0
    stated_height: int = 0
    confidences: tuple[float, ...] = ()
    creation_date: str = ""
    job_name: str = ""
    is_human: bool = True
    stated_ref: str = ""
    is_negative: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader makes of annotation files: images to check, and findings for what it could not use."""

    images: tuple[AnnotatedImage, ...]
    findings: tuple[Finding, ...] = field(default=())
