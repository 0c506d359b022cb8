"""The request models: one per flow, the same for the Prefect form, the Python call, the command line and YAML.

A flow's parameters are the groups of its model, because Prefect merges parameters by top-level name only. Imports
nothing of Keeneye, so that `--help` and the forms need no stage; stages' shells may import the groups from here.
"""

from operator import attrgetter
from types import SimpleNamespace
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from flows.data_config import NAME_OR_EMPTY as NAME_OR_EMPTY
from flows.data_config import CropConfig as CropConfig
from flows.data_config import DataConfig as DataConfig
from flows.data_config import MaskConfig as MaskConfig
from flows.data_config import PreprocessingConfig as PreprocessingConfig
from flows.group_config import Group
from flows.network_config import AnomalyConfig as AnomalyConfig
from flows.network_config import DetectorConfig as DetectorConfig
from flows.network_config import NetworkConfig as NetworkConfig
from flows.shards_config import ShardsConfig as ShardsConfig

Task = Literal["classification", "detection", "anomaly"]
GroundTruthTask = Literal["auto", "classification", "detection"]
ManifestFormat = Literal["ground-truth", "coco", "yolo", "voc", "csv"]
Algorithm = Literal["auto", "logistic", "svm", "random_forest", "knn", "ensemble", "cnn", "transfer", "finetune"]
ClassifierFeatures = Literal[
    "embedding", "stages", "hog", "gabor", "edges", "corners", "blobs", "sift_words", "lbp", "tamura", "colour"
]

Duration = Annotated[str, Field(pattern=r"^[0-9]{1,6}(\.[0-9]+)?[smh]$")]
"""As 90s, 10m or 2h."""
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}

ModelAddress = Annotated[str, Field(pattern=r"^(models:/)?[A-Za-z0-9][^/@\n]*(@[^/@\n]+|/[0-9]+)$")]
"""A registered version: NAME@ALIAS or NAME/VERSION, with or without the scheme of MLflow's addresses."""


def seconds_of(duration: Duration) -> float:
    """Return a duration in seconds."""
    return float(duration[:-1]) * _SECONDS[duration[-1]]


class TrainingConfig(Group):
    """How the model learns."""

    input_size: int | None = Field(
        default=None,
        ge=64,
        le=1024,
        multiple_of=32,
        description="Side of the square the network sees (pixels); larger shows finer detail and takes longer. Empty "
        "takes 320 where a network learns, a detector among them, and else 448.",
        json_schema_extra={"position": 1},
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=2**31 - 1,
        description="Seed of everything random; equal seeds and equal data give equal models.",
        json_schema_extra={"position": 2},
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda:[0-9]{1,2})$",
        description="Where a network learns: cpu, cuda:N for the Nth graphics card, or auto for the first card if "
        "there is one.",
        json_schema_extra={"position": 3},
    )
    weights: str = Field(
        default="package",
        pattern=r"^(package|none|models:/[^/@\n]+(@[^/@\n]+|/[0-9]+)|hub:[A-Za-z0-9][A-Za-z0-9_.-]*|https?://[^\s]+|"
        r"file:///[^\n]+|[^:\n]+\.(safetensors|pth|pt|bin))$",
        description="What a network starts from: `package` (a backbone that knows ImageNet), `none`, hub:NAME with a "
        "name of timm such as hub:resnet18.a1_in1k, a file of tensors (safetensors or torch), its http address, or an "
        "earlier version of your own as models:/NAME@ALIAS or models:/NAME/VERSION; labels may have been added since.",
        json_schema_extra={"position": 4},
    )
    preprocessing: PreprocessingConfig = Field(
        default=PreprocessingConfig(),
        title="Preprocessing",
        description="What happens to an image before the network sees it.",
        json_schema_extra={"position": 5},
    )
    detector: DetectorConfig = Field(
        default=DetectorConfig(),
        title="Detector",
        description="Options of a detector.",
        json_schema_extra={"position": 6},
    )
    algorithm: Algorithm = Field(
        default="auto",
        description="The classifier. On frozen features: `auto` tries several, and a network where `limit` covers it, "
        "and keeps the best, or `logistic` "
        "regression, `svm` (support vector machines), `random_forest`, `knn` (nearest neighbours), or `ensemble`, the "
        "mean of the first three; options are chosen by cross-validation. As a network that learns: `cnn` from "
        "scratch, `transfer` on a frozen backbone, or `finetune`, which also teaches the backbone.",
        json_schema_extra={"position": 7},
    )
    features: tuple[ClassifierFeatures, ...] = Field(
        default=(),
        description="What a classifier sees of an image. By a network: `embedding`, the whole at a glance; `stages`, "
        "statistics of finer structure, which show small defects. Without one: `hog` (outlines by place), `gabor`, "
        "`lbp` and `tamura` (texture), `edges`, `corners`, `blobs`, `sift_words` (salient details), `colour`. Several "
        "are seen side by side. Empty lets cross-validation choose.",
        json_schema_extra={"position": 8},
    )
    views: bool = Field(
        default=True,
        description="Let a classifier learn from mirrored and slightly turned images too, where cross-validation says "
        "that it helps. Say no where a mirrored image would carry another label.",
        json_schema_extra={"position": 9},
    )
    anomaly: AnomalyConfig = Field(
        default=AnomalyConfig(),
        title="Anomalies",
        description="Options of an anomaly model.",
        json_schema_extra={"position": 10},
    )
    network: NetworkConfig = Field(
        default=NetworkConfig(),
        title="Network",
        description="Options of cnn, transfer and finetune.",
        json_schema_extra={"position": 11},
    )
    limit: Duration = Field(
        default="1m",
        description="Auto without features named: the longest that trying finetune too may take, as 90s, 10m or 2h. "
        "Where an estimate says that it takes longer, the table of what was tried says so; 0s asks for no network.",
        json_schema_extra={"position": 12},
    )

    @property
    def limit_seconds(self) -> float:
        """The longest that trying a network may take (seconds)."""
        return seconds_of(self.limit)

    @model_validator(mode="after")
    def _names_no_feature_twice(self) -> Self:
        twice = sorted({name for name in self.features if self.features.count(name) > 1})
        if twice:
            raise ValueError(f"training.features names {' and '.join(twice)} twice; once is enough")
        return self


class EvaluationConfig(Group):
    """How the model is measured."""

    folds: int | None = Field(
        default=None,
        ge=2,
        le=20,
        description="Folds of the cross-validated estimate; fewer are used when a label has fewer images. Empty takes "
        "5 for a classifier on frozen features, and none for a network, for which each costs as much as the training "
        "itself.",
        json_schema_extra={"position": 1},
    )
    explain: bool = Field(
        default=True,
        description="Show in the report where a classifier looks: parts of ten test images are hidden in turn, which "
        "takes some seconds.",
        json_schema_extra={"position": 2},
    )


class GateConfig(Group):
    """What a model must reach before it may be staged."""

    min_macro_f1: float = Field(
        default=0.80,
        ge=0.0,
        le=1.0,
        description="Classification: lowest macro-F1 (mean of the labels' F1).",
        json_schema_extra={"position": 1},
    )
    min_map_50: float = Field(
        default=0.50,
        ge=0.0,
        le=1.0,
        description="Detection: lowest mAP50 (mean over labels of the average precision at an overlap, IoU, of 0.5).",
        json_schema_extra={"position": 2},
    )
    min_image_auroc: float = Field(
        default=0.90,
        ge=0.0,
        le=1.0,
        description="Anomalies: lowest area under the ROC curve of the images' confidences.",
        json_schema_extra={"position": 3},
    )
    min_label_recall: float = Field(
        default=0.60,
        ge=0.0,
        le=1.0,
        description="Lowest recall of any single label; a detector's label with fewer than 10 test boxes and no "
        "cross-validated figure is not judged.",
        json_schema_extra={"position": 4},
    )
    max_confidence_drift: float = Field(
        default=0.001,
        ge=0.0,
        le=1.0,
        description="Inference test: largest difference between a confidence of the registered model and the "
        "same confidence at evaluation.",
        json_schema_extra={"position": 5},
    )
    max_latency_ms: float = Field(
        default=1000.0,
        gt=0.0,
        description="Inference test: longest time per image, 95th percentile (milliseconds).",
        json_schema_extra={"position": 6},
    )


class RegistryConfig(Group):
    """Where the model goes."""

    model_name: str = Field(
        default="",
        pattern=NAME_OR_EMPTY,
        description="Name of the registered model; empty takes the dataset's name and the task.",
        json_schema_extra={"position": 1},
    )
    stage: bool = Field(
        default=True,
        description="Give the alias `staging` to a version that passed gate and inference test.",
        json_schema_extra={"position": 2},
    )


class TrainConfig(Group):
    """Turn a folder of labelled images into a registered, staged recognition model."""

    task: Task = Field(
        default="classification",
        description="What the model answers: labels of an image, the boxes of what it finds, or how far an image is "
        "from normal ones (anomaly).",
    )
    data: DataConfig = Field(default=DataConfig(), description="Where the images come from.")
    masks: MaskConfig = Field(default=MaskConfig(), description="How masks become bounding boxes, for detection.")
    training: TrainingConfig = Field(default=TrainingConfig(), description="How the model learns.")
    evaluation: EvaluationConfig = Field(default=EvaluationConfig(), description="How the model is measured.")
    gate: GateConfig = Field(default=GateConfig(), description="What a model must reach to be staged.")
    registry: RegistryConfig = Field(default=RegistryConfig(), description="Where the model goes.")
    shards: ShardsConfig = Field(default=ShardsConfig(), description="Who carries out the work on images.")

    @property
    def input_size(self) -> int:
        """Side of the square the network sees (pixels): as asked for, or what suits the task."""
        return self.training.input_size or (320 if self._learns_a_network else 448)

    @property
    def _learns_a_network(self) -> bool:
        return self.task == "detection" or (
            self.task == "classification" and self.training.algorithm in _OF_OTHER_ALGORITHMS
        )

    @model_validator(mode="after")
    def _has_no_idle_field(self) -> Self:
        of_algorithm = idle_fields(self.training.algorithm) if self.task == "classification" else ()
        if self.training.features and "training.limit" not in of_algorithm:
            # A network sees pixels: features were asked for.
            of_algorithm += ("training.limit", "training.device")
        idle = _changed(self, (*of_algorithm, *_OF_OTHER_TASKS[self.task]))
        if idle:
            verb = "does" if len(idle) == 1 else "do"
            choice = " and its algorithm" if self.task == "classification" else ""
            kind = f" with the algorithm {self.training.algorithm}" if self.task == "classification" else ""
            raise ValueError(
                f"{' and '.join(idle)} {verb} nothing for the task {self.task}{kind}; leave out, or change task{choice}"
            )
        return self

    @model_validator(mode="after")
    def _has_weights_for_its_algorithm(self) -> Self:
        if self.training.algorithm == "transfer" and self.training.weights == "none":
            raise ValueError("transfer learns on what the backbone knows, so training.weights must not be none")
        if self.training.algorithm == "cnn" and not self.training.weights.startswith(("package", "none", "models:/")):
            raise ValueError(
                "a cnn learns from scratch or goes on from a cnn of your own, so training.weights "
                f"{self.training.weights} does nothing; leave out, or choose transfer or finetune"
            )
        return self


_OF_CLASSIFIERS = (
    *("data.labels_per_image", "training.algorithm", "training.features", "training.views", "training.network"),
    *("training.limit", "training.preprocessing.framing", "evaluation.explain", "gate.min_macro_f1"),
)
_OF_DETECTORS = ("training.detector", "gate.min_map_50")
_OF_ANOMALIES = ("data.normal_label", "training.anomaly", "gate.min_image_auroc")
_OF_OTHER_TASKS: dict[Task, tuple[str, ...]] = {
    "classification": ("masks", *_OF_DETECTORS, *_OF_ANOMALIES),
    "detection": (*_OF_CLASSIFIERS, *_OF_ANOMALIES),
    "anomaly": ("training.device", "training.weights", *_OF_DETECTORS, *_OF_CLASSIFIERS, "evaluation.folds"),
}
"""Fields that a task would ignore: giving one a value is a mistake that is told."""
_OF_NETWORKS = ("training.device", "training.weights", "training.network")
_OF_BACKBONES = ("training.network.frozen_stages", "training.network.layer_decay")
_OF_HEADS = ("training.features", "training.views")
_OF_OTHER_ALGORITHMS: dict[Algorithm, tuple[str, ...]] = {
    "cnn": ("training.network.backbone", *_OF_BACKBONES, *_OF_HEADS),
    "transfer": (*_OF_BACKBONES, *_OF_HEADS),
    "finetune": _OF_HEADS,
}
"""Fields that an algorithm would ignore; those not named here ignore `_OF_NETWORKS`."""


def idle_fields(algorithm: Algorithm) -> tuple[str, ...]:
    """Return the fields, as GROUP.FIELD, that a classifier's algorithm would ignore."""
    if algorithm == "auto":  # it may try a network, whose options are its own affair
        return ("training.weights", "training.network")
    return (*_OF_OTHER_ALGORITHMS.get(algorithm, _OF_NETWORKS), "training.limit")


def _changed(config: BaseModel, fields: tuple[str, ...]) -> list[str]:
    """Return those of the fields, named as GROUP.FIELD, that differ from their defaults."""
    defaults = SimpleNamespace(**{name: field.default for name, field in type(config).model_fields.items()})
    return [path for path in fields if attrgetter(path)(config) != attrgetter(path)(defaults)]


class GroundTruthConfig(Group):
    """Turn any labelled source into manifests of train, validation and test images."""

    task: GroundTruthTask = Field(
        default="auto",
        description="What the ground truth is for: labels of images, or boxes; `auto` takes boxes where the source has "
        "boxes or masks.",
    )
    data: DataConfig = Field(default=DataConfig(), description="Where the images come from.")
    masks: MaskConfig = Field(default=MaskConfig(), description="How masks become bounding boxes.")
    output: str = Field(
        default="", description="Folder to write to, here or as s3://BUCKET/FOLDER; empty takes one in Keeneye's home."
    )
    format: ManifestFormat = Field(default="ground-truth", description="The format of the files written.")
    reference_prefix: str = Field(
        default="",
        description="Put before every image reference written, such as s3://bucket/photos/; empty leaves them relative "
        "to the image folder.",
    )
    shards: ShardsConfig = Field(default=ShardsConfig(), description="Who carries out the work on images.")
