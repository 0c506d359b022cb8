"""What the compare stage tells the flows and the stages after it."""

from typing import Literal

import numpy as np
from pydantic import BaseModel, Field, computed_field

from tasks.metrics.importance import Importances
from tasks.stores.content import StageRecord

LEADERBOARD_FILE, WINNER_FILE, PAGE_FILE = "leaderboard.json", "winner.yaml", "leaderboard.html"
Outcome = Literal["measured", "pruned", "out of time", "failed"]
Options = dict[str, str | int | float]


class Standing(BaseModel, frozen=True):
    """How one candidate fared; sequences hold a figure per fold that was measured.

    Attributes:
        candidate: its name.
        outcome: `measured` on all folds, or why not.
        reason: a sentence for all other outcomes.
        folds: number of all folds.
        macro_f1: of the labels given to the fold's images.
        accuracy: of the labels with the highest confidence.
        measured_at: when (seconds since 1970).
        fit_seconds: mean time of learning in a fold, all choices included, features not; None without a fold.
        ms_per_image: of the first fold's bundle, one image at a time, decoding apart.
        bundle_bytes: size of that bundle.
        features_computed: number of images of which this candidate was the first to need a feature.
        options: of `training.network`, those that a search settled on in most folds.
        entry_path: the store entry of the first fold, with its bundle and its answers; empty without one.
        importances: what each kind of features is worth to it; None of a network and of one that was stopped.
    """

    candidate: str
    outcome: Outcome
    reason: str = ""
    folds: int
    macro_f1: tuple[float, ...] = ()
    accuracy: tuple[float, ...] = ()
    measured_at: tuple[float, ...] = ()
    fit_seconds: float | None = None
    ms_per_image: float | None = None
    bundle_bytes: int | None = None
    features_computed: int = 0
    options: Options = {}
    entry_path: str = Field(default="", exclude=True)
    importances: Importances | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def macro_f1_mean(self) -> float | None:
        """Mean over the folds."""
        return _mean(self.macro_f1)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def macro_f1_std(self) -> float | None:
        """Standard deviation over the folds; None of fewer than two."""
        return _spread(self.macro_f1)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def accuracy_mean(self) -> float | None:
        """Mean over the folds."""
        return _mean(self.accuracy)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def accuracy_std(self) -> float | None:
        """Standard deviation over the folds; None of fewer than two."""
        return _spread(self.accuracy)

    @property
    def note(self) -> str:
        """What a table says of it besides figures; empty when it was measured on all folds."""
        if self.outcome == "measured":
            return ""
        done = "" if self.outcome == "failed" else f" after {len(self.macro_f1)} of {self.folds} folds"
        return f"{self.outcome}{done}: {self.reason}"


class Ranking(BaseModel, frozen=True):
    """All candidates in order, and which to prefer when.

    Attributes:
        standings: those measured first, the most accurate first.
        most_accurate: a candidate's name.
        recommended: a candidate's name.
        advice: which to prefer when, a sentence each.
    """

    standings: tuple[Standing, ...]
    most_accurate: str
    recommended: str
    advice: tuple[str, ...]

    def of(self, candidate: str) -> Standing:
        """Return one candidate's standing."""
        return next(one for one in self.standings if one.candidate == candidate)


class Leaderboard(StageRecord, frozen=True):
    """A comparison, told: in a folder for people, and in MLflow.

    Attributes:
        dataset_name: the dataset.
        dataset_digest: its version.
        labels: all labels, sorted.
        images: number of images of the train and validation splits.
        ranking: the candidates.
        folder: with the leaderboard as JSON, the winner's request, and later the page.
        mlflow_run_id: the parent of the candidates' runs.
    """

    dataset_name: str
    dataset_digest: str
    labels: tuple[str, ...]
    images: int
    ranking: Ranking
    folder: str
    mlflow_run_id: str


def _mean(values: tuple[float, ...]) -> float | None:
    return float(np.mean(values)) if values else None


def _spread(values: tuple[float, ...]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
