import pickle
import zipfile
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from tasks.bundle.format import file_sha256
from tasks.errors import RequestError, SourceChanged
from tasks.train.learning import weights as weights_module
from tasks.train.learning.weights import load_first, load_packaged
from tasks.train.weights import FirstWeights

BACKBONE = "resnet18"


def network(seed: int, name: str = BACKBONE):
    torch.manual_seed(seed)
    return timm.create_model(name, pretrained=False, num_classes=3)


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    return network(1).state_dict()


def old_file(tensors):
    return {name: one for name, one in tensors.items() if not name.endswith("num_batches_tracked")}


WRITERS = {
    "safetensors": lambda path, tensors: save_file(tensors, path),
    "torch": lambda path, tensors: torch.save(tensors, path),
    "of a training script": lambda path, tensors: torch.save({"state_dict": tensors, "epoch": 3}, path),
    "no counts of batches": lambda path, tensors: save_file(old_file(tensors), path),
    "another layer of labels": lambda path, tensors: save_file(
        {name: one for name, one in tensors.items() if not name.startswith("fc.")}, path
    ),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_file_of_tensors_is_read(write, tensors, tmp_path):
    path = tmp_path / "weights.any"
    write(path, tensors)
    body = timm.create_model(BACKBONE, pretrained=False, num_classes=0)
    load_first(body, BACKBONE, FirstWeights(str(path), file_sha256(path), path))
    assert all(torch.equal(one, tensors[name]) for name, one in body.state_dict().items())


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("/tmp/keeneye-was-here"),)


def write_bomb(path, tensors):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(2**24))


UNREADABLE = {
    "empty": lambda path, tensors: path.write_bytes(b""),
    "text": lambda path, tensors: path.write_text("weights"),
    "cut short": lambda path, tensors: (
        save_file(tensors, path),
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    ),
    "a long header": lambda path, tensors: path.write_bytes((2**62).to_bytes(8, "little") + b"{}"),
    "a pickle": lambda path, tensors: path.write_bytes(pickle.dumps(Evil())),
    "a pickle within": lambda path, tensors: torch.save({"w": Evil()}, path),
    "a bomb": write_bomb,
    "a list": lambda path, tensors: torch.save([torch.zeros(2)], path),
    "another archive": lambda path, tensors: zipfile.ZipFile(path, "w").close(),
}


@pytest.mark.parametrize("write", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_file_that_holds_no_tensors_is_refused_and_never_run(write, tensors, tmp_path, monkeypatch):
    monkeypatch.setattr(weights_module, "MAX_WEIGHTS_BYTES", 2**23)
    path = tmp_path / "weights.pt"
    write(path, tensors)
    with pytest.raises(RequestError, match=r"training\.weights .* cannot be read") as caught:
        load_first(network(0), BACKBONE, FirstWeights(str(path), file_sha256(path), path))
    assert "\n" not in caught.value.message
    assert not Path("/tmp/keeneye-was-here").exists()


STRANGE = {
    "another network": lambda tensors: network(0, "resnet34").state_dict() | {"layer1.0.conv1.weight": torch.zeros(1)},
    "nothing of ours": lambda tensors: {"w": torch.zeros(3)},
    "a tensor less": lambda tensors: {name: one for name, one in tensors.items() if name != "conv1.weight"},
}


@pytest.mark.parametrize("make", STRANGE.values(), ids=STRANGE.keys())
def test_weights_of_another_network_are_one_sentence(make, tensors, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(make(tensors), path)
    body = network(0)
    before = {name: one.clone() for name, one in body.state_dict().items()}
    with pytest.raises(RequestError, match=r"does not fit the backbone resnet18.*conv1\.weight first") as caught:
        load_first(body, BACKBONE, FirstWeights("file:///w", file_sha256(path), path))
    assert caught.value.exit_code == 2
    assert all(torch.equal(one, before[name]) for name, one in body.state_dict().items())


def test_none_leaves_what_is_there():
    body = network(0)
    before = {name: one.clone() for name, one in body.state_dict().items()}
    load_first(body, BACKBONE, FirstWeights("none", "none"))
    assert all(torch.equal(one, before[name]) for name, one in body.state_dict().items())


def test_package_has_no_weights_of_other_networks():
    with pytest.raises(RequestError, match=r"no installed package has weights of resnet18.*training\.weights"):
        load_packaged(network(0), BACKBONE)


def test_file_that_changed_since_it_was_found_is_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    found = FirstWeights(str(path), file_sha256(path), path)
    save_file({"a": torch.ones(1)}, path)
    with pytest.raises(SourceChanged, match="changed while it was learned from"):
        load_first(network(0), BACKBONE, found)
