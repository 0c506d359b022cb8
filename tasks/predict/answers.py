"""What the model says of one image, whole, as shards keep it; and which of it is told."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from tasks.vision.boxes import DetectedBox


@dataclass(frozen=True, slots=True)
class ImageAnswer:
    """The model's answer to one image, whatever of it is told later.

    Attributes:
        source_ref: path relative to the source's root.
        sha256: of the file's bytes, hexadecimal.
        width: pixels, upright (after EXIF rotation).
        height: pixels, upright.
        confidences: label to confidence (0 to 1), highest first; of a detector none.
        given: of these labels those that reach their thresholds.
        boxes: what a detector or an anomaly model found, the surest first.
    """

    source_ref: str
    sha256: str
    width: int
    height: int
    confidences: dict[str, float]
    given: tuple[str, ...] = ()
    boxes: tuple[DetectedBox, ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """One label or box that is told: confidence 0 to 1, and whether it reaches the label's threshold."""

    label: str
    confidence: float
    is_given: bool
    box: DetectedBox | None = None

    @property
    def percent(self) -> float:
        """Confidence, 0 to 100, to four decimals; single precision holds no more."""
        return round(100 * self.confidence, 4)


_ANSWER = TypeAdapter(ImageAnswer)


def all_told(answer: ImageAnswer) -> list[Told]:
    """Return every box of an answer, or where it has none every label; the surest first."""
    given = frozenset(answer.given)
    boxes = [Told(box.label, box.confidence, box.is_given, box) for box in answer.boxes]
    labels = [Told(label, confidence, label in given) for label, confidence in answer.confidences.items()]
    return sorted(boxes or labels, key=lambda one: (-one.confidence, one.label))


def choose_told(answer: ImageAnswer, min_confidence: float | None) -> list[Told]:
    """Return the labels or boxes to tell: those that reach `min_confidence` (0 to 100), or their own thresholds."""
    if min_confidence is None:
        return [one for one in all_told(answer) if one.is_given]
    return [one for one in all_told(answer) if one.percent >= min_confidence]


def write_answers(path: Path, answers: Iterable[ImageAnswer]) -> None:
    """Write one answer per line."""
    with path.open("wb") as stream:
        stream.writelines(_ANSWER.dump_json(answer) + b"\n" for answer in answers)


def read_answers(path: Path) -> Iterator[ImageAnswer]:
    """Yield what `write_answers` wrote, one line at a time."""
    with path.open("rb") as stream:
        for line in stream:
            yield _ANSWER.validate_json(line)
