"""What the explain stage tells the flows and the stages after it."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from tasks.evaluate.records import ImagePrediction
from tasks.stores.content import StageRecord
from tasks.vision.heat_maps import HeatMap

MAPS_FILE = "maps.jsonl"
"""An `ExplainedImage` a line, in the order to show."""


class ExplainedImage(BaseModel, frozen=True, extra="forbid"):
    """Where a classifier looked in an image that it had not learned from.

    Attributes:
        answer: the image, its truth and the answer.
        label: the one that is explained.
        heat_map: by how much the label's confidence falls, 0 to 1, when a part is hidden.
    """

    answer: ImagePrediction
    label: str
    heat_map: HeatMap

    @property
    def confidence(self) -> float:
        """Of the explained label, 0 to 1, nothing hidden."""
        return self.answer.confidences[self.label]


class Explanation(StageRecord, frozen=True):
    """Pictures of what answers rest on.

    Attributes:
        entry_path: the store entry that holds them; empty where none were wanted.
        images: number of pictures.
    """

    entry_path: str = ""
    images: int = 0

    @property
    def maps(self) -> list[ExplainedImage]:
        """The pictures, in the order to show."""
        return list(_read(Path(self.entry_path) / MAPS_FILE)) if self.entry_path else []


def _read(path: Path) -> Iterator[ExplainedImage]:
    with path.open("rb") as stream:
        for line in stream:
            yield ExplainedImage.model_validate_json(line)
