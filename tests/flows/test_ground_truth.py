"""From a labelled source to manifests in a folder, as the command line and Python call it."""

import json
import shutil
from pathlib import Path

import httpx
import mlflow
import pytest

from flows.config import DataConfig, MaskConfig
from flows.ground_truth import ground_truth
from flows.ground_truth_result import GroundTruthResult
from flows.train import train
from tasks.dataset.entries import SPLITS
from tasks.errors import RequestError
from tasks.ground_truth.manifests import read_manifest
from tasks.ingest.task import ingest_images
from tasks.manifest.task import build_manifest
from tasks.stores.home import Home
from tests.conftest import QUICK
from tests.makers import paint_class_folders, paint_mvtec

FILES = {
    "data_report.html",
    "findings.jsonl",
    "manifest_summary.json",
    "pictures/cross.png",
    "pictures/no-boxes.png",
    "pictures/ring.png",
    "test.manifest",
    "testing_manifest_with_validation.json",
    "train.manifest",
    "training_manifest_with_validation.json",
    "validation.manifest",
}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return paint_mvtec(tmp_path_factory.mktemp("source") / "parts", images_per_defect=7)


@pytest.fixture
def home(tmp_path, monkeypatch, exported_home, prefect):
    root = tmp_path / "home"
    shutil.copytree(exported_home.root, root)
    monkeypatch.setenv("KEENEYE_HOME", str(root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Home.from_environment()


def artifacts_of(prefect, run_id):
    wanted = {"artifacts": {"flow_run_id": {"any_": [run_id]}}}
    return {one["key"]: one["data"] for one in httpx.post(f"{prefect}/artifacts/filter", json=wanted).json()}


def splits_of(manifest):
    return {entry.sha256: split for split in SPLITS for entry in read_manifest(manifest.manifest_path(split))}


def files_below(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_command_writes_the_ground_truth(keeneye, tmp_path, parts):
    code, out, err = keeneye.run("ground-truth", "--data.source", str(parts), "--output", "truth")
    assert code == 0, err
    assert out.count("\n") == 1
    record = json.loads(out)
    assert (record["status"], record["task"], record["layout"]) == ("written", "detection", "MVTec")
    assert record["output"] == str(tmp_path / "truth")
    assert set(record["files"]) == FILES == files_below(tmp_path / "truth") - {"keeneye-export.json"}
    assert record["report_path"] == str(tmp_path / "truth" / "data_report.html")
    lines = [json.loads(line) for split in SPLITS for line in (tmp_path / "truth" / f"{split}.manifest").open()]
    assert len(lines) == sum(record["totals"].values()) == 26
    assert sum(bool(line["boxes"]["annotations"]) for line in lines) == 14
    assert "Traceback" not in err

    client = mlflow.MlflowClient(keeneye.home.tracking_uri)
    run = client.get_run(record["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.tags["prefect.flow_run_id"] == record["prefect_flow_run_id"]
    assert record["dataset_digest"] in run.data.tags.values()
    logged = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"data_report.html", "pictures", "manifests", "findings.jsonl"} <= logged
    pictures = {file.path for file in client.list_artifacts(run.info.run_id, "pictures")}
    assert pictures == {"pictures/cross.png", "pictures/no-boxes.png", "pictures/ring.png"}


def test_format_of_boxes_for_labels_ends_with_2_and_one_sentence(keeneye, tmp_path, parts):
    code, out, err = keeneye.run(
        "ground-truth", "--data.source", str(parts), "--task", "classification", "--format", "yolo"
    )
    assert (code, out) == (2, "")
    told = [line for line in err.splitlines() if line.startswith("keeneye: ")]
    assert len(told) == 1
    assert "the format yolo holds boxes" in told[0]


def test_folder_of_others_ends_with_2_and_one_sentence(keeneye, tmp_path, parts):
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "mine.txt").write_text("mine")
    code, out, err = keeneye.run("ground-truth", "--data.source", str(parts), "--output", "truth")
    assert (code, out) == (2, "")
    told = [line for line in err.splitlines() if line.startswith("keeneye: ")]
    assert len(told) == 1
    assert "holds files of others (mine.txt)" in told[0]
    assert files_below(tmp_path / "truth") == {"mine.txt"}
    assert "ingest" not in err


def test_call_tells_prefect(home, parts, prefect):
    result = ground_truth(data={"source": str(parts)})
    assert isinstance(result, GroundTruthResult)
    assert Path(result.output) == home.ground_truth_path / "parts" / "detection-ground-truth"
    assert set(result.files) == FILES
    assert (result.reasons, result.findings) == ((), {})
    assert not any(result.reused.values())
    assert set(result.seconds) == {"ingest", "manifest", "data_report", "export"}
    artifacts = artifacts_of(prefect, result.prefect_flow_run_id)
    assert {"images", "data-report"} <= set(artifacts)
    rows = {row["label"]: row for row in json.loads(artifacts["images"])}
    assert set(rows) == {"cross", "ring", "(images without boxes)"}
    assert {split: rows["(images without boxes)"][split] for split in SPLITS} == result.negatives
    state = httpx.get(f"{prefect}/flow_runs/{result.prefect_flow_run_id}").json()["state"]
    assert (state["type"], state["name"]) == ("COMPLETED", "Written")
    assert result.dataset_digest[:12] in state["message"]


def test_again_redoes_nothing_but_the_files(home, tmp_path, parts):
    first = ground_truth(data=DataConfig(source=str(parts)))
    again = ground_truth(data={"source": str(parts)})
    other = ground_truth(data={"source": str(parts)}, output=str(tmp_path / "yolo"), format="yolo")
    expected = {"ingest": True, "manifest": True, "data_report": True, "export": False}
    assert again.reused == other.reused == expected
    changing = {"prefect_flow_run_id", "seconds", "reused"}
    assert again.model_dump(exclude=changing) == first.model_dump(exclude=changing)
    assert other.mlflow_run_id == first.mlflow_run_id
    assert {"data.yaml", "manifest_summary.json"} <= files_below(tmp_path / "yolo")


def test_training_shares_the_split(home, parts):
    boxed = ground_truth(data={"source": str(parts)})
    trained = train(
        data={"source": str(parts)},
        training=QUICK,
        gate={"min_macro_f1": 0.0, "min_label_recall": 0.0, "max_latency_ms": 60_000.0},
    )
    assert trained.dataset_digest == boxed.dataset_digest
    assert trained.reused["ingest"]
    assert {split: sum(trained.counts.images[split].values()) for split in SPLITS} == boxed.totals
    data = DataConfig(source=str(parts))
    images, tasks = ingest_images.fn(home, data), ("classification", "detection")
    named, located = (build_manifest.fn(home, images, data, MaskConfig(), task) for task in tasks)
    assert splits_of(named) == splits_of(located)
    assert named.reused
    assert located.reused


def test_rules_that_are_broken_are_a_rejected_run(home, tmp_path, prefect):
    source = paint_class_folders(tmp_path / "shapes", images_per_label=8, side=64)
    result = ground_truth(data={"source": str(source), "rules": "aws"})
    assert result.status == "rejected"
    assert any("lines are invalid" in reason for reason in result.reasons)
    assert (Path(result.output) / "train.manifest").is_file()
    state = httpx.get(f"{prefect}/flow_runs/{result.prefect_flow_run_id}").json()["state"]
    assert (state["type"], state["name"]) == ("COMPLETED", "Rejected")
    assert "lines are invalid" in state["message"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"task": "classification", "format": "yolo"}, "the format yolo holds boxes", id="stated"),
        pytest.param({"format": "coco"}, "the format coco holds boxes", id="found"),
    ],
)
def test_format_that_holds_no_labels_is_refused(home, tmp_path, options, words):
    source = paint_class_folders(tmp_path / "shapes", images_per_label=4)
    with pytest.raises(RequestError, match=words):
        ground_truth(data={"source": str(source)}, **options)
    assert bool(home.store.entries_of("ingest")) == ("task" not in options)
