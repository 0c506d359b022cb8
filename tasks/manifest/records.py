"""What the manifest stage tells the stages after it."""

from pathlib import Path

from tasks.dataset.entries import Split
from tasks.stores.content import StageRecord


class Manifest(StageRecord, frozen=True):
    """A version of a dataset as Ground Truth manifests.

    Attributes:
        entry_path: the store entry that holds `train.manifest`, `validation.manifest` and `test.manifest`.
        dataset_name: the dataset.
        dataset_digest: the version: digest of the three manifests.
        parent_digest: the version it descends from; empty for the first.
        roots: per split, the folder to which its references are relative.
        labels: all labels, sorted; their places are the class ids.
        images: number of images by split and label.
    """

    entry_path: str = ""
    dataset_name: str
    dataset_digest: str
    parent_digest: str
    roots: dict[Split, str]
    labels: tuple[str, ...]
    images: dict[Split, dict[str, int]]

    def manifest_path(self, split: Split) -> Path:
        """Return the manifest file of a split."""
        return Path(self.entry_path) / f"{split}.manifest"
