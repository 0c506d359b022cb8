"""What ingest tells the stages after it."""

from tasks.stores.content import StageRecord

IMAGES_FILE = "images.jsonl"
TEST_IMAGES_FILE = "test_images.jsonl"
FINDINGS_FILE = "findings.jsonl"


class IngestedImages(StageRecord, frozen=True):
    """A source that was read and checked.

    Attributes:
        entry_path: the store entry with the index of usable images and the findings.
        dataset_name: the name under which versions are kept.
        root: folder to which the images' references are relative.
        test_root: the same for the test source; empty without one.
        layout: how the source arranges its images.
        content_digest: digest of all files' references and bytes.
        listed: number of files that claimed to be labelled images.
        usable: number of images that passed and are no duplicates.
        findings: number of findings by code.
        invalid: number of files left out because of an error.
    """

    entry_path: str = ""
    dataset_name: str
    root: str
    test_root: str = ""
    layout: str
    content_digest: str
    listed: int
    usable: int
    invalid: int
    findings: dict[str, int]
