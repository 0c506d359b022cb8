"""What the train stage tells the stages after it."""

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from pydantic import BaseModel, Field

from tasks.metrics.detection import CrossValidatedDetection
from tasks.metrics.task_metrics import Estimate
from tasks.stores.content import StageRecord

BUNDLE_FOLDER = "bundle"
OUT_OF_FOLD_FILE = "out_of_fold.jsonl"
"""A classifier's: per cross-validated image a line with source_ref, truth (its labels), and all labels' confidences."""
HISTORY_FILE = "history.jsonl"
"""A network's: one line of figures per epoch."""

Progress = Callable[[str, str], AbstractContextManager[Callable[[int, int], None]]]
"""Called with what is done and the unit counted; gives a function to call with items done and their total."""


class Trial(BaseModel, frozen=True):
    """One thing that training tried, or might have.

    Attributes:
        name: what it was, for people.
        log_loss: of images that it did not learn from, every label weighing alike; lower is better. None where it was
            not tried to the end.
        note: why not; empty otherwise.
        kept: whether the model is this one.
    """

    name: str
    log_loss: float | None
    note: str = ""
    kept: bool = False


class MeasuredFold(StageRecord, frozen=True):
    """What one way to train reached on the images of one fold, of which it saw none.

    Attributes:
        entry_path: the store entry, with out-of-fold predictions, and of the first fold the bundle.
        fold: its number, from 0 on.
        folds: number of all.
        images: number of images judged.
        macro_f1: of the labels given, thresholds chosen without these images.
        accuracy: of the labels with the highest confidence.
        fit_seconds: of learning, all choices included; features are computed apart.
        features_computed: number of images of which a feature was not known yet.
        measured_at: when it was measured (seconds since 1970).
        chosen: what learning settled on, by name.
        options: those of `training.network` that a search settled on.
        drops: by kind of features, what each of its shuffles costs in macro-F1; of a network there are none.
        ms_per_image: of the model as a bundle, one image at a time, decoding apart; of the first fold only.
        bundle_bytes: size of that bundle.
    """

    entry_path: str = ""
    fold: int
    folds: int
    images: int
    macro_f1: float
    accuracy: float
    fit_seconds: float
    features_computed: int = 0
    measured_at: float
    chosen: dict[str, str | int | float]
    options: dict[str, str | int | float]
    drops: Mapping[str, tuple[float, ...]] = Field(default_factory=dict)
    ms_per_image: float | None = None
    bundle_bytes: int | None = None

    @property
    def in_words(self) -> str:
        """What came out, for people."""
        known = ", measured before" if self.reused else ""
        return f"macro-F1 {self.macro_f1:.3f}, learned in {self.fit_seconds:.1f} s{known}"


class StoppedFold(StageRecord, frozen=True):
    """A fold that could not be measured in the time left, and why; what it has learned is gone on from."""

    reason: str

    @property
    def in_words(self) -> str:
        """What came out, for people."""
        return f"stopped, for {self.reason}"


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
    cross_validated: Estimate | None
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
