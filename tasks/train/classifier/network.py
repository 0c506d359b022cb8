"""The network: a backbone in stages, and a layer with a row for each label on its pooled features."""

from collections.abc import Sequence
from dataclasses import dataclass

import timm
import torch
from timm.models import EfficientNet, ResNet
from torch import Tensor, nn

from tasks.errors import RequestError

CNN = "cnn"
"""Name of the small backbone that is built here, and learns from scratch."""
CNN_CHANNELS = (24, 48, 96, 192)
DROPOUT = 0.2
CLASS_LAYER = "head."
BACKBONE_FIELD = "training.network.backbone"


@dataclass(frozen=True, slots=True)
class Architecture:
    """What the network is made of.

    Attributes:
        backbone: name of the network in timm, or `CNN`.
        frozen_stages: how many of the backbone's stages, from the image on, keep their weights; None: all of them.
        is_pretrained: whether the backbone has learned before. The means and variances of its normalisation then stay
            as they are: a few images say too little of them.
        label_count: number of labels.
        is_multi_label: whether every label is answered by itself, for an image may have several, or none.
    """

    backbone: str
    frozen_stages: int | None
    is_pretrained: bool
    label_count: int
    is_multi_label: bool = False


class ClassifierNetwork(nn.Module):  # type: ignore[misc]  # torch is not followed
    """Images to logits, one for each label."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.body = _body(architecture.backbone)
        self.head = nn.Linear(self.body.num_features, architecture.label_count)
        count = len(self.stages)
        self.frozen_stages = count if architecture.frozen_stages is None else min(architecture.frozen_stages, count)
        self.keeps_statistics = architecture.is_pretrained
        self.is_multi_label = architecture.is_multi_label
        for stage in self.stages[: self.frozen_stages]:
            stage.requires_grad_(False)

    @property
    def stages(self) -> list[nn.Module]:
        """The backbone's parts, from the image on; the last one gives pooled features."""
        return _stages(self.body)

    def train(self, mode: bool = True) -> "ClassifierNetwork":
        """Switch to training, except for normalisation whose statistics are kept."""
        super().train(mode)
        kept = self.stages if self.keeps_statistics else self.stages[: self.frozen_stages]
        for stage in kept:
            for module in stage.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Turn N x 3 x S x S into N x L logits."""
        return self.learning(self.frozen(images))

    def frozen(self, images: Tensor) -> list[Tensor]:
        """Run the stages that keep their weights; returns one tensor."""
        with torch.no_grad():
            return [_run(self.stages[: self.frozen_stages], images)]

    def learning(self, outputs: Sequence[Tensor]) -> Tensor:
        """Go on from what `frozen` gave; returns N x L logits."""
        features = _run(self.stages[self.frozen_stages :], outputs[0])
        logits: Tensor = self.head(nn.functional.dropout(features, DROPOUT, self.training))
        return logits

    def shares(self, logits: Tensor) -> Tensor:
        """Turn logits into probabilities, N x L: of each label by itself, or of rows that sum to 1."""
        found: Tensor = logits.sigmoid() if self.is_multi_label else logits.softmax(dim=1)
        return found


def build_network(architecture: Architecture) -> ClassifierNetwork:
    """Return the network with random weights, from torch's generator.

    Raises:
        RequestError: when the backbone's name is unknown, or names another kind of network.
    """
    network: ClassifierNetwork = ClassifierNetwork(architecture).to(memory_format=torch.channels_last)
    return network


class SmallCnn(nn.Module):  # type: ignore[misc]  # torch is not followed
    """Four stages of two convolutions; each halves the sides. For small sets, which large networks only memorise."""

    def __init__(self) -> None:
        super().__init__()
        inputs = (3, *CNN_CHANNELS[:-1])
        self.blocks = nn.Sequential(*(_block(*pair) for pair in zip(inputs, CNN_CHANNELS, strict=True)))
        self.global_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.num_features = CNN_CHANNELS[-1]


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers = []
    for channels, stride in ((inputs, 2), (outputs, 1)):
        layers += [nn.Conv2d(channels, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def _body(backbone: str) -> nn.Module:
    if backbone == CNN:
        return SmallCnn()
    body = timm.create_model(backbone, pretrained=False, num_classes=0) if timm.is_model(backbone) else None
    if not isinstance(body, ResNet | EfficientNet):
        raise RequestError(
            f"{BACKBONE_FIELD} {backbone!r} is no residual network or EfficientNet that timm knows; choose resnet18, "
            "resnet50, tf_efficientnet_lite0 or another of these kinds"
        )
    return body


def _stages(body: nn.Module) -> list[nn.Module]:
    if isinstance(body, ResNet):
        stem = nn.Sequential(body.conv1, body.bn1, body.act1, body.maxpool)
        return [stem, body.layer1, body.layer2, body.layer3, nn.Sequential(body.layer4, body.global_pool)]
    if isinstance(body, EfficientNet):
        last = nn.Sequential(body.conv_head, body.bn2, body.global_pool)
        return [nn.Sequential(body.conv_stem, body.bn1), *body.blocks, last]
    *blocks, last = body.blocks
    return [*blocks, nn.Sequential(last, body.global_pool)]


def _run(stages: Sequence[nn.Module], values: Tensor) -> Tensor:
    for stage in stages:
        values = stage(values)
    return values
