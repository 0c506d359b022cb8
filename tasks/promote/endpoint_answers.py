"""What an endpoint said of one image, read from the document of its plain API."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from tasks.vision.boxes import DetectedBox


@dataclass(frozen=True, slots=True)
class EndpointAnswer:
    """What the endpoint said of one image, at the model's own thresholds.

    Attributes:
        version: that answered; empty when there is a problem.
        bundle_digest: SHA-256 of the bundle that answered, hexadecimal.
        confidences: label to confidence, 0 to 1, of all labels.
        labels: those that were told, the surest first.
        boxes: those that were told, in pixels of the upright image, the surest first.
        width: of the upright image (pixels).
        height: of the upright image (pixels).
        milliseconds: from the request to the end of the answer; waits for a busy endpoint left out.
        problem: why there is no answer; empty when there is one.
    """

    version: str = ""
    bundle_digest: str = ""
    confidences: Mapping[str, float] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    boxes: tuple[DetectedBox, ...] = ()
    width: int = 0
    height: int = 0
    milliseconds: float = 0.0
    problem: str = ""


_Percent = Annotated[float, Field(ge=0.0, le=100.0)]
_Pixels = Annotated[float, Field(allow_inf_nan=False)]


class _Label(BaseModel):
    label: str
    confidence: _Percent


class _Rectangle(BaseModel):
    left: _Pixels
    top: _Pixels
    width: _Pixels
    height: _Pixels


class _Box(_Label):
    pixels: _Rectangle


class _Told(BaseModel):
    """What is read of the plain API's `PredictionDocument`."""

    version: str
    bundle_digest: str
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]
    labels: list[_Label]
    boxes: list[_Box]
    confidences: dict[str, _Percent]


def read_answer(document: bytes, milliseconds: float) -> EndpointAnswer:
    """Read a `PredictionDocument`; anything else is an answer with a problem."""
    try:
        told = _Told.model_validate_json(document)
    except ValidationError:
        return EndpointAnswer(problem="the answer is no prediction")
    return EndpointAnswer(
        version=told.version,
        bundle_digest=told.bundle_digest,
        confidences={label: value / 100 for label, value in told.confidences.items()},
        labels=tuple(one.label for one in told.labels),
        boxes=tuple(_box(one) for one in told.boxes),
        width=told.width,
        height=told.height,
        milliseconds=milliseconds,
    )


def _box(told: _Box) -> DetectedBox:
    place = told.pixels
    return DetectedBox(told.label, place.left, place.top, place.width, place.height, told.confidence / 100, True)
