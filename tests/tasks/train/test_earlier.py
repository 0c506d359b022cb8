from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, save_model
from safetensors.numpy import save_file

from tasks.bundle.format import ModelCard, Network, WeightsFile, bundle_digest, file_sha256, write_model_card
from tasks.bundle.preprocessing import standard_steps
from tasks.errors import BundleError, RequestError
from tasks.stores.home import Home
from tasks.tracking.registry import Registry, VersionInfo
from tasks.tracking.runs import run_of_key
from tasks.train.earlier import find_earlier
from tests.makers import paint_shape, png_bytes
from tests.tasks.bundle.made_detector import LABELS, silent_outputs, write_detector

EXPERIMENT = "keeneye/test-earlier"
EXAMPLE = png_bytes(paint_shape("round", 64))


def register(home: Home, name: str, bundle: Path, key: str = "key") -> VersionInfo:
    with run_of_key(home, EXPERIMENT, f"{name}-{key}", name) as run:
        return Registry(home).register(run, name, key, bundle, EXAMPLE, {})


def write_classifier(folder: Path) -> Path:
    """A classifier of two labels that answers the same for every image."""
    folder.mkdir(parents=True)
    graphs = {
        "backbone": (["images"], [helper.make_node("ReduceMean", ["images"], ["features"], axes=[2, 3], keepdims=0)]),
        "head": (
            ["features"],
            [
                helper.make_node("Slice", ["features", "start", "end", "axis"], ["two"]),
                helper.make_node("Softmax", ["two"], ["probabilities"]),
            ],
        ),
    }
    shapes = {"images": ["n", 3, 64, 64], "features": ["n", 3], "probabilities": ["n", 2]}
    networks = {}
    for role, ((given,), nodes) in graphs.items():
        answer = nodes[-1].output[0]
        constants = [
            helper.make_tensor(name, TensorProto.INT64, [1], [value])
            for name, value in (("start", 0), ("end", 2), ("axis", 1))
        ]
        graph = helper.make_graph(
            nodes,
            role,
            [helper.make_tensor_value_info(given, TensorProto.FLOAT, shapes[given])],
            [helper.make_tensor_value_info(answer, TensorProto.FLOAT, shapes[answer])],
            constants if role == "head" else [],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 10
        path = folder / f"{role}.onnx"
        save_model(model, path)
        networks[role] = Network(file=path.name, sha256=file_sha256(path))
    card = ModelCard(
        task="classification",
        labels=("a", "b"),
        thresholds={"a": 0.5, "b": 0.5},
        steps=standard_steps(64),
        networks=networks,
        dataset_digest="d" * 64,
        provenance={},
    )
    write_model_card(folder, card)
    return folder


def write_earlier(folder: Path) -> Path:
    """A detector with weights to go on from."""
    folder.mkdir(parents=True)
    save_file({"w": np.arange(3.0)}, folder / "weights.safetensors")
    weights = WeightsFile(sha256=file_sha256(folder / "weights.safetensors"))
    return write_detector(folder, silent_outputs(), weights=weights)


@pytest.fixture(scope="module")
def version(shared_home: Home, tmp_path_factory: pytest.TempPathFactory) -> VersionInfo:
    bundle = write_earlier(tmp_path_factory.mktemp("earlier") / "detector")
    return Registry(shared_home).set_alias(register(shared_home, "earlier-one", bundle), "staging")


@pytest.mark.parametrize("address", ["models:/earlier-one@staging", "models:/earlier-one/1"])
def test_registered_detector_is_found_and_fetched(
    address: str, version: VersionInfo, shared_home: Home, tmp_path: Path
) -> None:
    found = find_earlier(shared_home, address)
    assert found.model_uri == "models:/earlier-one/1"
    for _ in range(2):  # a training that was killed fetches it again
        earlier = found.fetch(shared_home, tmp_path / "deep" / "earlier", "detection")
        assert (earlier.model_uri, earlier.labels) == ("models:/earlier-one/1", LABELS)
        assert earlier.weights.is_file()
        assert earlier.weights.is_relative_to(tmp_path)
        assert bundle_digest(earlier.weights.parent) == found.digest


def test_alias_means_the_version_it_names_now(version: VersionInfo, shared_home: Home, tmp_path: Path) -> None:
    bundle = write_earlier(tmp_path / "one")
    registry = Registry(shared_home)
    registry.set_alias(register(shared_home, "earlier-moves", bundle, "1"), "best")
    assert find_earlier(shared_home, "models:/earlier-moves@best").model_uri == "models:/earlier-moves/1"
    registry.set_alias(register(shared_home, "earlier-moves", bundle, "2"), "best")
    assert find_earlier(shared_home, "models:/earlier-moves@best").model_uri == "models:/earlier-moves/2"


@pytest.mark.parametrize(
    "address",
    [
        "models:/earlier-none/1",
        "models:/earlier-none@staging",
        "models:/earlier-one/99",
        "models:/earlier-one/0",
        "models:/earlier-one@nobody",
        "models:/earlier-one@%&?",
        "models:/a b c/1",
        f"models:/{'x' * 300}/1",
        "models:/earlier-one/99999999999999999999",
    ],
)
def test_unknown_version_is_a_wrong_request(address: str, version: VersionInfo, shared_home: Home) -> None:
    with pytest.raises(RequestError, match=r"training\.weights") as caught:
        find_earlier(shared_home, address)
    assert caught.value.exit_code == 2
    assert "\n" not in caught.value.message


Writer = Callable[[Path], Path]


def write_without_weights(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return write_detector(folder, silent_outputs())


@pytest.mark.parametrize(("name", "write"), [("classifier", write_classifier), ("no-weights", write_without_weights)])
def test_model_whose_learning_cannot_go_on_is_a_wrong_request(
    name: str, write: Writer, shared_home: Home, tmp_path: Path
) -> None:
    register(shared_home, f"earlier-{name}", write(tmp_path / "bundle"))
    found = find_earlier(shared_home, f"models:/earlier-{name}/1")
    with pytest.raises(RequestError, match=rf"earlier-{name}/1 is no detector") as caught:
        found.fetch(shared_home, tmp_path / "fetched", "detection")
    assert caught.value.exit_code == 2


def test_bundle_other_than_the_registered_one_is_refused(
    version: VersionInfo, shared_home: Home, tmp_path: Path
) -> None:
    bundle = write_earlier(tmp_path / "bundle")
    register(shared_home, "earlier-changed", bundle)
    found = find_earlier(shared_home, "models:/earlier-changed/1")
    for path in shared_home.artifacts_path.rglob("bundle/model.json"):
        if bundle_digest(path.parent) == found.digest:
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace('"seed": 0', '"seed": 1'), encoding="utf-8")
    with pytest.raises(BundleError, match="changed after it was registered"):
        found.fetch(shared_home, tmp_path / "fetched", "detection")


def test_model_of_another_program_is_a_wrong_request(shared_home: Home) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(shared_home.tracking_uri, shared_home.registry_uri)
    client.create_registered_model("earlier-foreign")
    client.create_model_version("earlier-foreign", "file:///nowhere")
    with pytest.raises(RequestError, match="not registered by Keeneye"):
        find_earlier(shared_home, "models:/earlier-foreign/1")
