"""The export flow, as Python calls it: a staged version to a folder, or refused with the numbers."""

import json
import shutil

import httpx
import pytest
from pydantic import ValidationError

from flows.export import export
from flows.export_config import ExportConfig
from flows.export_result import ExportResult
from flows.train import train
from tasks.bundle.predictor import Predictor
from tasks.errors import RequestError
from tasks.stores.home import Home
from tests.conftest import QUICK
from tests.makers import paint_class_folders

EASY = {"min_macro_f1": 0.0, "min_label_recall": 0.0, "max_latency_ms": 60_000.0}


@pytest.fixture(scope="module")
def module_home(tmp_path_factory, exported_home):
    root = tmp_path_factory.mktemp("export") / "home"
    shutil.copytree(exported_home.root, root)
    return root


@pytest.fixture
def home(module_home, monkeypatch, prefect, tmp_path_factory):
    """One home for the tests of this file, with a staged version."""
    monkeypatch.setenv("KEENEYE_HOME", str(module_home))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, "")
    if not Home.from_environment().reports_path.exists():
        photos = paint_class_folders(tmp_path_factory.mktemp("photos") / "shapes", images_per_label=14)
        for number in range(4):  # nobody learns these: no figure is perfect
            one, other = (photos / label / f"{number:03}.png" for label in ("round", "square"))
            one.rename(photos / "kept")
            other.rename(one)
            (photos / "kept").rename(other)
        assert train(data={"source": str(photos)}, training=QUICK, gate=EASY).status == "staged"
    return Home.from_environment()


def test_staged_version_becomes_a_folder(home, prefect):
    result = export(model="shapes-classification@staging", format="onnx-int8", max_metric_loss=1.0, gate=EASY)
    assert isinstance(result, ExportResult)
    assert (result.status, result.model_uri) == ("exported", "models:/shapes-classification/1")
    assert result.folder == str(home.root / "exports" / "shapes-classification" / "1" / "onnx-int8")
    assert (
        Predictor.open(home.root / result.folder, expected_digest=result.digest).card.provenance["quantised"] == "int8"
    )
    told = json.loads((home.root / result.folder / "export.json").read_text())
    assert told == {name: value for name, value in json.loads(result.model_dump_json()).items() if name in told}
    assert set(result.seconds) == {"find", "make", "compare", "publish"}
    wanted = {"artifacts": {"flow_run_id": {"any_": [result.prefect_flow_run_id]}}}
    artifacts = {one["key"]: one["data"] for one in httpx.post(f"{prefect}/artifacts/filter", json=wanted).json()}
    assert [row["format"] for row in json.loads(artifacts["export"])] == ["registered", "onnx-int8", "change"]


def test_failed_gate_refuses_and_writes_nothing(home, prefect, tmp_path):
    strict = {"min_macro_f1": 1.0, "min_label_recall": 1.0}
    result = export(model="models:/shapes-classification/1", output=str(tmp_path / "out"), gate=strict)
    assert (result.status, result.folder) == ("rejected", "")
    assert result.reasons == tuple(f"gate: {reason}" for reason in result.gate.reasons)
    assert "gate.min" in result.reasons[0]
    assert not (tmp_path / "out").exists()
    state = httpx.get(f"{prefect}/flow_runs/{result.prefect_flow_run_id}").json()["state"]
    assert (state["type"], state["name"]) == ("COMPLETED", "Rejected")


def test_folder_of_others_is_refused_at_once(home, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RequestError, match="files of others"):
        export(model="nobody@nowhere", output=str(tmp_path))


@pytest.mark.parametrize(
    "model", ["", "name", "name@", "@alias", "name/x", "../name/1", "models:/", "a/b@c", "name@a@b", "name/1\n"]
)
def test_odd_addresses_are_refused(model):
    with pytest.raises(ValidationError):
        ExportConfig(model=model)


@pytest.mark.parametrize("model", ["name@alias", "name/3", "models:/name@alias", "models:/a.b-c 1/12"])
def test_addresses_are_taken(model):
    assert ExportConfig(model=model).format == "onnx"
