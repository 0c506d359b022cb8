"""The model bundle: one folder with `model.json` and the ONNX networks it names.

`model.json` holds the digest of every file, so its own digest stands for the whole bundle. Nothing in a bundle
is executed but ONNX graphs; nothing is unpickled.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from tasks.bundle.engineered import EngineeredFeatures, VocabularyFile
from tasks.bundle.preprocessing import Letterbox, Resize, Steps
from tasks.errors import BundleError

MODEL_FILE = "model.json"
SCHEMA_VERSION = 1
MAX_MODEL_JSON_BYTES = 16 * 2**20
MAX_NETWORK_BYTES = 2 * 2**30

Task = Literal["classification", "detection", "anomaly"]
Role = Literal["backbone", "head", "network", "detector", "memory"]

_ROLES_BY_TASK: dict[Task, tuple[set[Role], ...]] = {
    "classification": ({"backbone", "head"}, {"network"}, {"head"}),
    "detection": ({"detector"},),
    "anomaly": ({"backbone", "memory"},),
}
_FRAMINGS_BY_TASK: dict[Task, tuple[type[Resize | Letterbox], ...]] = {
    "classification": (Resize, Letterbox),
    "detection": (Letterbox,),
    "anomaly": (Resize,),
}
TASKS_WITH_BOXES: frozenset[Task] = frozenset({"detection", "anomaly"})
_MIN_LABELS_BY_TASK: dict[Task, int] = {"classification": 2, "detection": 1, "anomaly": 1}


class Network(BaseModel, frozen=True, extra="forbid"):
    """One ONNX file of a bundle."""

    file: str = Field(pattern=r"^[a-z0-9_-]+\.onnx$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class WeightsFile(BaseModel, frozen=True, extra="forbid"):
    """The tensors that a training can go on from; a prediction never opens them."""

    file: Literal["weights.safetensors"] = "weights.safetensors"
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


_Stride = Annotated[int, Field(ge=1, le=256)]


class BoxDecoding(BaseModel, frozen=True, extra="forbid"):
    """How a detector's raw outputs become boxes; `tasks/bundle/detection.py` does it.

    Attributes:
        strides: input pixels between neighbouring locations, of each level of the feature pyramid, ascending.
        centreness_weight: share of the centreness in a score, which is the weighted geometric mean of the label's
            probability and the centreness; one half is FCOS's own.
        score_floor: boxes at or below this score, 0 to 1, are not told at all.
        nms_iou: of two boxes of one label that overlap by more than this, the less sure one is dropped.
        merge_power: a box that stays moves to the mean of itself and those dropped for it, weighted by their scores to
            this power; None leaves it where it is.
        candidates_per_level: the surest boxes of each level that go into that suppression.
        max_boxes: the surest boxes told of one image.
    """

    name: Literal["fcos"] = "fcos"
    version: Literal[1] = 1
    strides: tuple[_Stride, ...] = Field(min_length=1, max_length=8)
    centreness_weight: float = Field(default=0.5, ge=0.0, le=1.0)
    score_floor: float = Field(default=0.05, ge=0.0, lt=1.0)
    nms_iou: float = Field(default=0.6, gt=0.0, le=1.0)
    merge_power: float | None = Field(default=None, ge=0.0, le=10.0)
    candidates_per_level: int = Field(default=1000, ge=1, le=10_000)
    max_boxes: int = Field(default=100, ge=1, le=1000)

    @model_validator(mode="after")
    def _ascends(self) -> "BoxDecoding":
        if list(self.strides) != sorted(set(self.strides)):
            raise ValueError("strides do not ascend")
        return self


class AnomalyScoring(BaseModel, frozen=True, extra="forbid"):
    """How distances of patches become a score, a confidence and regions; `tasks/bundle/anomaly.py` does it.

    Attributes:
        rows: patches from the upper edge of the input to the lower one.
        columns: patches from the left edge to the right one.
        smoothing_cells: standard deviation of the Gaussian over the distances, in patches.
        top_share: share of an image's patches, the hottest, whose mean is its score.
        limit: the score whose confidence is one half.
        steepness: how fast the confidence rises about the limit: the slope of its logit over the score's logarithm.
        region_limit: patches at least this hot belong to an abnormal region.
        max_boxes: the hottest regions told of one image.
    """

    name: Literal["nearest-patch"] = "nearest-patch"
    version: Literal[1] = 1
    rows: int = Field(ge=1, le=512)
    columns: int = Field(ge=1, le=512)
    smoothing_cells: float = Field(default=1.0, gt=0.0, le=16.0)
    top_share: float = Field(default=0.01, gt=0.0, le=1.0)
    limit: float = Field(gt=0.0, allow_inf_nan=False)
    steepness: float = Field(gt=0.0, le=1000.0)
    region_limit: float = Field(gt=0.0, allow_inf_nan=False)
    max_boxes: int = Field(default=20, ge=1, le=1000)


class ModelCard(BaseModel, frozen=True, extra="forbid"):
    """The content of `model.json`.

    Attributes:
        task: what the model answers.
        labels: in the order of the network's outputs.
        labels_per_image: `any` of a classifier that says of every label by itself whether an image carries it: several
            may be given, or none. None of others; a classifier's confidences then sum to 1.
        thresholds: per label, 0 to 1: the lowest confidence at which the label is given.
        steps: the preprocessing, in order.
        networks: by role; a classifier has a backbone and a head, or a head alone that sees engineered features only,
            or one network, a detector one network, an anomaly model a backbone and the memory of normal patches.
        dataset_digest: the dataset version it learned from.
        provenance: whatever else identifies its making (backbone, seed, settings, library versions).
        decoding: how a detector's outputs become boxes; None for others.
        weights: what a training can go on from, or None.
        scoring: how an anomaly model's distances become answers; None for others.
        features: the engineered features that a classifier's head sees behind those of the backbone, or None.
    """

    schema_version: Literal[1] = 1
    task: Task
    labels: tuple[str, ...] = Field(min_length=1)
    labels_per_image: Literal["any"] | None = None
    thresholds: dict[str, float]
    steps: Steps
    networks: dict[Role, Network]
    dataset_digest: str
    provenance: dict[str, str | int | float | bool]
    decoding: BoxDecoding | None = None
    weights: WeightsFile | None = None
    scoring: AnomalyScoring | None = None
    features: EngineeredFeatures | None = None

    @property
    def is_multi_label(self) -> bool:
        """Whether an image may be given several labels, or none, and both be right."""
        return self.labels_per_image == "any"

    @property
    def finds_boxes(self) -> bool:
        """Whether answers have boxes."""
        return self.task in TASKS_WITH_BOXES

    @model_validator(mode="after")
    def _labels_fit(self) -> "ModelCard":
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels repeat")
        if self.is_multi_label and self.task != "classification":
            raise ValueError(f"{self.task} knows no labels_per_image")
        if len(self.labels) < _MIN_LABELS_BY_TASK[self.task] and not self.is_multi_label:
            raise ValueError(f"{self.task} needs at least {_MIN_LABELS_BY_TASK[self.task]} labels")
        if set(self.thresholds) != set(self.labels):
            raise ValueError("thresholds and labels name different classes")
        if any(not 0.0 <= threshold <= 1.0 for threshold in self.thresholds.values()):
            raise ValueError("a threshold lies outside 0..1")
        return self

    @model_validator(mode="after")
    def _steps_differ(self) -> "ModelCard":
        names = [step.name for step in self.steps]
        if len(set(names)) != len(names):
            raise ValueError("a step repeats")
        return self

    @model_validator(mode="after")
    def _parts_fit_the_task(self) -> "ModelCard":
        if set(self.networks) not in _ROLES_BY_TASK[self.task]:
            expected = ", or ".join(" and ".join(sorted(roles)) for roles in _ROLES_BY_TASK[self.task])
            raise ValueError(f"the networks are {sorted(self.networks)}, {self.task} needs {expected}")
        if not isinstance(self.steps[-2], _FRAMINGS_BY_TASK[self.task]):
            raise ValueError(f"{self.task} has no step '{self.steps[-2].name}'")
        if (self.decoding is not None) != (self.task == "detection"):
            raise ValueError("a detector needs a decoding of its boxes, others have none")
        if (self.scoring is not None) != (self.task == "anomaly"):
            raise ValueError("an anomaly model needs a scoring of its distances, others have none")
        return self

    @model_validator(mode="after")
    def _something_is_seen(self) -> "ModelCard":
        if self.features and "head" not in self.networks:
            raise ValueError("engineered features are for a classifier's head, and there is none")
        if set(self.networks) == {"head"} and not self.features:
            raise ValueError("the head sees nothing: there are neither a backbone nor engineered features")
        return self

    @model_validator(mode="after")
    def _strides_divide_the_input(self) -> "ModelCard":
        framing = self.steps[-2]
        if self.decoding and isinstance(framing, Letterbox) and any(framing.size % s for s in self.decoding.strides):
            raise ValueError(f"not every stride divides the input size {framing.size}")
        return self


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_model_card(folder: Path, card: ModelCard) -> str:
    """Write `model.json` beside the networks already in `folder`; returns the bundle's digest."""
    text = json.dumps(card.model_dump(mode="json", exclude_none=True), indent=2, sort_keys=True, ensure_ascii=False)
    (folder / MODEL_FILE).write_text(text + "\n", encoding="utf-8")
    return bundle_digest(folder)


def bundle_digest(folder: Path) -> str:
    """SHA-256 of `model.json`, which holds the digests of all other files.

    Raises:
        BundleError: when the folder holds no bundle.
    """
    path = folder / MODEL_FILE
    if not path.is_file():
        raise BundleError(f"{folder} holds no {MODEL_FILE}; name the folder of a model bundle")
    return file_sha256(path)


def read_model_card(folder: Path, *, expected_digest: str = "") -> ModelCard:
    """Read and verify a bundle: its own digest when one is expected, and that of every file it names.

    Raises:
        BundleError: when a file is missing, changed or too large, or `model.json` is not of this format.
    """
    found = bundle_digest(folder)
    if expected_digest and found != expected_digest:
        raise BundleError(
            f"the bundle in {folder} has digest {found[:12]}, expected {expected_digest[:12]}; "
            "it was changed after it was registered, so register it anew or choose another version"
        )
    path = folder / MODEL_FILE
    if path.stat().st_size > MAX_MODEL_JSON_BYTES:
        raise BundleError(f"{path} is larger than {MAX_MODEL_JSON_BYTES} bytes; it is no model card")
    card = _parse(path)
    for part in (*card.networks.values(), card.weights, card.features and card.features.vocabulary):
        if part:
            _verify(folder / part.file, part)
    return card


def _parse(path: Path) -> ModelCard:
    text = path.read_text(encoding="utf-8", errors="replace")
    found = re.search(r'"schema_version":\s*(\d{1,9})\b', text)
    if found and int(found.group(1)) > SCHEMA_VERSION:
        raise BundleError(
            f"{path} has schema version {found.group(1)}, this Keeneye reads up to {SCHEMA_VERSION}; update Keeneye"
        )
    try:
        return ModelCard.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BundleError(f"{path} is no valid model card: {place}: {first['msg']}") from error


def _verify(path: Path, part: Network | WeightsFile | VocabularyFile) -> None:
    if not path.is_file():
        raise BundleError(f"{path} is missing from the bundle; fetch or register the model anew")
    if path.stat().st_size > MAX_NETWORK_BYTES:
        raise BundleError(f"{path} is larger than {MAX_NETWORK_BYTES} bytes; files of this size are not read")
    if file_sha256(path) != part.sha256:
        raise BundleError(f"{path} does not have the digest that {MODEL_FILE} names; fetch or register the model anew")
