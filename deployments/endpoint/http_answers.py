"""The documents of the plain HTTP API, as OpenAPI describes them, and how an answer becomes one."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tasks.bundle.format import Task
from tasks.serving.selection import RatioBox, Selected, select
from tasks.serving.service import Answer


class PredictQuery(BaseModel):
    """Which findings are told."""

    model_config = ConfigDict(extra="forbid")

    min_confidence: float | None = Field(
        default=None,
        ge=0.0,
        le=100.0,
        allow_inf_nan=False,
        description="Tell every label and box at or above it; without it each label's own threshold decides.",
    )
    max_results: int | None = Field(default=None, ge=1, le=10_000, description="Tell so many at most, the surest.")


class LabelDocument(BaseModel):
    """A label of the image; `confidence` is 0 to 100."""

    label: str
    confidence: float = Field(ge=0.0, le=100.0)


class Rectangle(BaseModel):
    """A box, from its upper left corner."""

    left: float
    top: float
    width: float
    height: float


class BoxDocument(LabelDocument):
    """A box: as ratios of the image's width and height (0 to 1), and in pixels."""

    ratios: Rectangle
    pixels: Rectangle


class PredictionDocument(BaseModel):
    """What one version of a model says of an image.

    Attributes:
        model: registered model.
        version: its version that answered; an alias was resolved.
        bundle_digest: SHA-256 of the bundle that answered.
        task: of the model.
        width: of the upright image, in pixels.
        height: of the upright image, in pixels.
        labels: the surest first; a detector's are those of its boxes.
        boxes: the surest first; none of a classifier. An anomaly model's have its one confidence, the hottest first.
        confidences: of every label of the model, 0 to 100; a detector's is that of the label's surest box. An anomaly
            model has the label `anomaly`, which is among `labels` when that is its verdict.
    """

    model: str
    version: str
    bundle_digest: str
    task: Task
    width: int
    height: int
    labels: list[LabelDocument]
    boxes: list[BoxDocument]
    confidences: dict[str, float]


class AliasDocument(BaseModel):
    """An alias, the version it points to, and its state."""

    alias: str
    version: str
    state: str


class VersionDocument(BaseModel):
    """A version; `status` is what became of its gate, `state` whether it runs, `metrics` its figures on test images."""

    version: str
    task: str | None
    status: str
    state: str
    aliases: list[str]
    created_ms: int
    bundle_digest: str
    metrics: dict[str, float | None]


class ModelDocument(BaseModel):
    """A registered model; versions are the newest first."""

    name: str
    task: str | None
    created_ms: int
    aliases: list[AliasDocument]
    versions: list[VersionDocument]


class ModelsDocument(BaseModel):
    """All models that the caller may use; `environment` is the one that alone is answered for, if there is one."""

    environment: str
    models: list[ModelDocument]


class ProblemDocument(BaseModel):
    """Why there is no answer (RFC 9457); `code` is a bad image's finding."""

    type: str
    title: str
    status: int
    detail: str
    code: str | None = None


def prediction_document(answer: Answer, min_confidence: float | None, max_results: int | None) -> dict[str, Any]:
    """Write an answer as a `PredictionDocument`, without the cost of checking it."""
    found = select(answer, min_confidence=min_confidence, max_results=max_results)
    return {
        "model": answer.model,
        "version": answer.version,
        "bundle_digest": answer.bundle_digest,
        "task": answer.task,
        "width": answer.width,
        "height": answer.height,
        "labels": _labels(found),
        "boxes": [_box(one, one.box, answer.width, answer.height) for one in found if one.box],
        "confidences": {label: value * 100 for label, value in answer.prediction.confidences.items()},
    }


def _labels(found: Sequence[Selected]) -> list[dict[str, Any]]:
    surest: dict[str, float] = {}
    for one in found:  # the surest first
        surest.setdefault(one.label, one.confidence * 100)
    return [{"label": label, "confidence": confidence} for label, confidence in surest.items()]


def _box(one: Selected, box: RatioBox, width: int, height: int) -> dict[str, Any]:
    return {
        "label": one.label,
        "confidence": one.confidence * 100,
        "ratios": _rectangle(box, 1, 1),
        "pixels": _rectangle(box, width, height),
    }


def _rectangle(box: RatioBox, width: int, height: int) -> dict[str, float]:
    return {
        "left": box.left * width,
        "top": box.top * height,
        "width": box.width * width,
        "height": box.height * height,
    }
