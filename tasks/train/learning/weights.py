"""Where a network's tensors come from and go to: packages, files, networks of one's own that were trained before."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tasks.bundle.format import file_sha256
from tasks.errors import RequestError, SourceChanged
from tasks.train.backbone import BACKBONE_NAME, packaged_tensors
from tasks.train.earlier import Earlier
from tasks.train.weights import MAX_WEIGHTS_BYTES, NO_WEIGHTS, PACKAGE, FirstWeights

Tensors = Mapping[str, Tensor]
"""By the names they have in a network."""


def load_first(body: nn.Module, backbone: str, weights: FirstWeights) -> None:
    """Give a backbone its first weights; `none` leaves the random ones.

    Args:
        body: a network of timm, or a part of it with the same names.
        backbone: its name in timm.
        weights: where from.

    Raises:
        RequestError: when they cannot be read, or belong to another network.
    """
    if weights.address != NO_WEIGHTS:
        _load_known(body, _read_first(backbone, weights), weights.address, backbone)


def load_packaged(body: nn.Module, backbone: str) -> None:
    """Give a backbone the ImageNet weights of the installed package.

    Raises:
        RequestError: when the package has those of another one.
    """
    _load_known(body, _packaged(backbone), PACKAGE, backbone)


def save_weights(network: nn.Module, path: Path) -> None:
    """Write all tensors of a network as safetensors, names as in the network."""
    save_file({name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items()}, path)


def continue_from(
    network: nn.Module, earlier: Earlier, labels: Sequence[str], class_layer: str, backbone_field: str
) -> dict[str, str]:
    """Give a network the weights of an earlier one; labels that both know keep what was learned of them.

    Args:
        network: for `labels`.
        earlier: the other one; `save_weights` wrote its tensors.
        labels: labels of this one.
        class_layer: the beginning of the names of the layer with a row for each label.
        backbone_field: the request's field that decides how the network is built.

    Returns:
        For the record: which labels were known, which are new, which were left behind; joined by commas.

    Raises:
        RequestError: when the earlier network is built differently.
    """
    stored = load_file(earlier.weights)
    own = network.state_dict()
    for name in (f"{class_layer}weight", f"{class_layer}bias"):
        fresh, rows = own[name], stored.get(name)
        if rows is not None and rows.shape == (len(earlier.labels), *fresh.shape[1:]):
            stored[name] = _known_rows(fresh, rows, earlier.labels, labels)
    strangers = sorted(name for name in own.keys() | stored.keys() if _shape(own, name) != _shape(stored, name))
    if strangers:
        raise RequestError(
            f"the earlier model is built differently ({len(strangers)} tensors, {strangers[0]} first); choose the "
            f"{backbone_field} it was trained with, or train without training.weights"
        )
    network.load_state_dict(stored)
    return {
        "known_labels": ", ".join(label for label in labels if label in earlier.labels),
        "new_labels": ", ".join(label for label in labels if label not in earlier.labels),
        "dropped_labels": ", ".join(label for label in earlier.labels if label not in labels),
    }


def _read_first(backbone: str, weights: FirstWeights) -> Tensors:
    if weights.file is None:
        return _packaged(backbone)
    if file_sha256(weights.file) != weights.digest:
        raise SourceChanged(
            f"training.weights {weights.address} changed while it was learned from; start again once it stays as it is"
        )
    try:
        return _read(weights.file)
    except Exception as error:  # damaged and foreign files make torch raise nearly anything
        raise RequestError(
            f"training.weights {weights.address} cannot be read, neither as safetensors nor as tensors saved by torch; "
            "name a whole file of tensors"
        ) from error


def _packaged(backbone: str) -> Tensors:
    if backbone != BACKBONE_NAME:
        raise RequestError(
            f"no installed package has weights of {backbone}, only of {BACKBONE_NAME}; name others in "
            "training.weights: hub:NAME, a file or its address, or none"
        )
    return packaged_tensors(list(timm.create_model(backbone, pretrained=False).state_dict()))


def _read(path: Path) -> Tensors:
    if not zipfile.is_zipfile(path):
        return dict(load_file(path))
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > MAX_WEIGHTS_BYTES:
            raise ValueError("it unpacks to more than a network's weights take")
    found = torch.load(path, map_location="cpu", weights_only=True)
    # Training scripts keep the tensors below one of these names.
    for key in ("state_dict", "model"):
        found = found[key] if isinstance(found.get(key), dict) else found
    return {str(name): tensor for name, tensor in found.items() if isinstance(tensor, Tensor)}


def _load_known(body: nn.Module, tensors: Tensors, address: str, backbone: str) -> None:
    own = body.state_dict()
    # How many batches a normalisation has seen says nothing of the network; old files lack it.
    wanted = [name for name in own if not name.endswith("num_batches_tracked")]
    strangers = [name for name in wanted if _shape(own, name) != _shape(tensors, name)]
    if strangers:
        raise RequestError(
            f"training.weights {address} does not fit the backbone {backbone}: {len(strangers)} of its {len(wanted)} "
            f"tensors are missing or have another shape, {strangers[0]} first; name weights of {backbone}"
        )
    body.load_state_dict({name: tensors.get(name, tensor) for name, tensor in own.items()})


def _known_rows(fresh: Tensor, stored: Tensor, earlier: Sequence[str], labels: Sequence[str]) -> Tensor:
    rows = fresh.clone()
    for row, label in enumerate(labels):
        if label in earlier:
            rows[row] = stored[list(earlier).index(label)]
    return rows


def _shape(state: Tensors, name: str) -> tuple[int, ...] | None:
    return tuple(state[name].shape) if name in state else None
