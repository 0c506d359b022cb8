"""Options of detectors, of classifiers that are a network as a whole, and of anomaly models."""

from typing import Literal

from pydantic import Field

from flows.group_config import Group
from tasks.train.option_limits import MAX_FROZEN_STAGES, MAX_LEARNING_RATE

Augmentation = Literal["none", "light", "standard", "strong"]


class DetectorConfig(Group):
    """How a detector is built and learns; a classifier has none of these."""

    backbone: Literal["tf_efficientnet_lite0"] = Field(
        default="tf_efficientnet_lite0",
        description="The pretrained network below the feature pyramid.",
        json_schema_extra={"position": 1},
    )
    frozen_stages: int = Field(
        default=4,
        ge=0,
        le=8,
        description="How many of the backbone's eight stages keep their weights, counted from the image on; 0 lets all "
        "of them learn.",
        json_schema_extra={"position": 2},
    )
    epochs: int = Field(
        default=20,
        ge=1,
        le=1000,
        description="The most times to go through the images with boxes; a small set counts several times.",
        json_schema_extra={"position": 3},
    )
    patience: int = Field(
        default=10,
        ge=1,
        le=1000,
        description="Stop after this many epochs without a better mAP on the validation images.",
        json_schema_extra={"position": 4},
    )
    batch_size: int = Field(
        default=8, ge=1, le=256, description="Images per step of learning.", json_schema_extra={"position": 5}
    )
    learning_rate: float = Field(
        default=2e-3,
        gt=0.0,
        le=1.0,
        description="Highest learning rate, of the new layers; the backbone's is a fifth of it.",
        json_schema_extra={"position": 6},
    )
    warm_up: float = Field(
        default=0.1,
        ge=0.0,
        le=0.9,
        description="Share of all steps over which the learning rate rises; afterwards it falls along a cosine.",
        json_schema_extra={"position": 7},
    )
    augmentation: Augmentation = Field(
        default="standard",
        description="How much images are mirrored, moved, turned, scaled and lit differently while learning.",
        json_schema_extra={"position": 8},
    )


class NetworkConfig(Group):
    """How a classifying network is built and learns; other classifiers and detectors have none of these."""

    backbone: str = Field(
        default="tf_efficientnet_lite0",
        pattern=r"^[a-z0-9_]{1,64}$",
        description="The network below the layer of labels, by its name in timm: tf_efficientnet_lite0, resnet18, "
        "resnet50, or another EfficientNet or residual network.",
        json_schema_extra={"position": 1},
    )
    frozen_stages: int = Field(
        default=3,
        ge=0,
        le=MAX_FROZEN_STAGES,
        description="Finetune: how many of the backbone's stages keep their weights, counted from the image on; an "
        "EfficientNet has nine, a residual network five.",
        json_schema_extra={"position": 2},
    )
    epochs: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="The most times to go through the images; a small set counts several times. Empty takes 60 for a "
        "cnn, 30 for transfer and 20 for finetune.",
        json_schema_extra={"position": 3},
    )
    patience: int = Field(
        default=8,
        ge=1,
        le=1000,
        description="Stop after this many epochs without a lower loss on the images that were held out.",
        json_schema_extra={"position": 4},
    )
    batch_size: int = Field(
        default=16, ge=2, le=256, description="Images per step of learning.", json_schema_extra={"position": 5}
    )
    learning_rate: float | None = Field(
        default=None,
        gt=0.0,
        le=MAX_LEARNING_RATE,
        description="Highest learning rate, of the layer of labels. Empty takes 0.003 for cnn and transfer, and 0.001 "
        "for finetune.",
        json_schema_extra={"position": 6},
    )
    layer_decay: float = Field(
        default=0.6,
        gt=0.0,
        le=1.0,
        description="Finetune: learning rate of a stage, as a share of that of the stage behind it.",
        json_schema_extra={"position": 7},
    )
    warm_up: float = Field(
        default=0.1,
        ge=0.0,
        le=0.9,
        description="Share of all steps over which the learning rate rises; afterwards it falls along a cosine.",
        json_schema_extra={"position": 8},
    )
    augmentation: Augmentation = Field(
        default="standard",
        description="How much images are mirrored, moved, turned, scaled, lit differently and cut while learning.",
        json_schema_extra={"position": 9},
    )
    mixup: float = Field(
        default=0.2,
        ge=0.0,
        le=10.0,
        description="How much images are blended with each other while learning (both parameters of the beta "
        "distribution of shares); 0 blends none.",
        json_schema_extra={"position": 10},
    )
    label_smoothing: float = Field(
        default=0.05,
        ge=0.0,
        le=0.5,
        description="Share of every target that is spread evenly over the labels.",
        json_schema_extra={"position": 11},
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
