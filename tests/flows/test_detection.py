"""Detection through the whole line, as Python and the command line call it: masks to a staged detector."""

import json
import signal
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from flows.predict import predict
from flows.promote import promote
from flows.train import train
from tasks.bundle.predictor import Predictor
from tasks.bundle_export.lineage import find_source
from tasks.errors import DataError
from tasks.ground_truth.manifests import read_manifest
from tasks.stores.home import Home
from tasks.vision.images import decode_rgb
from tests.conftest import INPUT_SIZE, QUICK
from tests.flows.environments import write_environments
from tests.makers import save

KILLED_RUN = str(Path(__file__).with_name("killed_run.py"))
SOURCE = "demo://transistors?images=60&seed=7"
EPOCHS = 4
TRAINING = {"input_size": 128, "detector": {"epochs": EPOCHS, "learning_rate": 2e-3}}
EASY = {"min_map_50": 0.2, "min_label_recall": 0.0, "max_latency_ms": 60_000.0}
SMALL = {"input_size": INPUT_SIZE, "detector": {"epochs": EPOCHS}}
OPTIONS = [
    *("train", "--task", "detection", "--data.source", SOURCE),
    *("--training.input_size", str(INPUT_SIZE), "--training.detector.epochs", str(EPOCHS)),
    *("--gate.min_map_50", "0", "--gate.min_label_recall", "0", "--gate.max_latency_ms", "60000"),
]
NAME = "transistors-detection"


@pytest.fixture(scope="module")
def module_home(tmp_path_factory):
    return tmp_path_factory.mktemp("detection") / "home"


@pytest.fixture
def home(module_home, monkeypatch, prefect):
    """One home for the tests of this file, in their order: training takes long."""
    monkeypatch.setenv("KEENEYE_HOME", str(module_home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Home.from_environment()


def client(home):
    return mlflow.MlflowClient(home.tracking_uri, home.registry_uri)


def detect(**groups):
    return train(task="detection", **{"data": {"source": SOURCE}, "training": TRAINING, "gate": EASY, **groups})


def test_masks_become_a_staged_detector(home):
    result = detect()
    assert (result.status, result.aliases, result.model_name) == ("staged", ("staging",), NAME)
    metrics = result.metrics
    assert result.gate.map_50 == metrics.map_50 > 0.2
    assert metrics.map <= metrics.map_50
    assert {"precision", "recall", "f1", "threshold", "average_precision", "support"} <= set(
        next(iter(metrics.per_label.values())).model_dump()
    )
    assert metrics.cross_validated is None
    assert sum(figures.support for figures in metrics.per_label.values()) == sum(result.counts.boxes["test"].values())
    assert result.inference_test.passed
    assert result.inference_test.max_box_shift_pixels <= 0.5


def test_curves_are_in_the_registered_run_and_the_run_is_one(home):
    result = detect()
    assert result.reused["train"]
    assert result.model_version == "1"
    runs = client(home).search_runs([client(home).get_run(result.mlflow_run_id).info.experiment_id])
    assert [run.info.run_id for run in runs] == [result.mlflow_run_id]
    for name in ("training.loss", "training.validation_map_50", "training.learning_rate"):
        points = client(home).get_metric_history(result.mlflow_run_id, name)
        assert [point.step for point in points] == list(range(1, EPOCHS + 1)), name


def test_report_shows_every_test_image(home):
    result = detect()
    page = Path(result.report_path).read_text()
    assert "mAP50" in page
    assert page.count("data:image/") >= sum(result.counts.boxes["test"].values())


def test_third_parties_get_boxes(home, monkeypatch):
    detect()
    # MLflow writes both into the environment, where later tests would find them.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", home.tracking_uri)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", home.registry_uri)
    mlflow.set_tracking_uri(home.tracking_uri)
    mlflow.set_registry_uri(home.registry_uri)
    model = mlflow.pyfunc.load_model(f"models:/{NAME}@staging")
    source = next(path for path in sorted(home.root.rglob("bent_lead/*.png")) if "mask" not in path.name)
    answer = model.predict(pd.DataFrame({"image": [source.read_bytes()]}))
    boxes = answer["boxes"][0]
    assert all({"label", "confidence", "left", "top", "width", "height"} == set(box) for box in boxes)


@pytest.mark.slow
def test_two_pipelines_share_a_test_set_and_are_promoted_apart(home, tmp_path, monkeypatch):
    monkeypatch.setenv("KEENEYE_ENVIRONMENTS", str(write_environments(tmp_path)))
    detector = detect()
    gate = {"min_macro_f1": 0.0, "min_label_recall": 0.0, "max_latency_ms": 60_000.0}
    classifier = train(data={"source": SOURCE}, training=QUICK, gate=gate)
    assert (detector.status, classifier.status) == ("staged", "staged")
    assert detector.dataset_digest == classifier.dataset_digest
    models = (detector.model_name, classifier.model_name)

    first = promote(models[0], "production", approved_by="Ann", reason="finds them all")
    assert (first.status, first.comparison.metric) == ("moved", "map_50")
    assert [client(home).get_registered_model(name).aliases for name in models] == [
        {"staging": 1, "production": 1},
        {"staging": 1},
    ]
    assert promote(models[1], "production", approved_by="Bob", reason="tells them apart").status == "moved"

    tested = [find_source(home, f"{name}@production").manifest for name in models]
    images = [{entry.sha256 for entry in read_manifest(one.manifest_path("test"))} for one in tested]
    assert images[0] == images[1]
    assert images[0]
    answers = [
        predict(
            f"models:/{name}@production",
            str(tested[0].manifest_path("test")),
            output=str(tmp_path / name),
            images={"image_root": tested[0].roots["test"]},
        )
        for name in models
    ]
    assert [one.task for one in answers] == ["detection", "classification"]
    assert {one.predicted for one in answers} == {len(images[0])}


@pytest.mark.slow  # without the line around it: test_detector_task.py
def test_goes_on_from_an_earlier_version_of_its_own(home):
    detect()
    result = detect(training={**TRAINING, "weights": f"models:/{NAME}@staging"})
    assert result.model_version == "2"
    params = client(home).get_run(result.mlflow_run_id).data.params
    assert params["chosen.continues"] == f"models:/{NAME}/1"
    assert params["chosen.new_labels"] == ""


@pytest.mark.slow
def test_folds_give_an_estimate_that_judges_small_labels(home):
    short = {"input_size": INPUT_SIZE, "detector": {"epochs": 1}}
    result = detect(training=short, evaluation={"folds": 2}, gate={"min_map_50": 1.0})
    crossed = result.metrics.cross_validated
    assert crossed.folds == 2
    assert crossed.images == 50
    assert result.status == "rejected"
    assert result.gate.map_50 == crossed.map_50
    assert set(result.gate.judged_on.values()) == {"cross-validation"}


def test_source_without_boxes_is_refused_before_anything_is_learned(home, tmp_path):
    for label in ("left", "right"):
        for number in range(6):
            save(tmp_path / "plain" / label / f"{number}.png", np.full((48, 48, 3), number * 20, np.uint8))
    with pytest.raises(DataError, match="neither boxes nor masks"):
        detect(data={"source": str(tmp_path / "plain")})


@pytest.mark.slow  # two processes; in one: test_detector_task.py
def test_kill_in_an_epoch_loses_that_epoch_only(keeneye, home):
    code, out, _ = keeneye.run("in_the_third_epoch", *OPTIONS, program=(KILLED_RUN,), name="killed")
    assert (code, out) == (-signal.SIGKILL, "")
    code, out, err = keeneye.run(*OPTIONS)
    assert code == 0, err
    record = json.loads(out)
    told = [line for line in err.splitlines() if "epoch " in line and "loss" in line]
    assert len(told) == EPOCHS
    resumed = client(keeneye.home)
    points = resumed.get_metric_history(record["mlflow_run_id"], "training.loss")
    assert [point.step for point in points] == list(range(1, EPOCHS + 1))
    assert not any((keeneye.home.root / "work").iterdir())

    # The same as of a training that nobody killed.
    assert record["metrics"] == detect(training=SMALL).model_dump(mode="json")["metrics"]


def test_bundle_of_the_run_is_opened_by_the_one_predictor(home):
    detect()
    bundle = next((home.root / "store" / "entries" / "train").glob("*/bundle"))
    predictor = Predictor.open(bundle)
    image = next(path for path in sorted(home.root.rglob("*.png")) if "mask" not in path.name)
    assert predictor.card.task == "detection"
    assert predictor.predict([decode_rgb(image.read_bytes())])[0].confidences.keys() == set(predictor.card.labels)
