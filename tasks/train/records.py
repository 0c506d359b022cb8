"""What the train stage tells the stages after it."""

from pathlib import Path

from tasks.metrics.classification import CrossValidated
from tasks.stores.content import StageRecord

BUNDLE_FOLDER = "bundle"
OUT_OF_FOLD_FILE = "out_of_fold.jsonl"
"""One line per cross-validated image: source_ref, label, and the confidence of every label."""


class TrainedModel(StageRecord, frozen=True):
    """A model bundle in the content store.

    Attributes:
        entry_path: the store entry that holds the bundle.
        bundle_digest: digest of the bundle.
        input_size: side of the square the network sees (pixels).
        seed: of everything random.
        strength: the chosen inverse regularisation.
        cross_validated: the k-fold estimate over training and validation images.
        parity_difference: largest difference of a confidence between the bundle and its pieces.
    """

    entry_path: str = ""
    bundle_digest: str
    input_size: int
    seed: int
    strength: float
    cross_validated: CrossValidated
    parity_difference: float

    @property
    def bundle_path(self) -> Path:
        """The bundle's folder."""
        return Path(self.entry_path) / BUNDLE_FOLDER
