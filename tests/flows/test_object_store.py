"""Runs whose images, results and artifacts lie in a real object store."""

import io
import json
import re
import shutil

import pandas as pd
import pytest
from mlflow import MlflowClient

from flows.__main__ import main
from flows.config import DataConfig
from flows.ground_truth import ground_truth
from flows.predict import predict
from flows.predict_config import ImagesConfig
from flows.train import train
from tasks.stores import s3_requests
from tasks.stores.home import ARTIFACTS_VARIABLE, Home
from tasks.tracking.registry import STAGING, Registry
from tasks.tracking.runs import run_of_key
from tests.conftest import QUICK
from tests.makers import paint_class_folders, paint_mvtec, png_bytes
from tests.object_store import free_ports
from tests.tasks.predict.predicting import RGB, paint, pixels, write_colour_classifier


@pytest.fixture
def store(in_object_store):
    return in_object_store


@pytest.fixture
def home(tmp_path, monkeypatch, prefect, exported_home, store):
    """An empty home whose MLflow keeps artifacts in the store."""
    root = tmp_path / "home"
    shutil.copytree(exported_home.root, root)
    monkeypatch.setenv("KEENEYE_HOME", str(root))
    monkeypatch.setenv(ARTIFACTS_VARIABLE, f"s3://{store.bucket}/{tmp_path.name}-artifacts")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    return Home.from_environment()


def read(store, address):
    place = address.removeprefix(f"s3://{store.bucket}/")
    return store.client.get_object(Bucket=store.bucket, Key=place)["Body"].read()


def test_ground_truth_from_the_store_into_the_store(home, store, tmp_path):
    store.put_folder(paint_mvtec(tmp_path / "parts", images_per_defect=4), "flow/parts")
    output = f"s3://{store.bucket}/flow/truth"
    result = ground_truth(data=DataConfig(source=f"s3://{store.bucket}/flow/parts"), output=output)
    assert (result.status, result.output, result.dataset_name) == ("written", output, "parts")
    assert {"train.manifest", "findings.jsonl", "data_report.html"} < set(result.files)
    assert sorted(store.keys("flow/truth")) == sorted([*result.files, "keeneye-export.json"])
    assert json.loads(read(store, f"{output}/keeneye-export.json"))["status"] == "complete"
    assert b"<html" in read(store, result.report_path)
    lines = read(store, f"{output}/train.manifest").splitlines()
    assert len(lines) == result.totals["train"]
    logged = store.keys(f"{tmp_path.name}-artifacts/{result.mlflow_run_id}/artifacts")
    assert {"data_report.html", "findings.jsonl", "manifests/train.manifest"} < set(logged)


def test_predictions_from_the_store_into_the_store(home, store, tmp_path):
    bundle = write_colour_classifier(tmp_path / "bundle")
    registry = Registry(home)
    with run_of_key(home, "keeneye/test-store", "1", "colours") as run:
        info = registry.register(run, "colours", "1", bundle, png_bytes(pixels("red", 0, 32, 32)), {})
    registry.set_status(info, "registered", ())
    registry.set_alias(registry.version("colours", "1"), STAGING)
    for number, colour in enumerate(RGB):
        paint(tmp_path / "photos" / f"{number}.png", colour, number)
    store.put_folder(tmp_path / "photos", "flow/photos")
    lines = [{"source-ref": f"s3://{store.bucket}/flow/photos/{number}.png"} for number in (0, 1, 99)]
    (tmp_path / "set.manifest").write_text("\n".join(map(json.dumps, lines)))
    address = f"s3://{store.bucket}/flow"
    result = predict("colours@staging", source=f"{address}/photos/", output=f"{address}/answers", manifest=True)
    assert (result.predicted, result.output) == (len(RGB), f"{address}/answers")
    assert len(pd.read_parquet(io.BytesIO(read(store, f"{address}/answers/predictions.parquet")))) == len(RGB)
    some = predict(
        "colours@staging",
        source=str(tmp_path / "set.manifest"),
        output=f"{address}/answers",
        images=ImagesConfig(image_root=f"{address}/photos"),
    )
    assert (some.images, some.predicted, some.findings) == (3, 2, {"ERROR_UNREADABLE_FILE": 1})
    assert "there is no such object" in read(store, f"{address}/answers/findings.jsonl").decode()


@pytest.mark.site
def test_training_whose_images_and_artifacts_are_in_the_store(home, store, tmp_path):
    store.put_folder(paint_class_folders(tmp_path / "shapes", {"disc": 16, "ring": 16}), "flow/shapes")
    source = f"s3://{store.bucket}/flow/shapes"
    gate = {"min_macro_f1": 0.0, "min_label_recall": 0.0, "max_latency_ms": 60_000.0}
    result = train(data={"source": source}, training=QUICK, evaluation={"folds": 2}, gate=gate)
    assert result.status == "staged"
    inputs = MlflowClient(home.tracking_uri).get_run(result.mlflow_run_id).inputs.dataset_inputs
    assert {json.loads(one.dataset.source)["uri"] for one in inputs} == {source}
    keys = store.keys(f"{tmp_path.name}-artifacts")
    assert [key for key in keys if key.endswith("report.html")]
    assert [key for key in keys if key.endswith("bundle/model.json")]
    assert not home.artifacts_path.exists()
    shutil.rmtree(home.bundles_path, ignore_errors=True)
    answers = predict("shapes-classification@staging", source=source, output=str(tmp_path / "answers"))
    assert answers.predicted == 32
    again = train(data={"source": source}, training=QUICK, evaluation={"folds": 2}, gate=gate)
    assert again.model_version == result.model_version
    assert all(again.reused[stage] for stage in ("ingest", "manifest", "train", "evaluate"))


@pytest.mark.parametrize(
    ("source", "changed", "code", "words"),
    [
        pytest.param("s3://absent-bucket/x", {}, 2, "there is no such bucket", id="bucket gone"),
        pytest.param("s3://pictures/absent.manifest", {}, 2, "there is no such object", id="key missing"),
        pytest.param("s3://pictures/x", {"AWS_SECRET_ACCESS_KEY": "wrong"}, 2, "refuses the secret key", id="secret"),
        pytest.param("s3://pictures/x", {"AWS_ENDPOINT_URL_S3": "down"}, 3, "see that the store runs", id="down"),
    ],
)
def test_command_ends_in_one_sentence(store, tmp_path, monkeypatch, capfd, source, changed, code, words):
    monkeypatch.setattr(s3_requests, "PAUSES", (0.01,))
    monkeypatch.setenv("KEENEYE_HOME", str(tmp_path / "home"))
    for name, value in changed.items():
        monkeypatch.setenv(name, value if value != "down" else f"http://127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(SystemExit) as ended:
        main(["train", "--data.source", source])
    assert ended.value.code == code
    told = capfd.readouterr().err
    assert re.fullmatch(r"keeneye: [^\n]+\n", told)
    assert words in told
    assert "store-secret" not in told
