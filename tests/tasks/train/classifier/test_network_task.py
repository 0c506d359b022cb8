"""The train stage for networks that classify, as the flow calls it: on painted shapes, with a real store and MLflow."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from flows.config import DataConfig, EvaluationConfig, MaskConfig, NetworkConfig, TrainConfig, TrainingConfig
from tasks.bundle.format import bundle_digest, read_model_card
from tasks.bundle.predictor import Predictor
from tasks.errors import RequestError
from tasks.ingest.task import ingest_images
from tasks.manifest.task import build_manifest
from tasks.tracking.registry import Registry
from tasks.tracking.runs import run_of_key
from tasks.train.records import OUT_OF_FOLD_FILE
from tasks.train.task import train_model
from tests.makers import paint_class_folders, paint_shape, png_bytes

SIDE = 64
COUNTS = {"ring": 5, "square": 12}


def train(home, source: Path, folds=None, network=None, **training):
    data = DataConfig(source=str(source), name=source.name, near_duplicates=False)
    manifest = build_manifest.fn(home, ingest_images.fn(home, data), data, MaskConfig(), "classification")
    options = NetworkConfig(**({"epochs": 3, "batch_size": 8} | (network or {})))
    request = {"input_size": SIDE, "device": "cpu", "network": options} | training
    config = TrainConfig(training=TrainingConfig(**request), evaluation=EvaluationConfig(folds=folds))
    return train_model.fn(home, manifest, config)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return paint_class_folders(tmp_path_factory.mktemp("source") / "shapes", COUNTS, side=SIDE)


@pytest.fixture(scope="module")
def cnn(shared_home, source):
    return train(shared_home, source, algorithm="cnn")


def test_folder_becomes_a_bundle_of_one_network(cnn, shared_home, source):
    assert bundle_digest(cnn.bundle_path) == cnn.bundle_digest
    card = read_model_card(cnn.bundle_path)
    assert (card.task, card.labels, set(card.networks)) == ("classification", ("ring", "square"), {"network"})
    assert (card.provenance["algorithm"], card.provenance["weights"]) == ("cnn", "none")
    assert cnn.cross_validated is None
    assert cnn.parity_difference <= 1e-4
    assert [row["epoch"] for row in cnn.history] == [1, 2, 3]
    assert cnn.chosen["best_epoch"] in {1, 2, 3}
    answer = Predictor.open(cnn.bundle_path).predict([paint_shape("ring", SIDE)])[0]
    assert sum(answer.confidences.values()) == pytest.approx(1.0, abs=1e-5)
    again = train(shared_home, source, algorithm="cnn")
    assert again.reused
    assert again.bundle_digest == cnn.bundle_digest


def test_own_version_is_learned_on_with_a_label_more_and_folds(cnn, shared_home, tmp_path):
    with run_of_key(shared_home, "keeneye/shapes", "earlier-cnn", "earlier-cnn") as run:
        example = png_bytes(paint_shape("ring", SIDE))
        Registry(shared_home).register(run, "earlier-cnn", "earlier-cnn", cnn.bundle_path, example, {})
    more = paint_class_folders(tmp_path / "more", {**COUNTS, "cross": 5}, side=SIDE, seed=1)
    later = train(shared_home, more, 2, {"epochs": 1}, algorithm="cnn", weights="models:/earlier-cnn/1")
    assert later.chosen["continues"] == "models:/earlier-cnn/1"
    assert (later.chosen["known_labels"], later.chosen["new_labels"]) == ("ring, square", "cross")
    assert later.cross_validated.folds == 2
    assert set(later.cross_validated.per_label) == {"cross", "ring", "square"}
    lines = (Path(later.entry_path) / OUT_OF_FOLD_FILE).read_text().splitlines()
    assert len(lines) == later.cross_validated.images


def test_transfer_on_weights_of_a_file(shared_home, source, tmp_path):
    torch.manual_seed(0)
    save_file(timm.create_model("resnet18", pretrained=False).state_dict(), tmp_path / "w.safetensors")
    model = train(
        shared_home,
        source,
        network={"backbone": "resnet18"},
        algorithm="transfer",
        weights=f"file://{tmp_path / 'w.safetensors'}",
    )
    card = read_model_card(model.bundle_path)
    assert card.provenance["frozen_stages"] == 5
    assert len(card.provenance["weights_sha256"]) == 64
    assert model.parity_difference <= 1e-4


WRONG = {
    "backbone": ({"algorithm": "transfer", "network": {"backbone": "vgg11"}}, "no residual network"),
    "no packaged weights": (
        {"algorithm": "finetune", "network": {"backbone": "resnet18"}},
        "no installed package has weights of resnet18",
    ),
    "another algorithm's version": (
        {"algorithm": "finetune", "weights": "models:/earlier-cnn-two/1"},
        "built differently",
    ),
    "no such version": ({"algorithm": "cnn", "weights": "models:/nobody/1"}, "training.weights"),
}


@pytest.mark.parametrize(("training", "words"), WRONG.values(), ids=WRONG.keys())
def test_wrong_request_is_one_sentence(training, words, cnn, shared_home, source):
    if "two" in training.get("weights", ""):
        with run_of_key(shared_home, "keeneye/shapes", "earlier-cnn-two", "earlier-cnn-two") as run:
            example = png_bytes(paint_shape("ring", SIDE))
            Registry(shared_home).register(run, "earlier-cnn-two", "earlier-cnn-two", cnn.bundle_path, example, {})
    with pytest.raises(RequestError) as caught:
        train(shared_home, source, **training)
    assert words in caught.value.message
    assert "\n" not in caught.value.message
