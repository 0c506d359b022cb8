"""What the manifest stage tells the stages after it."""

from pathlib import Path
from typing import Literal

from tasks.dataset.entries import Split
from tasks.dataset.findings import Finding, read_findings
from tasks.ingest.records import FINDINGS_FILE as INGEST_FINDINGS_FILE
from tasks.ingest.records import IngestedImages
from tasks.stores.content import StageRecord

FINDINGS_FILE = "findings.jsonl"
GROUPS_FILE = "groups.json"

ViewTask = Literal["classification", "detection", "anomaly"]


LabelsPerImage = Literal["one", "any"]


class DividedDataset(StageRecord, frozen=True):
    """A version of a dataset: its images, divided; the same for every task.

    Attributes:
        entry_path: the store entry that holds `train.jsonl`, `validation.jsonl`, `test.jsonl`, findings and groups.
        dataset_digest: the version: digest of the three indexes.
        parent_digest: the version it descends from; empty for the first.
        groups: number of groups that stay together.
        findings: number of findings by code.
    """

    entry_path: str = ""
    dataset_digest: str
    parent_digest: str
    groups: int
    findings: dict[str, int]

    def index_path(self, split: Split) -> Path:
        """Return the index file of a split."""
        return Path(self.entry_path) / f"{split}.jsonl"


class Manifest(StageRecord, frozen=True):
    """A version of a dataset as Ground Truth manifests, for one task.

    Attributes:
        entry_path: the store entry that holds `train.manifest`, `validation.manifest`, `test.manifest` and findings.
        task: what its labels are for.
        dataset_name: the dataset.
        dataset_digest: the version, the same for every task.
        manifest_digest: digest of the three manifests.
        parent_digest: the version it descends from; empty for the first.
        division_path: the store entry of the divided dataset.
        roots: per split, the folder to which its references are relative.
        labels: all labels, sorted; their places are the class ids.
        totals: number of images by split.
        labels_per_image: of a classifier's images: one each, or any number, none among it.
        images: number of images by split and label (for anomaly: normal ones and anomalies).
        boxes: number of boxes by split and label; empty for classification.
        negatives: number of images by split that are known to have no box, or no label.
        groups: number of groups that stay together.
        findings: number of findings by code, of dividing and of this task.
        invalid: number of images left out because of an error.
    """

    entry_path: str = ""
    task: ViewTask
    dataset_name: str
    dataset_digest: str
    manifest_digest: str
    parent_digest: str
    division_path: str = ""
    roots: dict[Split, str]
    labels: tuple[str, ...]
    labels_per_image: LabelsPerImage = "one"
    totals: dict[Split, int]
    images: dict[Split, dict[str, int]]
    boxes: dict[Split, dict[str, int]]
    negatives: dict[Split, int]
    groups: int
    findings: dict[str, int]
    invalid: int

    def manifest_path(self, split: Split) -> Path:
        """Return the manifest file of a split."""
        return Path(self.entry_path) / f"{split}.manifest"

    @property
    def is_multi_label(self) -> bool:
        """Whether an image may have several labels, or none."""
        return self.labels_per_image == "any"

    @property
    def groups_path(self) -> Path:
        """The file that tells the largest groups."""
        return Path(self.division_path) / GROUPS_FILE


def read_all_findings(images: IngestedImages, manifest: Manifest) -> list[Finding]:
    """Return what was found at ingest, while dividing, and for the task."""
    return [
        *read_findings(Path(images.entry_path) / INGEST_FINDINGS_FILE),
        *read_findings(Path(manifest.entry_path) / FINDINGS_FILE),
    ]
