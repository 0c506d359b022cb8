"""The request models: one per flow, the same for the Prefect form, the Python call, the command line and YAML.

A flow's parameters are the groups of its model, because Prefect merges parameters by top-level name only. Imports
nothing of Keeneye, so that `--help` and the forms need no stage; stages' shells may import the groups from here.
"""

from operator import attrgetter
from types import SimpleNamespace
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from flows.group_config import Group
from flows.network_config import DetectorConfig as DetectorConfig
from flows.network_config import NetworkConfig as NetworkConfig

Task = Literal["classification", "detection", "anomaly"]
GroundTruthTask = Literal["auto", "classification", "detection"]
ManifestFormat = Literal["ground-truth", "coco", "yolo", "voc", "csv"]
Algorithm = Literal["auto", "logistic", "svm", "random_forest", "knn", "ensemble", "cnn", "transfer", "finetune"]
ClassifierFeatures = Literal["embedding", "stages"]
SplitScheme = Literal["70/15/15", "80/20", "given"]

ModelAddress = Annotated[str, Field(pattern=r"^(models:/)?[A-Za-z0-9][^/@\n]*(@[^/@\n]+|/[0-9]+)$")]
"""A registered version: NAME@ALIAS or NAME/VERSION, with or without the scheme of MLflow's addresses."""
NAME_OR_EMPTY = r"^([A-Za-z0-9][A-Za-z0-9_.-]{0,63})?$"


class DataConfig(Group):
    """Where the images come from and how they are divided."""

    source: str = Field(
        default="demo://transistors?images=150&seed=7",
        min_length=1,
        description="Folder of images (one sub-folder per label, or the MVTec layout with masks), Ground Truth "
        "manifest, COCO, YOLO, Pascal VOC or CSV annotations, a zip or tar archive of any of these; or the built-in "
        "demo set.",
        json_schema_extra={"position": 1},
    )
    name: str = Field(
        default="",
        pattern=NAME_OR_EMPTY,
        description="Name of the dataset, under which its versions and splits are kept; empty takes the source's "
        "own name.",
        json_schema_extra={"position": 2},
    )
    split: SplitScheme = Field(
        default="70/15/15",
        description="Shares of train/validation/test per label; 80/20 has no validation; `given` takes the split "
        "folders of the source.",
        json_schema_extra={"position": 3},
    )
    test_source: str = Field(
        default="",
        description="A second folder that is used for testing only; empty tests on a share of the source.",
        json_schema_extra={"position": 4},
    )
    max_invalid_fraction: float = Field(
        default=0.2,
        ge=0.0,
        le=1.0,
        description="Stop when more than this fraction of the files is bad; below it they are left out and named "
        "in the findings.",
        json_schema_extra={"position": 5},
    )
    min_side_pixels: int = Field(
        default=32,
        ge=1,
        le=4096,
        description="Images with a shorter side are left out (pixels).",
        json_schema_extra={"position": 6},
    )
    max_megapixels: float = Field(
        default=100.0,
        gt=0.0,
        le=100.0,
        description="Images with more pixels are left out (megapixels), judged from the header before decoding.",
        json_schema_extra={"position": 7},
    )
    max_file_megabytes: float = Field(
        default=40.0,
        gt=0.0,
        le=1000.0,
        description="Larger files are left out unread (megabytes).",
        json_schema_extra={"position": 8},
    )
    image_root: str = Field(
        default="",
        description="Folder that the references of annotation files are relative to, and never leave; empty takes "
        "the source's own folder.",
        json_schema_extra={"position": 9},
    )
    rewrite: tuple[Annotated[str, Field(pattern=r"^.+=")], ...] = Field(
        default=(),
        description="Rules PREFIX=REPLACEMENT for references of annotation files, such as s3://bucket/photos/=.",
        json_schema_extra={"position": 10},
    )
    rules: Literal["open", "aws"] = Field(
        default="open",
        description="What counts as valid: `open` takes true negatives, masks and every format; `aws` takes what "
        "Rekognition Custom Labels accepts, and no more.",
        json_schema_extra={"position": 11},
    )
    group_by: str = Field(
        default="",
        description="Images of one group never part: a regular expression with one group, searched in each "
        "reference, such as part-(\\d+), or the name of a CSV column.",
        json_schema_extra={"position": 12},
    )
    near_duplicates: bool = Field(
        default=True,
        description="Keep pictures that show the same but for compression, size or brightness in one split.",
        json_schema_extra={"position": 13},
    )
    normal_label: str = Field(
        default="",
        max_length=256,
        description="Anomalies: the label of images that are as they should be; empty takes good, normal and ok.",
        json_schema_extra={"position": 14},
    )


class MaskConfig(Group):
    """How masks become bounding boxes."""

    alpha_threshold: int = Field(
        default=128,
        ge=0,
        le=255,
        description="Mask pixels less opaque than this are background (0 to 255).",
        json_schema_extra={"position": 1},
    )
    colour_tolerance: int = Field(
        default=8,
        ge=0,
        le=127,
        description="Largest difference of a channel to a class's colour (0 to 255).",
        json_schema_extra={"position": 2},
    )
    connectivity: Literal[4, 8] = Field(
        default=8,
        description="8: pixels that touch at a corner belong together; 4: only at a side.",
        json_schema_extra={"position": 3},
    )
    min_area_pixels: int = Field(
        default=16,
        ge=1,
        description="Smaller components are noise and get no box (pixels).",
        json_schema_extra={"position": 4},
    )
    merge_distance_pixels: int = Field(
        default=0,
        ge=0,
        description="Components of one class with a gap of at most this get one box (pixels); 0 merges none.",
        json_schema_extra={"position": 5},
    )
    one_box_per: Literal["component", "class"] = Field(
        default="component",
        description="One box around each component, or one around all of a class.",
        json_schema_extra={"position": 6},
    )


class CropConfig(Group):
    """The part of an image that counts, as ratios of its width and height; the whole image unless said otherwise."""

    left: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="Left edge (0 to 1).", json_schema_extra={"position": 1}
    )
    top: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="Upper edge (0 to 1).", json_schema_extra={"position": 2}
    )
    width: float = Field(default=1.0, gt=0.0, le=1.0, description="Width (0 to 1).", json_schema_extra={"position": 3})
    height: float = Field(
        default=1.0, gt=0.0, le=1.0, description="Height (0 to 1).", json_schema_extra={"position": 4}
    )

    @model_validator(mode="after")
    def _lies_within(self) -> Self:
        # Ratios such as 0.1 + 0.9 are sums of rounded numbers.
        if max(self.left + self.width, self.top + self.height) > 1.0 + 1e-9:
            raise ValueError("the crop reaches beyond the image; left + width and top + height may be at most 1")
        return self


class PreprocessingConfig(Group):
    """What happens to an image before the network sees it, in training as in every prediction, in this order."""

    crop: CropConfig = Field(
        default=CropConfig(),
        title="Crop",
        description="Only this part of every image is looked at.",
        json_schema_extra={"position": 1},
    )
    denoise: Literal[0, 3, 5, 7] = Field(
        default=0,
        description="Diameter of a median filter against specks (pixels of the image); 0 leaves them.",
        json_schema_extra={"position": 2},
    )
    clahe: float = Field(
        default=0.0,
        ge=0.0,
        le=40.0,
        description="Contrast limit of an adaptive equalisation of the lightness (CLAHE), in multiples of the mean "
        "bar of a tile's histogram; 2 is usual, 0 leaves the contrast as it is.",
        json_schema_extra={"position": 3},
    )
    grey: bool = Field(
        default=False, description="Look at lightness only, not at colours.", json_schema_extra={"position": 4}
    )


class AnomalyConfig(Group):
    """How an anomaly model remembers normal images; other models have none of these."""

    memory_patches: int = Field(
        default=2000,
        ge=10,
        le=20_000,
        description="Patches of normal images that are remembered; more take longer to search.",
        json_schema_extra={"position": 1},
    )
    false_alarm_rate: float = Field(
        default=0.02,
        gt=0.0,
        le=0.5,
        description="Share of normal images that may be called abnormal; it sets the threshold where the validation "
        "images hold fewer than 5 anomalies.",
        json_schema_extra={"position": 2},
    )


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
        description="The classifier. On frozen features: `auto` tries several and keeps the best, or `logistic` "
        "regression, `svm` (support vector machines), `random_forest`, `knn` (nearest neighbours), or `ensemble`, the "
        "mean of the first three; options are chosen by cross-validation. As a network that learns: `cnn` from "
        "scratch, `transfer` on a frozen backbone, or `finetune`, which also teaches the backbone.",
        json_schema_extra={"position": 7},
    )
    features: tuple[ClassifierFeatures, ...] = Field(
        default=(),
        max_length=2,
        description="What a classifier sees of an image: `embedding`, the whole at a glance; `stages`, statistics of "
        "finer structure, which show small defects; both side by side. Empty lets cross-validation choose.",
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
        description="What the model answers: one label per image, the boxes of what it finds, or how far an image is "
        "from normal ones (anomaly).",
    )
    data: DataConfig = Field(default=DataConfig(), description="Where the images come from.")
    masks: MaskConfig = Field(default=MaskConfig(), description="How masks become bounding boxes, for detection.")
    training: TrainingConfig = Field(default=TrainingConfig(), description="How the model learns.")
    evaluation: EvaluationConfig = Field(default=EvaluationConfig(), description="How the model is measured.")
    gate: GateConfig = Field(default=GateConfig(), description="What a model must reach to be staged.")
    registry: RegistryConfig = Field(default=RegistryConfig(), description="Where the model goes.")

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
        of_algorithm = _OF_OTHER_ALGORITHMS.get(self.training.algorithm, _OF_NETWORKS)
        idle = _changed(self, (*(of_algorithm if self.task == "classification" else ()), *_OF_OTHER_TASKS[self.task]))
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
        known = ("package", "none", "models:/")
        if self.training.algorithm == "cnn" and not self.training.weights.startswith(known):
            raise ValueError(
                "a cnn learns from scratch or goes on from a cnn of your own, so training.weights "
                f"{self.training.weights} does nothing; leave out, or choose transfer or finetune"
            )
        return self


_OF_CLASSIFIERS = (
    *("training.algorithm", "training.features", "training.views", "training.network", "gate.min_macro_f1"),
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
    output: str = Field(default="", description="Folder to write to; empty takes one in Keeneye's home.")
    format: ManifestFormat = Field(default="ground-truth", description="The format of the files written.")
    reference_prefix: str = Field(
        default="",
        description="Put before every image reference written, such as s3://bucket/photos/; empty leaves them relative "
        "to the image folder.",
    )
