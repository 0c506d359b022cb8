"""What is to be learned by a network, whatever its task."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.dataset.entries import ImageEntry
from tasks.train.earlier import Earlier
from tasks.train.learning.loop import Schedule
from tasks.train.weights import FirstWeights


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkLesson:
    """What is to be learned, and how.

    Attributes:
        dataset_name: the dataset.
        dataset_digest: its version.
        labels: all labels, sorted.
        root: folder to which references are relative.
        train: images to learn from.
        validation: images to stop early and to choose thresholds on; may be none.
        weights: what the network starts from.
        schedule: how long and how fast.
        seed: of everything random.
        folds: of the cross-validated estimate; 0 makes none.
    """

    dataset_name: str
    dataset_digest: str
    labels: tuple[str, ...]
    root: Path
    train: Sequence[ImageEntry]
    validation: Sequence[ImageEntry]
    weights: FirstWeights | Earlier
    schedule: Schedule
    seed: int
    folds: int

    @property
    def images(self) -> list[ImageEntry]:
        """All images, those to learn from first."""
        return [*self.train, *self.validation]

    @property
    def origin(self) -> dict[str, str]:
        """What the network started from, as its provenance tells it."""
        if isinstance(self.weights, Earlier):
            return {"weights": self.weights.model_uri}
        digest = {"weights_sha256": self.weights.digest} if self.weights.file else {}
        return {"weights": self.weights.address, **digest}
