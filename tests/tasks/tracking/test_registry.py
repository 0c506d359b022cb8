import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

import tasks
from tasks.bundle.format import bundle_digest
from tasks.bundle.predictor import Predictor
from tasks.errors import BundleError, EnvironmentFailed, RegistryError
from tasks.stores.home import Home
from tasks.tracking.registry import (
    BUNDLE_DIGEST_TAG,
    MAX_TAG_CHARACTERS,
    REASONS_TAG,
    STATUS_TAG,
    Registry,
    VersionInfo,
)
from tasks.tracking.runs import RUN_KEY_TAG, run_of_key
from tests.makers import paint_shape, png_bytes
from tests.tasks.bundle.made_detector import put_box, silent_outputs, write_detector
from tests.tasks.bundle.made_engineered import write_engineered_model
from tests.tasks.conftest import Made

EXPERIMENT = "keeneye/test-registry"
EXAMPLE = png_bytes(paint_shape("round", 48))


@pytest.fixture(scope="module")
def version(trained: Made) -> VersionInfo:
    return _register(trained, "registry-one", "key")


def test_version_carries_its_tags(version: VersionInfo, trained: Made) -> None:
    assert version.version == "1"
    assert version.uri == "models:/registry-one/1"
    assert version.aliases == ()
    assert version.tags[RUN_KEY_TAG] == "key"
    assert version.tags[BUNDLE_DIGEST_TAG] == trained.model.bundle_digest
    assert version.tags["own"] == "tag"
    assert MlflowClient(trained.home.tracking_uri).get_run(version.run_id).data.tags[RUN_KEY_TAG] == "key"


def test_key_registers_one_version(version: VersionInfo, trained: Made) -> None:
    assert _register(trained, "registry-one", "key").version == version.version
    registry = Registry(trained.home)
    assert registry.version_of_key("registry-one", "key") == registry.version("registry-one", "1")
    assert registry.version_of_key("registry-one", "another") is None
    assert registry.version_of_key("registry-none", "key") is None


def test_two_threads_register_one_version(trained: Made) -> None:
    with ThreadPoolExecutor(2) as pool:
        infos = list(pool.map(lambda _: _register(trained, "registry-threads", "key"), range(2)))
    assert {info.version for info in infos} == {"1"}
    client = MlflowClient(trained.home.tracking_uri)
    assert len(client.search_model_versions("name = 'registry-threads'")) == 1


def test_deleted_version_is_registered_anew(trained: Made) -> None:
    first = _register(trained, "registry-deleted", "key")
    MlflowClient(trained.home.tracking_uri).delete_model_version(first.name, first.version)
    second = _register(trained, "registry-deleted", "key")
    assert second.version != first.version
    with pytest.raises(RegistryError):
        Registry(trained.home).version(first.name, first.version)


def test_fetched_bundle_is_the_registered_one(version: VersionInfo, trained: Made, tmp_path: Path) -> None:
    bundle = Registry(trained.home).fetch_bundle(version.uri, tmp_path)
    assert bundle.is_relative_to(tmp_path)
    assert bundle_digest(bundle) == trained.model.bundle_digest
    assert Predictor.open(bundle, expected_digest=trained.model.bundle_digest).card.labels == trained.manifest.labels


def test_alias_moves(trained: Made, tmp_path: Path) -> None:
    registry = Registry(trained.home)
    first = registry.set_alias(_register(trained, "registry-alias", "1"), "staging")
    assert first.aliases == ("staging",)
    second = registry.set_alias(_register(trained, "registry-alias", "2"), "staging")
    assert second.aliases == ("staging",)
    assert registry.version(first.name, first.version).aliases == ()
    fetched = registry.fetch_bundle("models:/registry-alias@staging", tmp_path)
    assert bundle_digest(fetched) == trained.model.bundle_digest


def test_models_and_versions_are_listed(version: VersionInfo, trained: Made) -> None:
    registry = Registry(trained.home)
    first, second = (_register(trained, "registry-listed", key) for key in ("1", "2"))
    registry.set_alias(first, "production")
    listed = {model.name: model for model in registry.models()}
    assert list(listed) == sorted(listed)
    assert listed["registry-listed"].aliases == {"production": "1"}
    assert [one.version for one in registry.versions("registry-listed")] == ["2", "1"]
    assert registry.versions("registry-listed")[1] == registry.version("registry-listed", "1")
    assert registry.versions("registry-listed")[1].aliases == ("production",)
    assert listed["registry-listed"].created_ms <= first.created_ms <= second.created_ms
    assert registry.versions("registry-nobody") == registry.versions("it's") == registry.versions("a\\") == []


def test_more_models_than_a_page_holds_are_listed(
    version: VersionInfo, trained: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(trained.home)
    everything = [model.name for model in registry.models()]
    monkeypatch.setattr("tasks.tracking.registry.PAGE_ROWS", 1)
    assert [model.name for model in registry.models()] == everything


def test_figures_of_a_version_are_those_of_its_run(version: VersionInfo, trained: Made) -> None:
    registry = Registry(trained.home)
    MlflowClient(trained.home.tracking_uri).log_metric(version.run_id, "macro_f1", 0.75)
    assert registry.metrics(version)["macro_f1"] == 0.75
    assert registry.metrics(replace(version, run_id="0" * 32)) == {}


def test_bundle_is_fetched_once(version: VersionInfo, trained: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(trained.home)
    kept = registry.cached_bundle(version)
    assert Predictor.open(kept, expected_digest=version.tags[BUNDLE_DIGEST_TAG]).card.labels == trained.manifest.labels
    monkeypatch.setattr(Registry, "fetch_bundle", lambda *_: pytest.fail("fetched again"))
    assert registry.cached_bundle(version) == kept
    assert [path.name for path in kept.parent.iterdir()] == [version.tags[BUNDLE_DIGEST_TAG]]


@pytest.mark.parametrize("file", ["model.json", "head.onnx", ""], ids=["card", "network", "all"])
def test_damaged_kept_bundle_is_fetched_anew(file: str, version: VersionInfo, trained: Made, tmp_path: Path) -> None:
    registry = Registry(Home(tmp_path / "other", trained.home.tracking_uri, trained.home.registry_uri))
    digest = version.tags[BUNDLE_DIGEST_TAG]
    kept = registry.cached_bundle(version)
    if file:
        (kept / file).write_bytes(b"x")
    else:
        shutil.rmtree(kept)
        kept.mkdir()
    healed = registry.cached_bundle(version)
    assert healed == kept
    assert Predictor.open(healed, expected_digest=digest).card.labels == trained.manifest.labels


def test_nothing_is_kept_under_the_digest_of_another(version: VersionInfo, trained: Made, tmp_path: Path) -> None:
    registry = Registry(Home(tmp_path / "other", trained.home.tracking_uri, trained.home.registry_uri))
    with pytest.raises(BundleError, match="expected 000000000000"):
        registry.cached_bundle(replace(version, tags={BUNDLE_DIGEST_TAG: "0" * 64}))
    assert list((tmp_path / "other" / "bundles").iterdir()) == []


def test_bundle_that_cannot_be_kept_is_told(
    version: VersionInfo, trained: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(Home(tmp_path / "other", trained.home.tracking_uri, trained.home.registry_uri))

    def fill_up(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", fill_up)
    with pytest.raises(OSError, match="No space left"):
        registry.cached_bundle(version)


def test_version_tells_since_when_its_names_hold(version: VersionInfo, trained: Made) -> None:
    registry = Registry(trained.home)
    model = next(one for one in registry.models() if one.name == version.name)
    for info in (version, *registry.versions(version.name)):
        assert info.named_since_ms("1") == version.created_ms > model.created_ms
        assert info.named_since_ms("production") == model.created_ms


def test_two_threads_fetch_one_bundle(version: VersionInfo, trained: Made, tmp_path: Path) -> None:
    other = Home(tmp_path / "other", trained.home.tracking_uri, trained.home.registry_uri)
    with ThreadPoolExecutor(4) as pool:
        kept = set(pool.map(lambda _: Registry(other).cached_bundle(version), range(4)))
    assert [path.name for path in other.bundles_path.iterdir()] == [one.name for one in kept]
    assert bundle_digest(kept.pop()) == version.tags[BUNDLE_DIGEST_TAG]


@pytest.mark.parametrize("digest", ["", "..", "../../etc", "G" * 64])
def test_foreign_version_has_no_bundle_to_keep(digest: str, version: VersionInfo, trained: Made) -> None:
    with pytest.raises(RegistryError, match="holds no Keeneye bundle"):
        Registry(trained.home).cached_bundle(replace(version, tags={BUNDLE_DIGEST_TAG: digest}))


@pytest.mark.parametrize(
    "reasons",
    [(), ("one",), ("a", "b"), ("ü'\"" * 10,), tuple("x" * 400 for _ in range(60))],
    ids=["none", "one", "two", "odd characters", "very long"],
)
def test_status_is_told_with_its_reasons(reasons: tuple[str, ...], version: VersionInfo, trained: Made) -> None:
    told = Registry(trained.home).set_status(version, "rejected", reasons)
    assert told.tags[STATUS_TAG] == "rejected"
    assert told.tags[REASONS_TAG] == "; ".join(reasons)[:MAX_TAG_CHARACTERS]


@pytest.mark.parametrize(
    "address",
    [
        "models:/registry-none/1",
        "models:/registry-one/99",
        "models:/registry-one@nobody",
        "models:/registry-none/latest",
        "models:/",
        "models:/m-0123456789abcdef0123456789abcdef",
        "runs:/0123456789abcdef0123456789abcdef/model",
        "/no/such/folder",
        "no such thing",
    ],
)
def test_missing_model_is_said_in_a_sentence(address: str, version: VersionInfo, trained: Made, tmp_path: Path) -> None:
    with pytest.raises(RegistryError) as caught:
        Registry(trained.home).fetch_bundle(address, tmp_path)
    assert len(caught.value.message.split()) > 3
    assert version.name == "registry-one"


def test_model_of_another_kind_is_refused(trained: Made, tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "MLmodel").write_text("flavors: {}\n", encoding="utf-8")
    client = MlflowClient(trained.home.tracking_uri, trained.home.registry_uri)
    client.create_registered_model("registry-foreign")
    client.create_model_version("registry-foreign", (tmp_path / "foreign").as_uri())
    with pytest.raises(RegistryError, match="no Keeneye bundle"):
        Registry(trained.home).fetch_bundle("models:/registry-foreign/1", tmp_path / "fetched")


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://someone:s3cret@127.0.0.1:9"])
def test_unreachable_server(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    start = time.monotonic()
    with pytest.raises(EnvironmentFailed) as caught:
        Registry(Home(tmp_path, address, address)).version("m", "1")
    assert time.monotonic() - start < 20
    assert "s3cret" not in caught.value.message


def test_unreachable_registry_is_named(shared_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(EnvironmentFailed) as caught:
        Registry(Home(shared_home.root, shared_home.tracking_uri, "http://127.0.0.1:9")).version("m", "1")
    assert "http://127.0.0.1:9" in caught.value.message.partition(" does not answer")[0]


def test_model_holds_nothing_of_the_working_folder(
    trained: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname='mine'\nversion='1'\n", encoding="utf-8")
    (tmp_path / "uv.lock").write_text('version = 1\nrequires-python = ">=3.11"\n', encoding="utf-8")
    (tmp_path / "secret.py").write_text("", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    info = _register(trained, "registry-folder", "key")
    fetched = Registry(trained.home).fetch_bundle(info.uri, tmp_path / "fetched").parent.parent
    kept = {path.name for path in fetched.iterdir()}
    assert {"MLmodel", "artifacts", "code", "requirements.txt"} <= kept
    assert not kept & {"pyproject.toml", "uv.lock", "secret.py"}
    requirements = (fetched / "requirements.txt").read_text(encoding="utf-8")
    assert "onnxruntime==" in requirements
    assert "torch" not in requirements


_ELSEWHERE = """
import json, sys
for name in ("torch", "timm", "sklearn", "prefect"):
    sys.modules[name] = None
sys.path[:] = [path for path in sys.path if path != {root!r}]
sys.meta_path[:] = [finder for finder in sys.meta_path if "ditable" not in repr(finder)]
import mlflow, numpy, pandas
from pathlib import Path
mlflow.set_tracking_uri({address!r})
mlflow.set_registry_uri({address!r})
model = mlflow.pyfunc.load_model({uri!r})
files = [Path(name).read_bytes() for name in {files!r}]
arrays = list(numpy.load({pixels!r}))
answers = [model.predict(pandas.DataFrame({{"image": images}})).to_dict("records") for images in (files, arrays)]
import tasks
print(json.dumps({{"answers": answers, "code": tasks.__file__}}))
"""


def _told_elsewhere(home: Home, uri: str, pixels: np.ndarray, folder: Path) -> list[list[dict]]:
    """Ask the registered model without this checkout: once with files, once with arrays."""
    files = [str(folder / f"{place}.png") for place in range(len(pixels))]
    for name, picture in zip(files, pixels, strict=True):
        Path(name).write_bytes(png_bytes(picture))
    np.save(folder / "pixels.npy", pixels)
    root = str(Path(tasks.__file__).parent.parent)
    code = _ELSEWHERE.format(
        root=root, address=home.tracking_uri, uri=uri, files=files, pixels=str(folder / "pixels.npy")
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="/tmp", env=environment
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout.splitlines()[-1])
    assert not told["code"].startswith(root)
    return told["answers"]


@pytest.fixture(scope="module")
def engineered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_engineered_model(tmp_path_factory.mktemp("engineered") / "bundle")


@pytest.fixture(scope="module")
def engineered_version(engineered: Path, shared_home: Home) -> VersionInfo:
    with run_of_key(shared_home, EXPERIMENT, "words", "registry-words") as run:
        return Registry(shared_home).register(run, "registry-words", "words", engineered, EXAMPLE, {})


@pytest.mark.parametrize("kind", ["backbone", "engineered features"])
def test_third_party_gets_the_predictors_answers(
    kind: str, trained: Made, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    fixture = "engineered_version" if kind == "engineered features" else "version"
    registered: VersionInfo = request.getfixturevalue(fixture)
    bundle = request.getfixturevalue("engineered") if kind == "engineered features" else trained.model.bundle_path
    pixels = np.stack([paint_shape(shape, 60, (place,)) for place, shape in enumerate(("round", "cross", "ring"))])
    expected = Predictor.open(bundle).predict(list(pixels))
    for answers in _told_elsewhere(trained.home, registered.uri, pixels, tmp_path):
        for answer, prediction in zip(answers, expected, strict=True):
            assert set(answer) == {"label", "confidence", "labels", "confidences"}
            assert answer["label"] == prediction.top_label
            assert tuple(answer["labels"]) == prediction.labels
            assert answer["confidences"] == pytest.approx(prediction.confidences, abs=1e-6)
            assert answer["confidence"] == pytest.approx(prediction.confidences[prediction.top_label], abs=1e-6)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    outputs = silent_outputs()
    put_box(outputs, 1 * 4 + 2, 1, (0.5, 0.5, 0.5, 0.5), 0.9)
    put_box(outputs, 16 + 3, 2, (0.25, 0.25, 0.5, 0.5), 0.7)
    put_box(outputs, 0, 0, (0, 0, 1, 1), 0.3)
    return write_detector(tmp_path_factory.mktemp("detector"), outputs)


@pytest.fixture(scope="module")
def detector_version(detector: Path, shared_home: Home) -> VersionInfo:
    with run_of_key(shared_home, EXPERIMENT, "boxes", "registry-boxes") as run:
        return Registry(shared_home).register(run, "registry-boxes", "boxes", detector, EXAMPLE, {})


def test_third_party_gets_the_given_boxes(detector_version: VersionInfo, shared_home: Home, tmp_path: Path) -> None:
    pixels = np.stack([paint_shape("round", 128), paint_shape("cross", 128)])
    for answers in _told_elsewhere(shared_home, detector_version.uri, pixels, tmp_path):
        for answer in answers:
            assert [box.pop("label") for box in answer["boxes"]] == ["dent", "hole"]
            assert answer["boxes"][0] == pytest.approx(
                {"confidence": 0.9, "left": 48, "top": 16, "width": 32, "height": 32}, abs=1e-6
            )
            assert answer["boxes"][1] == pytest.approx(
                {"confidence": 0.7, "left": 48, "top": 48, "width": 48, "height": 48}, abs=1e-6
            )
            assert (answer["label"], answer["labels"]) == ("dent", ["dent", "hole"])
            assert answer["confidences"] == pytest.approx({"dent": 0.9, "hole": 0.7, "cut": 0.3}, abs=1e-6)


def test_signature_tells_of_boxes_only_for_a_detector(version: VersionInfo, detector_version: VersionInfo) -> None:
    plain, boxed = (mlflow.models.get_model_info(info.uri).signature for info in (version, detector_version))
    assert plain.inputs == boxed.inputs
    assert plain.outputs.input_names() == ["label", "confidence", "labels", "confidences"]
    assert boxed.outputs.input_names() == [*plain.outputs.input_names(), "boxes"]
    boxes = boxed.outputs.to_dict()[-1]
    assert boxes["type"] == "array"
    assert {name: field["type"] for name, field in boxes["items"]["properties"].items()} == {
        "label": "string",
        **dict.fromkeys(("confidence", "left", "top", "width", "height"), "double"),
    }


def _register(made: Made, name: str, key: str) -> VersionInfo:
    with run_of_key(made.home, EXPERIMENT, key, name) as run:
        return Registry(made.home).register(run, name, key, made.model.bundle_path, EXAMPLE, {"own": "tag"})
