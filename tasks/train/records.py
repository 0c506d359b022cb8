"""What the train stage tells the stages after it."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from pydantic import BaseModel

from tasks.metrics.classification import CrossValidated
from tasks.metrics.detection import CrossValidatedDetection
from tasks.stores.content import StageRecord

BUNDLE_FOLDER = "bundle"
OUT_OF_FOLD_FILE = "out_of_fold.jsonl"
"""A classifier's: one line per cross-validated image: source_ref, label, and the confidence of every label."""
HISTORY_FILE = "history.jsonl"
"""A network's: one line of figures per epoch."""

Progress = Callable[[str, str], AbstractContextManager[Callable[[int, int], None]]]
"""Called with what is done and the unit counted; gives a function to call with items done and their total."""


class Trial(BaseModel, frozen=True):
    """One thing that training tried.

    Attributes:
        name: what it was, for people.
        log_loss: of images that it did not learn from, every label weighing alike; lower is better.
    """

    name: str
    log_loss: float


class TrainedModel(StageRecord, frozen=True):
    """A model bundle in the content store.

    Attributes:
        entry_path: the store entry that holds the bundle.
        bundle_digest: digest of the bundle.
        input_size: side of the square the network sees (pixels).
        seed: of everything random.
        chosen: what training itself chose or found, by name, such as a classifier's regularisation or a detector's
            best epoch.
        trials: what was tried before the choice, in order; none where there was nothing to choose.
        cross_validated: the k-fold estimate over training and validation images, where there is one.
        parity_difference: largest difference of a confidence between the bundle and its pieces.
    """

    entry_path: str = ""
    bundle_digest: str
    input_size: int
    seed: int
    chosen: dict[str, str | int | float]
    trials: tuple[Trial, ...] = ()
    cross_validated: CrossValidated | CrossValidatedDetection | None
    parity_difference: float

    @property
    def bundle_path(self) -> Path:
        """The bundle's folder."""
        return Path(self.entry_path) / BUNDLE_FOLDER

    @property
    def estimate_in_words(self) -> str:
        """The k-fold estimate, for people."""
        found = self.cross_validated
        if found is None:
            return "not cross-validated"
        name, value, spread = (
            ("mAP50", found.map_50, found.map_50_std)
            if isinstance(found, CrossValidatedDetection)
            else ("macro-F1", found.macro_f1, found.macro_f1_std)
        )
        return f"cross-validated {name} {value:.3f} (standard deviation {spread:.3f} over {found.folds} folds)"

    @property
    def history(self) -> list[dict[str, float]]:
        """A network's figures by epoch, from the first on; none for a classifier on features."""
        path = Path(self.entry_path) / HISTORY_FILE
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
