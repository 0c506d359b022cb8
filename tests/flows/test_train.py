"""The whole line, as Python calls it: ingest to staging on tiny painted images, with real MLflow and Prefect."""

import json
import shutil
from pathlib import Path

import httpx
import mlflow
import pytest

from flows.config import DataConfig, GateConfig, TrainingConfig
from flows.result import TrainResult
from flows.train import train
from tasks.errors import DataError, RequestError
from tasks.stores.home import Home
from tests.conftest import QUICK, QUICK_OPTIONS, TRANSISTORS
from tests.makers import paint_class_folders

LABELS = ("cross", "round", "square")
EASY = {"min_macro_f1": 0.5, "min_label_recall": 0.3}
RUN_FIELDS = {"prefect_flow_run_id", "seconds", "reused", "inference_test"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos") / "shapes"
    paint_class_folders(root, labels=LABELS, images_per_label=14)
    return root


@pytest.fixture
def home(tmp_path, monkeypatch, exported_home, prefect):
    root = tmp_path / "home"
    shutil.copytree(exported_home.root, root)
    monkeypatch.setenv("KEENEYE_HOME", str(root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Home.from_environment()


def client(home):
    return mlflow.MlflowClient(home.tracking_uri, home.registry_uri)


def comparable(result):
    return {name: value for name, value in result.model_dump().items() if name not in RUN_FIELDS}


def test_folder_becomes_a_staged_version(home, photos, prefect):
    result = train(data={"source": str(photos)}, training=QUICK, gate=EASY)

    assert isinstance(result, TrainResult)
    assert (result.status, result.aliases) == ("staged", ("staging",))
    assert (result.model_name, result.model_version) == ("shapes-classification", "1")
    assert result.gate.passed
    assert result.inference_test.passed
    assert set(result.counts.images["train"]) == set(LABELS)
    assert sum(sum(images.values()) for images in result.counts.images.values()) == 3 * 14
    assert set(result.metrics.per_label) == set(LABELS)
    assert result.metrics.cross_validated.folds == 5
    assert not any(result.reused.values())
    assert client(home).get_model_version_by_alias("shapes-classification", "staging").version == 1
    page = (home.reports_path / "shapes-classification" / "1" / "report.html").read_text()
    assert result.report_path.endswith("shapes-classification/1/report.html")
    assert "shapes-classification" in page

    # Linked both ways.
    run = client(home).get_run(result.mlflow_run_id)
    assert run.data.tags["prefect.flow_run_id"] == result.prefect_flow_run_id
    assert run.info.status == "FINISHED"
    artifacts = httpx.post(
        f"{prefect}/artifacts/filter",
        json={"artifacts": {"flow_run_id": {"any_": [result.prefect_flow_run_id]}}},
    ).json()
    by_key = {artifact["key"]: artifact["data"] for artifact in artifacts}
    assert result.mlflow_run_id in by_key["report"]
    assert {"images", "metrics", "report"} <= set(by_key)
    names = {file.path for file in client(home).list_artifacts(result.mlflow_run_id)}
    assert {"config.yaml", "report.html", "figures", "evaluation", "manifests", "feature_importances.json"} <= names
    assert [one.kind for one in result.metrics.cross_validated.importances.kinds] == ["embedding"]

    # Whether the report has pictures makes no other version.
    assert page.count('<article class="pair-card">') > 0
    bare = train(data={"source": str(photos)}, training=QUICK, gate=EASY, evaluation={"explain": False})
    assert (bare.model_version, bare.reused["train"]) == ("1", True)
    assert '<article class="pair-card">' not in Path(bare.report_path).read_text()


def test_again_is_the_same_and_redoes_nothing(home, photos):
    first = train(data=DataConfig(source=str(photos)), training=TrainingConfig(**QUICK), gate=GateConfig(**EASY))
    again = train(data={"source": str(photos)}, training=QUICK, gate=EASY)
    assert comparable(again) == comparable(first)
    assert {stage for stage, reused in again.reused.items() if reused} >= {
        "ingest",
        "manifest",
        "train",
        "evaluate",
        "register",
    }
    assert len(client(home).search_model_versions("name = 'shapes-classification'")) == 1
    assert len(client(home).search_runs([client(home).get_run(first.mlflow_run_id).info.experiment_id])) == 1


def test_a_page_that_cannot_be_made_hides_no_staged_model(home, photos):
    page = home.reports_path / "shapes-classification" / "1" / "report.html"
    page.mkdir(parents=True)
    result = train(data={"source": str(photos)}, training=QUICK, gate=EASY)
    assert (result.status, result.aliases, result.report_path) == ("staged", ("staging",), "")
    (warning,) = result.warnings
    assert "IsADirectoryError" in warning
    page.rmdir()
    again = train(data={"source": str(photos)}, training=QUICK, gate=EASY)
    assert (again.status, again.report_path, again.warnings) == ("staged", str(page), ())
    assert page.is_file()


def test_shuffled_labels_are_rejected(home, tmp_path, photos, prefect):
    for index, path in enumerate(sorted(photos.rglob("*.png"))):
        target = tmp_path / "shuffled" / LABELS[index % len(LABELS)]
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / f"{index}.png")
    result = train(data={"source": str(tmp_path / "shuffled")}, training=QUICK)
    assert result.status == "rejected"
    assert result.aliases == ()
    state = httpx.get(f"{prefect}/flow_runs/{result.prefect_flow_run_id}").json()["state"]
    assert (state["type"], state["name"]) == ("COMPLETED", "Rejected")
    assert "gate.min_macro_f1" in state["message"]
    assert any("gate.min_macro_f1" in reason for reason in result.gate.reasons)
    tags = client(home).get_model_version("shuffled-classification", "1").tags
    assert tags["keeneye.status"] == "rejected"
    assert "gate.min_macro_f1" in tags["keeneye.reasons"]


def test_rejected_run_exits_1_with_its_record(keeneye, tmp_path, photos):
    shutil.copytree(photos, tmp_path / "shapes")
    code, out, err = keeneye.run("train", "--data.source", "shapes", *QUICK_OPTIONS, "--gate.max_latency_ms", "0.001")
    record = json.loads(out)
    assert code == 1, err
    assert record["status"] == "rejected"
    assert not record["inference_test"]["passed"]
    assert "Traceback" not in err


def test_wanting_no_staging_registers(home, photos):
    result = train(data={"source": str(photos)}, training=QUICK, gate=EASY, registry={"stage": False})
    assert (result.status, result.aliases) == ("registered", ())


def test_other_limits_make_another_version_without_training(home, photos):
    train(data={"source": str(photos)}, training=QUICK, gate={"min_macro_f1": 1.0, "min_label_recall": 1.0})
    result = train(data={"source": str(photos)}, training=QUICK, gate=EASY)
    assert result.model_version == "2"
    assert result.reused["train"]
    assert result.reused["evaluate"]


def test_separate_test_source(home, tmp_path, photos):
    paint_class_folders(tmp_path / "held", labels=LABELS, images_per_label=5, seed=9)
    result = train(data={"source": str(photos), "test_source": str(tmp_path / "held")}, training=QUICK, gate=EASY)
    assert result.counts.images["test"] == dict.fromkeys(LABELS, 5)
    assert result.status == "staged"


def test_80_20_has_no_validation(home, photos):
    result = train(data={"source": str(photos), "split": "80/20"}, training=QUICK, gate=EASY)
    assert result.counts.images["validation"] == {}
    assert result.counts.images["test"] == dict.fromkeys(LABELS, 3)


@pytest.mark.parametrize(
    ("labels", "images", "words"),
    [
        pytest.param(("only",), 8, "carry the label 'only'", id="one class"),
        pytest.param(("round", "square"), 1, "has 1 image", id="classes with one image"),
    ],
)
def test_unlearnable_data_is_one_sentence_and_registers_nothing(home, tmp_path, labels, images, words):
    paint_class_folders(tmp_path / "few", labels=labels, images_per_label=images)
    with pytest.raises(DataError, match=words):
        train(data={"source": str(tmp_path / "few")}, training=QUICK)
    assert client(home).search_registered_models() == []


def test_too_many_bad_files_stop_with_the_findings_file(home, tmp_path, photos):
    shutil.copytree(photos, tmp_path / "shapes")
    for number in range(20):
        (tmp_path / "shapes" / "round" / f"bad{number}.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="max_invalid_fraction") as refused:
        train(data={"source": str(tmp_path / "shapes")}, training=QUICK)
    with Path(refused.value.findings_path).open() as stream:
        assert len(stream.readlines()) == 20


def test_missing_source_is_refused(home):
    with pytest.raises(RequestError, match="there is no folder"):
        train(data={"source": "/no/such/folder"})


def test_unknown_field_is_refused(home):
    with pytest.raises(Exception, match="sauce"):
        train(data={"sauce": "x"})


@pytest.mark.slow  # `auto` tries everything that it has, on images of 448 pixels
def test_demo_set_is_learned_by_the_default_line(home):
    result = train()
    assert result.status == "staged"
    assert result.metrics.cross_validated.macro_f1 >= 0.90
    assert result.metrics.macro_f1 >= 0.80
    assert sum(sum(images.values()) for images in result.counts.images.values()) == 150
    assert {code for code in result.counts.findings if code.startswith("ERROR_")} == {
        "ERROR_EMPTY_FILE",
        "ERROR_INVALID_IMAGE",
        "ERROR_INVALID_IMAGE_DIMENSION",
        "ERROR_TRUNCATED_IMAGE",
    }


@pytest.mark.slow  # 313 photographs in four views
@pytest.mark.skipif(not TRANSISTORS.is_dir(), reason="the transistor photographs are not beside the project")
def test_transistor_photographs_are_staged_without_limits(home):
    result = train(data={"source": str(TRANSISTORS)}, gate={"min_macro_f1": 0.0, "min_label_recall": 0.0})
    assert result.status == "staged"
    images = result.counts.images
    assert {label: sum(images[split][label] for split in images) for label in images["train"]} == {
        "bent_lead": 10,
        "cut_lead": 10,
        "damaged_case": 10,
        "good": 273,
        "misplaced": 10,
    }
