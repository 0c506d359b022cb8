"""The network: torchvision's FCOS on a feature pyramid over an EfficientNet-Lite backbone.

FCOS: Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection", ICCV 2019. Every place of a feature map says
which label it sees, how far the four sides of its box are, and how central it lies. Labels are columns 0 to L-1: the
losses are sigmoids, so there is no column for the background.
"""

from collections import OrderedDict
from dataclasses import dataclass

import timm
import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FeaturePyramidNetwork

from tasks.train.learning.frozen import Frozen

STRIDES = (8, 16, 32)
"""Input pixels per place of each feature map: objects of about 10 to 300 pixels at the default input size."""
PYRAMID_CHANNELS = 64
HEAD_CONVOLUTIONS = 2
"""Half of FCOS's own, on fewer channels: a step of learning takes less time."""
_PYRAMID_STAGES = (3, 5, 7)
"""Stages of an EfficientNet, the stem being the first, whose maps have the strides above."""
OUTPUT_NAMES = ("class_logits", "box_regression", "centreness")
"""Of the exported graph, in order; what they hold is told in `tasks/bundle/detection.py`."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """What the network is made of.

    Attributes:
        backbone: name of the network in timm.
        frozen_stages: how many of the backbone's stages, from the input on, keep their weights; the stem is the first.
        label_count: number of labels.
    """

    backbone: str
    frozen_stages: int
    label_count: int


class PyramidBackbone(nn.Module):  # type: ignore[misc]  # torch is not followed
    """A backbone with a feature pyramid on its maps of stride 8, 16 and 32.

    The means and variances of its batch normalisation stay as they are: a few images say too little of them.
    """

    def __init__(self, name: str, frozen_stages: int) -> None:
        super().__init__()
        self.body = timm.create_model(name, pretrained=False, features_only=True, out_indices=(2, 3, 4))
        self.fpn = FeaturePyramidNetwork(self.body.feature_info.channels(), PYRAMID_CHANNELS)
        self.out_channels = PYRAMID_CHANNELS
        self.frozen_stages = frozen_stages
        for stage in self._stages()[:frozen_stages]:
            stage.requires_grad_(False)

    def train(self, mode: bool = True) -> "PyramidBackbone":
        """Switch to training, batch normalisation excepted."""
        super().train(mode)
        for module in self.body.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Turn N x 3 x S x S into one map of `PYRAMID_CHANNELS` per stride."""
        return self.learning(self.frozen(images))

    def frozen(self, images: Tensor) -> list[Tensor]:
        """Run the stages that keep their weights: those of their maps that the pyramid takes, then the last one's."""
        with torch.no_grad():
            return self._run(images, 0, self.frozen_stages)

    def learning(self, outputs: list[Tensor]) -> OrderedDict[str, Tensor]:
        """Go on from what `frozen` gave; return one map of `PYRAMID_CHANNELS` per stride."""
        *maps, last = outputs
        maps += self._run(last, self.frozen_stages, len(self._stages()))[:-1]
        pyramid: OrderedDict[str, Tensor] = self.fpn(OrderedDict((str(i), one) for i, one in enumerate(maps)))
        return pyramid

    def _run(self, values: Tensor, first: int, end: int) -> list[Tensor]:
        maps = []
        for place, stage in enumerate(self._stages()[first:end], start=first):
            values = stage(values)
            if place in _PYRAMID_STAGES:
                maps.append(values)
        return [*maps, values]

    def _stages(self) -> list[nn.Module]:
        return [nn.Sequential(self.body.conv_stem, self.body.bn1), *self.body.blocks]


def build_network(architecture: Architecture) -> FCOS:
    """Return the network with random weights, from torch's generator."""
    network = FCOS(
        PyramidBackbone(architecture.backbone, architecture.frozen_stages),
        num_classes=architecture.label_count,
        anchor_generator=AnchorGenerator(sizes=tuple((s,) for s in STRIDES), aspect_ratios=((1.0,),) * len(STRIDES)),
        head=FCOSHead(PYRAMID_CHANNELS, 1, architecture.label_count, num_convs=HEAD_CONVOLUTIONS),
    )
    return network.to(memory_format=torch.channels_last)


def losses_of(
    network: FCOS, images: Tensor, targets: list[dict[str, Tensor]], frozen: Frozen | None = None
) -> dict[str, Tensor]:
    """Return the three losses of a batch of prepared images: of labels, of boxes, of centrality.

    torchvision's own `forward` would resize and normalise again; images come as the bundle prepares them.

    Args:
        network: in training mode.
        images: N x 3 x S x S, letterboxed and normalised.
        targets: N times `boxes` (B x 4, left, top, right, bottom in input pixels) and `labels` (B columns).
        frozen: runs the stages that keep their weights; None runs them as the rest.
    """
    maps = list(network.backbone.learning((frozen or network.backbone.frozen)(images)).values())
    anchors = network.anchor_generator(ImageList(images, [tuple(images.shape[-2:])] * len(images)), maps)
    places = [one.shape[-2] * one.shape[-1] for one in maps]
    losses: dict[str, Tensor] = network.compute_loss(targets, network.head(maps), anchors, places)
    return losses


class Graph(nn.Module):  # type: ignore[misc]  # torch is not followed
    """What is exported: backbone and heads without decoding; `OUTPUT_NAMES` are its outputs."""

    def __init__(self, network: FCOS) -> None:
        super().__init__()
        self.backbone = network.backbone
        self.head = network.head

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return class logits, box regression and centreness logits."""
        return self.learning(self.backbone.frozen(images))

    def learning(self, outputs: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Go on from what the frozen stages gave."""
        answer = self.head(list(self.backbone.learning(outputs).values()))
        return answer["cls_logits"], answer["bbox_regression"], answer["bbox_ctrness"]
