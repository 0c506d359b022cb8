"""Where a network's weights come from and go to: the packaged backbone, or a detector that was trained before."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision.models.detection import FCOS

from tasks.errors import RequestError
from tasks.train.backbone import packaged_weights_path

CLASS_LAYER = "head.classification_head.cls_logits."


def load_packaged_backbone(network: FCOS, backbone: str) -> None:
    """Give a network's backbone the ImageNet weights of the installed package."""
    packaged = torch.load(packaged_weights_path(), map_location="cpu", weights_only=True)
    names = timm.create_model(backbone, pretrained=False).state_dict()
    # The package's original implementation has other names, and the same tensors in the same order.
    known = dict(zip(names, packaged.values(), strict=True))
    body = network.backbone.body
    body.load_state_dict({name: known[name] for name in body.state_dict()})


def save_weights(network: FCOS, path: Path) -> None:
    """Write all tensors of a network as safetensors, names as in the network."""
    save_file({name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items()}, path)


def continue_from(network: FCOS, path: Path, earlier: Sequence[str], labels: Sequence[str]) -> dict[str, str]:
    """Give a network the weights of an earlier detector; labels that both know keep what was learned of them.

    Args:
        network: for `labels`.
        path: what `save_weights` wrote.
        earlier: labels of the earlier detector, in the order of its columns.
        labels: labels of this one.

    Returns:
        For the record: which labels were known, which are new, which were left behind; joined by commas.

    Raises:
        RequestError: when the earlier detector is built differently.
    """
    stored = load_file(path)
    own = network.state_dict()
    shared = [label for label in labels if label in earlier]
    for name in (f"{CLASS_LAYER}weight", f"{CLASS_LAYER}bias"):
        fresh, rows = own[name], stored.get(name)
        if rows is not None and rows.shape == (len(earlier), *fresh.shape[1:]):
            stored[name] = _known_rows(fresh, rows, earlier, labels)
    strangers = sorted(name for name in own.keys() | stored.keys() if _shape(own, name) != _shape(stored, name))
    if strangers:
        raise RequestError(
            f"the earlier model is built differently ({len(strangers)} tensors, {strangers[0]} first); choose the "
            "training.detector.backbone it was trained with, or train without training.weights"
        )
    network.load_state_dict(stored)
    return {
        "known_labels": ", ".join(shared),
        "new_labels": ", ".join(label for label in labels if label not in earlier),
        "dropped_labels": ", ".join(label for label in earlier if label not in labels),
    }


def _known_rows(fresh: Tensor, stored: Tensor, earlier: Sequence[str], labels: Sequence[str]) -> Tensor:
    rows = fresh.clone()
    for row, label in enumerate(labels):
        if label in earlier:
            rows[row] = stored[list(earlier).index(label)]
    return rows


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(state[name].shape) if name in state else None
