"""A network beside heads, whose answers to the folds are given: on painted shapes, with a real store."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flows.config import DataConfig, EvaluationConfig, MaskConfig, NetworkConfig, TrainConfig, TrainingConfig
from tasks import engine
from tasks.bundle.format import bundle_digest, read_model_card
from tasks.errors import TrainingError
from tasks.ingest.task import ingest_images
from tasks.manifest.task import build_manifest
from tasks.train.classifier.beside_heads import contend
from tasks.train.cross_validation import FoldAnswers
from tasks.train.deadline import OutOfTime
from tasks.train.heads.folds import group_numbers
from tasks.train.heads.targets import as_truths, divide, targets_of
from tasks.train.network_task import classifier_lesson
from tasks.train.records import BUNDLE_FOLDER, OUT_OF_FOLD_FILE, TrainedModel, Trial
from tasks.train.weights import FirstWeights
from tests.makers import paint_class_folders

FOLDS = 2
HEADS = TrainedModel(
    bundle_digest="d" * 64,
    input_size=64,
    seed=0,
    chosen={"algorithm": "svm"},
    trials=(Trial(name="svm on stages", log_loss=0.2, kept=True), Trial(name="svm on hog", log_loss=0.3)),
    cross_validated=None,
    parity_difference=0.0,
)


@pytest.fixture(scope="module")
def lesson(shared_home, tmp_path_factory):
    source = paint_class_folders(tmp_path_factory.mktemp("source") / "beside", {"ring": 9, "square": 9}, side=64)
    data = DataConfig(source=str(source), near_duplicates=False)
    manifest = build_manifest.fn(shared_home, ingest_images.fn(shared_home, data), data, MaskConfig(), "classification")
    network = NetworkConfig(epochs=1, batch_size=8)
    training = TrainingConfig(input_size=64, device="cpu", algorithm="cnn", network=network)
    config = TrainConfig(training=training, evaluation=EvaluationConfig(folds=FOLDS))
    return classifier_lesson(manifest, config, FirstWeights("none", "none"))


@pytest.fixture
def answer(lesson, tmp_path):
    """Let the network contend with heads that give the true label so much confidence."""
    (tmp_path / "model" / BUNDLE_FOLDER).mkdir(parents=True)
    (tmp_path / "model" / BUNDLE_FOLDER / "head.onnx").write_text("the heads'")
    (tmp_path / "model" / OUT_OF_FOLD_FILE).write_text("the heads'")
    (tmp_path / "work").mkdir()

    def run(sure, seconds=600.0, *, taught=lesson, tell=lambda row: None):
        targets = targets_of(lesson.images, lesson.labels, is_multi_label=False)
        right = as_truths(targets, 2) * (2 * sure - 1) + 1 - sure
        groups = group_numbers([entry.unit for entry in lesson.images])
        answers = [
            FoldAnswers(dict.fromkeys(lesson.labels, 0.5), right[held_out])
            for _, held_out in divide(targets, FOLDS, 0, groups)
        ]
        folder, until = tmp_path / "model", time.time() + seconds
        return contend(folder, tmp_path / "work", taught, HEADS, answers, until, engine.progress, tell)

    return run


def of_heads(folder: Path) -> bool:
    return [path.read_text() for path in (folder / BUNDLE_FOLDER / "head.onnx", folder / OUT_OF_FOLD_FILE)] == [
        "the heads'"
    ] * 2


def test_who_answers_better_takes_the_place_of_the_heads(answer, lesson, tmp_path):
    rows = []
    model = answer(0.01, tell=rows.append)
    folder = tmp_path / "model"
    assert {path.name for path in (folder / BUNDLE_FOLDER).iterdir()} == {
        *("model.json", "network.onnx", "weights.safetensors")
    }
    assert bundle_digest(folder / BUNDLE_FOLDER) == model.bundle_digest
    assert read_model_card(folder / BUNDLE_FOLDER).provenance["algorithm"] == model.chosen["algorithm"] == "cnn"
    assert [(one.name, one.kept) for one in model.trials] == [
        ("svm on stages", False),
        ("svm on hog", False),
        ("the best of these, chosen anew in 2 folds", False),
        ("cnn, in the same folds", True),
    ]
    assert model.trials[2].log_loss == pytest.approx(-np.log(0.01), abs=1e-3)
    assert model.trials[3].log_loss < model.trials[2].log_loss
    assert model.cross_validated.images == len(lesson.images)
    lines = [json.loads(line) for line in (folder / OUT_OF_FOLD_FILE).read_text().splitlines()]
    right = [[max(line["confidences"], key=line["confidences"].get)] == line["truth"] for line in lines]
    assert model.cross_validated.accuracy == pytest.approx(np.mean(right))
    # One epoch in each fold, told once, and one on all images.
    assert len(rows) == FOLDS + 1


def test_heads_that_answer_better_stay(answer, tmp_path):
    model = answer(0.999)
    assert of_heads(tmp_path / "model")
    assert model.trials[:2] == HEADS.trials
    assert [one.kept for one in model.trials[2:]] == [False, False]
    assert model.model_copy(update={"trials": HEADS.trials}) == HEADS


def test_time_that_is_over_and_learning_that_fails_leave_the_heads(answer, lesson, tmp_path):
    with pytest.raises(OutOfTime):
        answer(0.01, seconds=0.0)
    endless = replace(lesson, schedule=replace(lesson.schedule, learning_rate=1e30))
    with pytest.raises(TrainingError):
        answer(0.01, taught=endless)
    assert of_heads(tmp_path / "model")
