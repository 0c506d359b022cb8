"""What ingest tells the stages after it."""

from tasks.stores.content import StageRecord

IMAGES_FILE = "images.jsonl"
TEST_IMAGES_FILE = "test_images.jsonl"
THUMBNAILS_FILE = "thumbnails.npy"
"""Thumbnails of `IMAGES_FILE`, then of `TEST_IMAGES_FILE`, in their order."""
STATED_REFERENCES_FILE = "stated_references.json"
"""By image, the reference as its manifest states it; only of sources with manifests."""
FINDINGS_FILE = "findings.jsonl"


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
