"""What prediction tells the flow, and its own steps one another."""

from pathlib import Path

from tasks.bundle.format import Task
from tasks.stores.content import StageRecord

ANSWERS_FILE = "answers.jsonl"
FINDINGS_FILE = "findings.jsonl"
SHARDS_FILE = "shards.json"
PREDICTIONS_MARKER_NAME = "keeneye-predict.json"
"""Lists the files that a run wrote to its folder of output."""


class FetchedModel(StageRecord, frozen=True):
    """A registered version whose bundle lies here, verified.

    Attributes:
        model_uri: its address, with the number of the version.
        bundle_path: folder of the bundle.
        labels: in the order of the model's outputs.
        thresholds: per label, 0 to 1: the lowest confidence at which it is given.
        is_multi_label: whether an image may have several labels, or none.
    """

    model_name: str
    model_version: str
    model_uri: str
    bundle_digest: str
    bundle_path: str
    task: Task
    labels: tuple[str, ...]
    thresholds: dict[str, float]
    is_multi_label: bool = False


class PredictedImages(StageRecord, frozen=True):
    """All images of a source, predicted or found to be of no use.

    Attributes:
        entry_path: the store entry with the list of shards and the findings.
        images: number of images of the source, those that could not be listed among them.
        predicted: number of images that were predicted.
        shards: number of shards.
        shards_reused: number of them that were there already; tells of this run, like `reused`.
        findings: number of findings by code, without those of the listing.
    """

    entry_path: str = ""
    images: int
    predicted: int
    shards: int
    shards_reused: int = 0
    findings: dict[str, int]

    @property
    def findings_path(self) -> Path:
        """The findings, in the order of the images."""
        return Path(self.entry_path) / FINDINGS_FILE

    @property
    def shards_path(self) -> Path:
        """The list of the shards' entries, in the order of the images."""
        return Path(self.entry_path) / SHARDS_FILE


class WrittenPredictions(StageRecord, frozen=True):
    """Predictions that were written for a user.

    Attributes:
        folder: absolute.
        files: references of all files below it.
        with_predictions: number of images of which something is told.
        predictions: number of labels or boxes told, by label.
        report_path: the summary, absolute.
    """

    folder: str
    files: tuple[str, ...]
    with_predictions: int
    predictions: dict[str, int]
    report_path: str
