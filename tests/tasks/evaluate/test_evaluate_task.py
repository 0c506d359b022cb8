import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from flows.config import GateConfig
from tasks.bundle.predictor import Predictor
from tasks.errors import BundleError
from tasks.evaluate.records import SNAPSHOT_FILE, SUMMARY_FILE, read_predictions
from tasks.evaluate.task import evaluate_model
from tasks.ground_truth.manifests import read_manifest
from tests.tasks.conftest import LENIENT, Made

EVALUATION = "rekognition-custom-labels-evaluation"


def test_predictions_are_those_of_the_bundle(trained: Made) -> None:
    predictions = list(read_predictions(trained.evaluation.predictions_path))
    entries = list(read_manifest(trained.manifest.manifest_path("test")))
    assert [one.source_ref for one in predictions] == [entry.source_ref for entry in entries]
    predictor = Predictor.open(trained.model.bundle_path)
    answers = predictor.predict_bytes([(trained.source / entry.source_ref).read_bytes() for entry in entries])
    for one, answer in zip(predictions, answers, strict=True):
        assert one.confidences == pytest.approx(answer.confidences, abs=1e-5)
        assert one.given == answer.labels
    assert trained.evaluation.metrics.accuracy == np.mean([one.is_correct for one in predictions])


def test_files_reconcile_with_the_record(trained: Made) -> None:
    folder, metrics = Path(trained.evaluation.entry_path), trained.evaluation.metrics
    summary = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in (folder / SNAPSHOT_FILE).read_text(encoding="utf-8").splitlines()]
    assert len(lines) == summary["EvaluationDetails"]["NumberOfTestingImages"]
    assert summary["EvaluationDetails"]["NumberOfTrainingImages"] == sum(trained.manifest.images["train"].values())
    assert summary["AggregatedEvaluationResults"]["F1Score"] == metrics.macro_f1
    details = [
        (value["class-name"], value[f"{EVALUATION}-details"])
        for line in lines
        for key, value in line.items()
        if key.startswith(EVALUATION) and key.endswith("-metadata")
    ]
    for one in summary["LabelEvaluationResults"]:
        hits, extra, missed = (
            sum(told[f"is-{word}"] for label, told in details if label == one["Label"])
            for word in ("true-positive", "false-positive", "false-negative")
        )
        figures = metrics.per_label[one["Label"]]
        assert figures.precision == one["Metrics"]["Precision"] == (hits / (hits + extra) if hits + extra else 0.0)
        assert figures.recall == one["Metrics"]["Recall"] == hits / (hits + missed)
        assert one["NumberOfTestingImages"] == hits + missed


def test_thresholds_are_those_of_the_bundle(trained: Made) -> None:
    thresholds = Predictor.open(trained.model.bundle_path).card.thresholds
    assert {label: figures.threshold for label, figures in trained.evaluation.metrics.per_label.items()} == thresholds


def test_second_evaluation_is_reused_and_judged_anew(trained: Made) -> None:
    again = evaluate_model.fn(trained.home, trained.manifest, trained.model, GateConfig(min_macro_f1=1.0))
    assert again.reused
    assert again.metrics == trained.evaluation.metrics
    assert again.key == trained.evaluation.key
    assert not again.gate.passed
    lenient = evaluate_model.fn(trained.home, trained.manifest, trained.model, LENIENT)
    assert lenient.gate.passed
    assert lenient.gate.reasons == ()


def test_figures_are_there(trained: Made) -> None:
    assert {path.suffix for path in trained.evaluation.figures_path.iterdir()} == {".png", ".svg"}
    assert len(list(trained.evaluation.figures_path.iterdir())) == 10


def test_bundle_that_was_changed_is_refused(trained: Made, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(trained.model.entry_path, tmp_path / "entry"))
    path = copied / "bundle" / "model.json"
    path.write_bytes(path.read_bytes() + b"\n")
    model = trained.model.model_copy(update={"entry_path": str(copied), "key": "another"})
    with pytest.raises(BundleError):
        evaluate_model.fn(trained.home, trained.manifest, model, LENIENT)
