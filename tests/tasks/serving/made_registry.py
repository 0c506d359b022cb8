"""A registry with small models whose answers a test knows, without any training."""

import atexit
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from mlflow import MlflowClient
from onnx import TensorProto, helper, numpy_helper

from tasks.bundle.format import ModelCard, Network, file_sha256, write_model_card
from tasks.bundle.preprocessing import standard_steps
from tasks.stores.home import Home
from tasks.tracking.registry import BUNDLE_DIGEST_TAG, REASONS_TAG, STATUS_TAG, Registry, VersionInfo
from tasks.tracking.runs import run_of_key
from tests.homes import new_home
from tests.makers import paint_shape, png_bytes
from tests.tasks.bundle.made_detector import put_box, silent_outputs, write_detector

INPUT_SIZE = 16
CONFIDENCES = {"good": 0.875, "bent": 0.5, "cut": 0.125}
THRESHOLDS = {"good": 0.9, "bent": 0.25, "cut": 0.125}
"""Of the classifier: without a MinConfidence, `bent` and `cut` are told and `good` is not."""
EXAMPLE = png_bytes(paint_shape("round", 32))


@dataclass(frozen=True)
class MadeRegistry:
    """What `made_registry` holds."""

    home: Home
    bolts: list[VersionInfo]
    boxes: VersionInfo

    @property
    def registry(self) -> Registry:
        """A client of it."""
        return Registry(self.home)


@cache
def made_registry() -> MadeRegistry:
    """Make one for the whole session; tests add to it, and leave alone what is there.

    `bolts` is a classifier of three versions: 1 with a figure, 2 rejected, 3 is `production`. `boxes` is a detector of
    one version, which is `production` and `staging`. `foreign` was not registered by Keeneye, and the name of
    `two words` fits no ARN.
    """
    folder = Path(tempfile.mkdtemp(prefix="keeneye-registry-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    home = new_home(folder / "home")
    first = register(home, "bolts", "bolts-1", write_classifier(folder / "classifier"), 0.75)
    second = add_version(home, first, tags={STATUS_TAG: "rejected", REASONS_TAG: "recall of bent 0.2 is below 0.6"})
    third = add_version(home, first)
    boxes = register(home, "boxes", "boxes-1", write_boxes(folder / "detector"))
    registry = Registry(home)
    registry.set_alias(third, "production")
    for alias in ("production", "staging"):
        registry.set_alias(boxes, alias)
    add_version(home, first, "two words")
    add_version(home, first, "foreign", {BUNDLE_DIGEST_TAG: ""})
    bolts = [registry.version("bolts", one.version) for one in (first, second, third)]
    return MadeRegistry(home, bolts, registry.version("boxes", "1"))


def registry_that_is_gone(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Registry:
    """Return a registry whose server has stopped answering."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    registry = Registry(made_registry().home)
    nowhere = "http://127.0.0.1:9"
    monkeypatch.setattr(registry, "_client", MlflowClient(nowhere, nowhere))
    monkeypatch.setattr(registry, "_home", Home(folder, nowhere, nowhere))
    return registry


def write_classifier(folder: Path) -> Path:
    """Write a bundle that answers `CONFIDENCES` for every image."""
    folder.mkdir(parents=True, exist_ok=True)
    backbone = [helper.make_node("ReduceMean", ["images"], ["features"], axes=[1, 2, 3], keepdims=0)]
    head = [
        helper.make_node("Reshape", ["features", "column"], ["each"]),
        helper.make_node("Mul", ["each", "zeros"], ["nothing"]),
        helper.make_node("Add", ["nothing", "values"], ["confidences"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([-1, 1]), "column"),
        numpy_helper.from_array(np.zeros((1, len(CONFIDENCES)), np.float32), "zeros"),
        numpy_helper.from_array(np.array([[*CONFIDENCES.values()]], np.float32), "values"),
    ]
    image = ["n", 3, INPUT_SIZE, INPUT_SIZE]
    card = ModelCard(
        task="classification",
        labels=tuple(CONFIDENCES),
        thresholds=THRESHOLDS,
        steps=standard_steps(INPUT_SIZE),
        networks={
            "backbone": _network(folder / "backbone.onnx", backbone, [], ("images", image), "features"),
            "head": _network(folder / "head.onnx", head, constants, ("features", ["n"]), "confidences"),
        },
        dataset_digest="d" * 64,
        provenance={"seed": 0},
    )
    write_model_card(folder, card)
    return folder


def write_boxes(folder: Path) -> Path:
    """Write a detector that sees in every 128 x 128 image a dent (0.9), a hole (0.7) and a cut (0.3, not given)."""
    folder.mkdir(parents=True, exist_ok=True)
    outputs = silent_outputs()
    put_box(outputs, 1 * 4 + 2, 1, (0.5, 0.5, 0.5, 0.5), 0.9)
    put_box(outputs, 16 + 3, 2, (0.25, 0.25, 0.5, 0.5), 0.7)
    put_box(outputs, 0, 0, (0, 0, 1, 1), 0.3)
    return write_detector(folder, outputs)


def register(home: Home, name: str, key: str, bundle: Path, f1: float | None = None, **tags: str) -> VersionInfo:
    """Register a bundle as the flow does."""
    with run_of_key(home, "keeneye/made", key, name) as run:
        if f1 is not None:
            run.log_figures({}, {"test.macro_f1": f1}, {})
        return Registry(home).register(run, name, key, bundle, EXAMPLE, tags)


def add_version(home: Home, like: VersionInfo, name: str = "", tags: dict[str, str] | None = None) -> VersionInfo:
    """Register the files of a version once more, which takes no time."""
    client = MlflowClient(home.tracking_uri, home.registry_uri)
    name = name or like.name
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    source = client.get_model_version(like.name, like.version).source
    told = {tag: value for tag, value in (like.tags | (tags or {})).items() if value}
    made = client.create_model_version(name, source, like.run_id, tags=told)
    return Registry(home).version(name, str(made.version))


def _network(path: Path, nodes: list, constants: list, given: tuple[str, list], output: str) -> Network:
    name, shape = given
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    onnx.save(model, path)
    return Network(file=path.name, sha256=file_sha256(path))
