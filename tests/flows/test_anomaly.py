"""Normal images alone through the whole line: learned from, measured, registered, staged, reported, predicted with."""

import json
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from flows.predict import predict
from flows.train import train
from tasks.bundle.predictor import Predictor
from tasks.errors import DataError
from tasks.ground_truth.read import is_manifest
from tasks.tracking.registry import Registry
from tests.conftest import INPUT_SIZE
from tests.makers import paint_class_folders, paint_mvtec
from tests.tasks.predict.predicting import lines_of

NAME = "parts-anomaly"
GOOD, DEFECTS = {"train": 18, "test": 6}, 5
TRAINING = {"input_size": INPUT_SIZE, "anomaly": {"memory_patches": 100}}
EASY = {"min_image_auroc": 0.6, "min_label_recall": 0.0, "max_latency_ms": 60_000.0}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    root = tmp_path_factory.mktemp("anomaly") / "parts"
    return paint_mvtec(root, ("stripes", "ring"), GOOD["train"], GOOD["test"], DEFECTS, side=INPUT_SIZE)


def learn(parts, **groups):
    data = {"source": str(parts), "split": "given"}
    return train(task="anomaly", **{"data": data, "training": TRAINING, "gate": EASY, **groups})


@pytest.fixture(scope="module")
def result(home, parts):
    return learn(parts)


def test_normal_images_become_a_staged_model(result):
    assert (result.status, result.aliases, result.model_name) == ("staged", ("staging",), NAME)
    assert result.counts.images["train"] == {"anomaly": 0, "normal": GOOD["train"]}
    assert result.counts.images["test"] == {"anomaly": 2 * DEFECTS, "normal": GOOD["test"]}
    metrics = result.metrics
    assert result.gate.image_auroc == metrics.image_auroc > 0.6
    assert metrics.per_label["anomaly"].support == metrics.masked_images == 2 * DEFECTS
    assert 0.0 < metrics.region_overlap < 1.0
    assert 0.0 < metrics.pixel_auroc < 1.0
    assert result.inference_test.passed
    assert result.inference_test.max_box_shift_pixels <= 0.5


def test_bundle_was_made_of_normal_images_alone(home, result, tmp_path):
    info = Registry(home).resolve(result.model_uri)
    card = Predictor.open(Registry(home).fetch_bundle(info.uri, tmp_path)).card
    assert card.labels == ("anomaly",)
    assert card.provenance["training_images"] == card.provenance["held_out_normal_images"] == GOOD["train"]
    assert card.provenance["threshold_chosen_on"] == "held-out normal images"
    assert card.thresholds == {"anomaly": 0.5}


def test_report_shows_every_test_image_with_its_heat_map(result):
    page = Path(result.report_path).read_text()
    tested = GOOD["test"] + 2 * DEFECTS
    assert page.count('<article class="pair-card">') == tested
    assert page.count("heat map: ") == tested
    assert "Image AUROC judged by the gate" in page


def test_other_limits_judge_the_same_model_anew(parts, result):
    strict = learn(parts, gate={**EASY, "min_label_recall": 1.0}, registry={"model_name": "strict"})
    assert strict.reused["train"]
    assert strict.reused["evaluate"]
    assert strict.metrics == result.metrics
    assert strict.status == ("staged" if result.metrics.macro_recall == 1.0 else "rejected")


def test_third_parties_get_the_verdict_and_boxes(home, result, parts, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", home.tracking_uri)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", home.registry_uri)
    mlflow.set_tracking_uri(home.tracking_uri)
    mlflow.set_registry_uri(home.registry_uri)
    figures = mlflow.MlflowClient().get_run(result.mlflow_run_id).data.metrics
    assert figures["test.image_auroc"] == result.metrics.image_auroc
    files = [path.read_bytes() for path in sorted((parts / "test" / "stripes").iterdir())]
    model = mlflow.pyfunc.load_model(result.model_uri)
    rows = model.predict(pd.DataFrame({"image": files}))
    for labels, boxes, confidences in zip(rows.labels, rows.boxes, rows.confidences, strict=True):
        assert list(confidences) == ["anomaly"]
        assert list(labels) in ([], ["anomaly"])
        assert all(box["label"] == "anomaly" for box in boxes)
        assert bool(len(labels)) or not len(boxes)


def test_predictions_are_written_and_can_be_learned_from(home, result, parts, tmp_path):
    output = tmp_path / "answers"
    predict(model=result.model_uri, source=str(parts / "test"), output=str(output), manifest=True)
    rows = lines_of(output / "predictions.jsonl")
    assert len({row["image"] for row in rows}) == GOOD["test"] + 2 * DEFECTS
    assert {row["label"] for row in rows} == {None, "anomaly"}
    manifest = output / "predictions.manifest"
    assert is_manifest(manifest)
    told = {row["image"] for row in rows if row["label"]}
    for line in manifest.read_text().splitlines():
        value = json.loads(line)
        is_abnormal = value["source-ref"] in told
        assert is_abnormal == bool(value.get("label-metadata") or value["boxes"]["annotations"])


def test_source_without_normal_images_is_one_sentence(home, tmp_path):
    source = paint_class_folders(tmp_path / "bent", ("cut", "round"))
    with pytest.raises(DataError, match=r"0 images .* data\.normal_label"):
        learn(source, data={"source": str(source)})


def test_lookout_manifest_is_learned_from(home, tmp_path):
    """Lines as Lookout for Vision wrote them, normal and anomaly, divided anew."""
    paint_class_folders(tmp_path / "images", {"round": 24, "stripes": 8}, side=INPUT_SIZE, seed=3)
    lines = []
    for path in sorted((tmp_path / "images").rglob("*.png")):
        kind = "normal" if path.parent.name == "round" else "anomaly"
        metadata = {
            "class-name": kind,
            "human-annotated": "yes",
            "type": "groundtruth/image-classification",
            "creation-date": "2021-06-22T09:58:34.811Z",
        }
        reference = f"s3://old-bucket/{path.relative_to(tmp_path)}"
        line = {"source-ref": reference, "anomaly-label": int(kind == "anomaly"), "anomaly-label-metadata": metadata}
        lines.append(json.dumps(line))
    (tmp_path / "train.manifest").write_text("\n".join(lines) + "\n")
    data = {"source": str(tmp_path / "train.manifest"), "rewrite": ["s3://old-bucket/="], "name": "lookout"}
    found = learn(None, data=data, gate={**EASY, "min_image_auroc": 0.0})
    assert found.status == "staged"
    assert found.counts.images["train"]["anomaly"] == 0
    assert found.counts.images["test"]["anomaly"] == 1
    assert sum(split["normal"] for split in found.counts.images.values()) == 24
    assert found.metrics.pixel_auroc is None
