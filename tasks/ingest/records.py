"""What ingest tells the stages after it."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import orjson

from tasks.stores.content import StageRecord

IMAGES_FILE = "images.jsonl"
TEST_IMAGES_FILE = "test_images.jsonl"
THUMBNAILS_FILE = "thumbnails.npy"
"""Thumbnails of `IMAGES_FILE`, then of `TEST_IMAGES_FILE`, in their order."""
STATED_REFERENCES_FILE = "stated_references.json"
"""By image, the reference as its manifest states it; only of sources with manifests."""
FINDINGS_FILE = "findings.jsonl"
LISTED_FILE = "listed.jsonl"


class IngestedImages(StageRecord, frozen=True):
    """A source that was read and checked.

    Attributes:
        entry_path: the store entry with the index of usable images and the findings.
        dataset_name: the name under which versions are kept.
        root: folder to which the images' references are relative.
        test_root: the same for the test source; empty without one.
        layout: how the source arranges its images, or the format of its annotations.
        has_boxes: whether the source has boxes, or masks to make boxes from.
        annotation_files: absolute paths of the Ground Truth manifests that were read; empty for other sources.
        test_annotation_files: those of them whose images are tested on: of the test source, or named for testing.
        content_digest: digest of all files' references and bytes.
        listed: number of files that claimed to be labelled images.
        usable: number of images that passed and are no duplicates.
        findings: number of findings by code.
        invalid: number of images left out because of an error.
    """

    entry_path: str = ""
    dataset_name: str
    root: str
    test_root: str = ""
    layout: str
    has_boxes: bool = False
    annotation_files: tuple[str, ...] = ()
    test_annotation_files: tuple[str, ...] = ()
    content_digest: str
    listed: int
    usable: int
    invalid: int
    findings: dict[str, int]


class ListedImage(NamedTuple):
    """An image that a source names, unopened: its path relative to the root, and as its manifest states it."""

    source_ref: str
    stated_ref: str = ""


class ListedImages(StageRecord, frozen=True):
    """A source whose images were listed, with or without labels.

    Attributes:
        entry_path: the store entry with the list and the findings.
        name: made from the source's own, for folders and files.
        root: folder to which the images' references are relative.
        images: number of images in the list.
        invalid: number of images that are not in it because of an error.
        findings: number of findings by code.
    """

    entry_path: str = ""
    name: str
    root: str
    images: int
    invalid: int
    findings: dict[str, int]

    @property
    def list_path(self) -> Path:
        """The list."""
        return Path(self.entry_path) / LISTED_FILE

    @property
    def findings_path(self) -> Path:
        """The findings."""
        return Path(self.entry_path) / FINDINGS_FILE


def write_listed(path: Path, images: Iterable[ListedImage]) -> None:
    """Write one image per line."""
    with path.open("wb") as stream:
        # A name may hold a line break; JSON tells it apart from the end of the line.
        stream.writelines(orjson.dumps(tuple(image)) + b"\n" for image in images)


def read_listed(path: Path) -> Iterator[ListedImage]:
    """Yield what `write_listed` wrote, one line at a time."""
    with path.open("rb") as stream:
        for line in stream:
            yield ListedImage(*orjson.loads(line))
