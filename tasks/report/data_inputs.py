"""All that a data report shows, gathered: the data report reads nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tasks.dataset.entries import ImageEntry, Split
from tasks.dataset.findings import Finding
from tasks.report.inputs import Task
from tasks.report.pictures import DEFAULT_MASK_OPTIONS
from tasks.vision.masks import MaskOptions


@dataclass(frozen=True, slots=True)
class DataReportInputs:
    """One version of a dataset, as its data report needs it.

    Attributes:
        dataset_name: of the dataset.
        digest: of this version.
        parent_digest: of the version before; empty for the first.
        task: what the images are labelled for.
        labels: all labels, sorted.
        entries: the images of each split.
        roots: per split, the folder to which references are relative.
        findings: what was found wrong or doubtful.
        listed: number of images the source lists.
        usable: number of those that can be used.
        invalid: number of those left out as errors.
        layout: what kind of source it is, such as `class folders` or `coco`.
        validation_mode: `aws` accepts what Custom Labels accepts, `open` more.
        group_count: number of groups of images that are never parted.
        largest_groups: references of the images of the largest groups, largest first.
        provenance: what this version was made from (name to value), in the order to show.
        mask_options: how masks are read.
        summary: the manifest summary, where one was written.
        is_multi_label: whether an image may have several labels, or none.
    """

    dataset_name: str
    digest: str
    parent_digest: str
    task: Task
    labels: Sequence[str]
    entries: Mapping[Split, Sequence[ImageEntry]]
    roots: Mapping[Split, Path]
    findings: Sequence[Finding]
    listed: int
    usable: int
    invalid: int
    layout: str
    validation_mode: Literal["open", "aws"]
    group_count: int
    largest_groups: Sequence[Sequence[str]]
    provenance: Mapping[str, str]
    mask_options: MaskOptions = DEFAULT_MASK_OPTIONS
    summary: Mapping[str, Any] | None = None
    is_multi_label: bool = False
