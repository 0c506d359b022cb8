"""Images with several labels or none through the whole line, from the manifest to predictions and exports."""

import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from flows.compare import compare
from flows.config import DataConfig, MaskConfig
from flows.export import export
from flows.predict import predict
from flows.train import train
from tasks.bundle.predictor import Predictor
from tasks.dataset.entries import SPLITS
from tasks.errors import DataError
from tasks.ground_truth.manifests import read_manifest
from tasks.ingest.task import ingest_images
from tasks.manifest.task import build_manifest
from tasks.metrics.multi_label import MultiLabelMetrics
from tasks.serving.selection import select
from tasks.serving.service import Answer
from tasks.tracking.registry import Registry
from tasks.vision.images import decode_rgb
from tests.conftest import INPUT_SIZE, QUICK
from tests.sources import MARKS, paint_marked, some_label_sets, write_label_lists, write_label_table
from tests.tasks.predict.predicting import lines_of

NAME = "marks-classification"
LABEL_SETS = some_label_sets(72)
NEGATIVES = sum(not labels for labels in LABEL_SETS.values())
EASY = {"min_macro_f1": 0.6, "min_label_recall": 0.3, "max_latency_ms": 60_000.0}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return paint_marked(tmp_path_factory.mktemp("multi") / "marks", LABEL_SETS)


def learn(source, **groups):
    data = {"source": str(source), "name": "marks", "image_root": str(source.parent)}
    evaluation = {"folds": 2}
    return train(**{"data": data, "training": QUICK, "evaluation": evaluation, "gate": EASY, **groups})


@pytest.fixture(scope="module")
def result(home, photos):
    return learn(write_label_lists(photos / "marks.manifest", LABEL_SETS))


@pytest.fixture(scope="module")
def predictor(home, result, tmp_path_factory):
    return Predictor.open(Registry(home).fetch_bundle(result.model_uri, tmp_path_factory.mktemp("bundle")))


def test_label_lists_become_a_staged_model(result):
    assert (result.status, result.aliases, result.model_name) == ("staged", ("staging",), NAME)
    metrics = result.metrics
    assert isinstance(metrics, MultiLabelMetrics)
    assert set(metrics.per_label) == set(metrics.average_precision) == set(MARKS)
    assert metrics.mean_average_precision > 0.75
    assert metrics.cross_validated.images == len(LABEL_SETS) - result.inference_test.images
    assert result.gate.macro_f1 > 0.6
    assert result.inference_test.passed
    assert result.inference_test.accuracy == metrics.exact_match


def test_images_without_labels_are_learned_from(home, result):
    assert sum(result.counts.negatives.values()) == NEGATIVES > 5
    assert all(result.counts.negatives[split] for split in SPLITS)
    assert result.counts.labels_per_image == "any"
    assert not {"WARNING_UNANNOTATED_RECORD", "WARNING_RARE_LABEL"} & set(result.counts.findings)


def test_bundle_says_that_every_label_stands_alone(predictor, photos):
    assert predictor.card.labels_per_image == "any"
    assert predictor.card.labels == tuple(sorted(MARKS))
    answers = predictor.predict_bytes([(photos / ref).read_bytes() for ref in list(LABEL_SETS)[:30]])
    assert max(sum(answer.confidences.values()) for answer in answers) > 1.5
    assert {len(answer.labels) for answer in answers} >= {0, 1, 2}
    right = [set(answer.labels) == set(LABEL_SETS[ref]) for ref, answer in zip(LABEL_SETS, answers, strict=False)]
    assert sum(right) > 18


def test_report_tells_what_was_missed_and_false(result):
    page = Path(result.report_path).read_text()
    wrong = round((1.0 - result.metrics.exact_match) * result.inference_test.images)
    assert f"{wrong or 'None'} of {result.inference_test.images} images" in page
    for words in (
        "All labels right, test",
        "Average precision",
        "Found, missed, false",
        "Answers together",
        "Labels per image",
    ):
        assert words in page
    assert "Confusion matrix" not in page


def test_registry_has_the_figures_and_third_parties_all_labels(home, result, photos):
    mlflow.set_tracking_uri(home.tracking_uri)
    mlflow.set_registry_uri(home.registry_uri)
    figures = mlflow.MlflowClient().get_run(result.mlflow_run_id).data.metrics
    assert figures["test.exact_match"] == result.metrics.exact_match
    assert figures["label.ring.average_precision"] == result.metrics.average_precision["ring"]
    rows = mlflow.pyfunc.load_model(result.model_uri).predict(
        pd.DataFrame({"image": [(photos / ref).read_bytes() for ref in list(LABEL_SETS)[:20]]})
    )
    assert max(len(labels) for labels in rows.labels) > 1


def test_services_files_reconcile(home, result):
    client = mlflow.MlflowClient(home.tracking_uri)
    folder = Path(client.download_artifacts(result.mlflow_run_id, "evaluation"))
    summary = json.loads((folder / "EvaluationResultSummary.json").read_text())
    assert summary["AggregatedEvaluationResults"]["F1Score"] == result.metrics.macro_f1
    assert "ConfusionMatrix" not in summary["AggregatedEvaluationResults"]
    counts = dict.fromkeys(MARKS, 0)
    for line in lines_of(folder / "EvaluationSnapshot.manifest"):
        for key, value in line.items():
            if key.startswith("rekognition-custom-labels-training") and key.endswith("-metadata"):
                counts[value["class-name"]] += 1
    assert counts == {label: one.support for label, one in result.metrics.per_label.items()}


def test_answers_of_the_endpoint_name_several_labels(predictor, photos):
    ref = next(ref for ref, labels in LABEL_SETS.items() if len(labels) == 3)
    image = decode_rgb((photos / ref).read_bytes())
    (prediction,) = predictor.predict([image])
    answer = Answer(
        model=NAME,
        version="1",
        bundle_digest="",
        task="classification",
        labels=predictor.card.labels,
        thresholds=predictor.card.thresholds,
        width=64,
        height=64,
        prediction=prediction,
    )
    told = select(answer)
    assert [one.label for one in told] == list(prediction.labels)
    assert [one.confidence for one in told] == sorted((one.confidence for one in told), reverse=True)
    assert len(select(answer, min_confidence=0)) == 3


def test_predictions_carry_all_labels_and_are_read_back(home, result, photos, tmp_path):
    output = tmp_path / "answers"
    predict(model=result.model_uri, source=str(photos / "images"), output=str(output), manifest=True)
    rows = lines_of(output / "predictions.jsonl")
    told = {}
    for row in rows:
        told.setdefault(row["image"], set()).update({row["label"]} - {None})
    assert {len(labels) for labels in told.values()} >= {0, 1, 2}
    lines = lines_of(output / "predictions.manifest")
    unlabelled = {line["source-ref"] for line in lines if line.get("label") == []}
    assert unlabelled == {image for image, labels in told.items() if not labels}
    again = manifest_of(home, output / "predictions.manifest", image_root=str(photos / "images"), name="corrected")
    assert labels_of(again) == told


def manifest_of(home, source, **fields):
    data = DataConfig(source=str(source), near_duplicates=False, **fields)
    return build_manifest.fn(home, ingest_images.fn(home, data), data, MaskConfig(), "classification")


def labels_of(manifest):
    entries = [entry for split in SPLITS for entry in read_manifest(manifest.manifest_path(split))]
    return {entry.source_ref: set(entry.truth.labels) for entry in entries}


def test_export_is_of_the_same_kind(home, result):
    made = export(model=result.model_uri, format="onnx-int8", max_metric_loss=1.0, gate=EASY)
    assert made.status == "exported"
    assert Predictor.open(home.root / made.folder).card.labels_per_image == "any"


def test_ways_to_train_are_compared_on_the_same_folds(home, photos):
    data = {"source": str(photos / "marks.manifest"), "name": "marks"}
    training = {"input_size": INPUT_SIZE, "views": False, "network": {"epochs": 1}}
    found = compare(data=data, candidates=("plain", "svm", "cnn"), folds=2, training=training, gate=EASY)
    told = {one.candidate: one for one in found.ranking.standings}
    assert {name: one.outcome for name, one in told.items()} == {
        "plain": "measured",
        "svm": "measured",
        "cnn": "measured",
    }
    assert told["cnn"].bundle_bytes > 0
    assert told["plain"].macro_f1_mean > 0.5 > told["plain"].accuracy_std


def test_a_network_learns_several_labels_through_the_whole_line(home, photos):
    network = {"epochs": 8, "batch_size": 8, "patience": 8}
    made = learn(
        write_label_lists(photos / "marks.manifest", LABEL_SETS),
        training={"input_size": INPUT_SIZE, "algorithm": "cnn", "network": network},
        evaluation={},
        gate={**EASY, "min_macro_f1": 0.0, "min_label_recall": 0.0},
        registry={"model_name": "marks-network"},
    )
    assert (made.status, made.metrics.cross_validated) == ("staged", None)
    assert isinstance(made.metrics, MultiLabelMetrics)
    # Of as many labels at random half of the answers are right.
    assert made.metrics.mean_average_precision > 0.55
    opened = Predictor.open(Registry(home).fetch_bundle(made.model_uri, home.root / "network"))
    assert (opened.card.labels_per_image, set(opened.card.networks)) == ("any", {"network"})
    answers = opened.predict_bytes([(photos / ref).read_bytes() for ref in list(LABEL_SETS)[:30]])
    assert np.ptp([sum(answer.confidences.values()) for answer in answers]) > 0.2
    page = Path(made.report_path).read_text()
    assert "Average precision" in page
    assert 'id="training"' in page


def test_challenger_is_compared_label_by_label(home, photos, result):
    newer = learn(photos / "marks.manifest", training={**QUICK, "algorithm": "svm"})
    assert newer.comparison.champion.model_uri == result.model_uri
    assert newer.comparison.champion.figure == pytest.approx(result.metrics.macro_f1)
    assert newer.comparison.challenger.figure == pytest.approx(newer.metrics.macro_f1)
    assert set(newer.comparison.challenger.per_label) == set(MARKS)


def test_table_with_a_row_for_each_label_says_the_same(home, photos):
    table = write_label_table(photos.parent / "table" / "marks.csv", LABEL_SETS)
    assert labels_of(manifest_of(home, table, image_root=str(photos))) == {
        ref: set(labels) for ref, labels in LABEL_SETS.items()
    }


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        pytest.param({"data": {"labels_per_image": "one"}}, "are bad", id="one label asked for"),
    ],
)
def test_what_knows_one_label_says_so(home, photos, groups, says):
    source = photos / "marks.manifest"
    data = {"source": str(source), "name": "marks", **groups.pop("data", {})}
    with pytest.raises(DataError, match=says):
        learn(source, data=data, **groups)
