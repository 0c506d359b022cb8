"""The train stage for detection, as the flow calls it: on painted boxes, with a real store and a real MLflow."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from flows.config import (
    CropConfig,
    DataConfig,
    DetectorConfig,
    EvaluationConfig,
    MaskConfig,
    PreprocessingConfig,
    TrainConfig,
    TrainingConfig,
)
from tasks.bundle.format import bundle_digest, read_model_card
from tasks.bundle.predictor import Predictor
from tasks.errors import DataError, RequestError
from tasks.ingest.task import ingest_images
from tasks.manifest.task import build_manifest
from tasks.stores.home import Home
from tasks.tracking.registry import Registry
from tasks.tracking.runs import TRAIN_KEY_TAG, experiment_of, run_of_key
from tasks.train import epochs as epochs_module
from tasks.train import network_task
from tasks.train.learning import loop
from tasks.train.task import train_model
from tests.homes import new_home
from tests.makers import paint_with_boxes, png_bytes
from tests.sources import SIDE, box_line, paint_boxed, some_boxes, write_lines

EPOCHS = 3
SMALL = DetectorConfig(epochs=EPOCHS, augmentation="light")
TIMES = {"seconds", "time"}


@pytest.fixture(autouse=True)
def short_epochs(monkeypatch):
    """An epoch goes through the images once."""
    monkeypatch.setattr(epochs_module, "MIN_IMAGES_PER_EPOCH", 1)


@pytest.fixture(scope="module")
def make_home(tmp_path_factory):
    """Homes with an MLflow of their own."""
    return lambda: new_home(tmp_path_factory.mktemp("home"))


def paint_source(root: Path, labels: tuple[str, ...]) -> Path:
    boxes = some_boxes(*(f"{number:02d}.png" for number in range(30)))
    boxes |= {"empty0.png": [], "empty1.png": []}
    paint_boxed(root, boxes)
    lines = [
        box_line(ref, placed, **{"class-map": {"0": labels[number % len(labels)]}})
        for number, (ref, placed) in enumerate(boxes.items())
    ]
    return write_lines(root / "all.manifest", *lines)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return paint_source(tmp_path_factory.mktemp("parts") / "parts", ("part",))


def manifest_of(home: Home, source: Path):
    data = DataConfig(source=str(source), name="parts", near_duplicates=False)
    return build_manifest.fn(home, ingest_images.fn(home, data), data, MaskConfig(), "detection")


def request_of(folds=None, **training) -> TrainConfig:
    return TrainConfig(
        task="detection",
        training=TrainingConfig(**({"input_size": 64, "device": "cpu", "detector": SMALL} | training)),
        evaluation=EvaluationConfig(folds=folds),
    )


def train(home: Home, source: Path, config: TrainConfig):
    return train_model.fn(home, manifest_of(home, source), config)


@pytest.fixture(scope="module")
def whole(make_home, source):
    """A home and the model that was trained in it at one go."""
    home = make_home()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(epochs_module, "MIN_IMAGES_PER_EPOCH", 1)
        return home, train(home, source, request_of())


def runs_of(home: Home, train_key: str):
    client = MlflowClient(home.tracking_uri, home.registry_uri)
    experiment = client.get_experiment_by_name(experiment_of("parts"))
    return client.search_runs([experiment.experiment_id], f"tags.`{TRAIN_KEY_TAG}` = '{train_key}'")


def curve(home: Home, run_id: str, name: str):
    client = MlflowClient(home.tracking_uri, home.registry_uri)
    return [(point.step, point.value) for point in client.get_metric_history(run_id, f"training.{name}")]


def without_times(history):
    return [{name: value for name, value in row.items() if name not in TIMES} for row in history]


def test_folder_becomes_a_bundle(whole):
    home, model = whole
    assert not model.reused
    assert model.cross_validated is None
    assert model.estimate_in_words == "not cross-validated"
    assert bundle_digest(model.bundle_path) == model.bundle_digest
    card = read_model_card(model.bundle_path)
    assert (card.labels, card.task) == (("part",), "detection")
    assert card.provenance["weights"] == "package"
    assert model.chosen["epochs"] == EPOCHS
    assert [row["epoch"] for row in model.history] == [1, 2, 3]
    assert all(
        {"loss", "validation_map", "validation_map_50", "seconds", "time"} <= row.keys() for row in model.history
    )
    answer = Predictor.open(model.bundle_path).predict([paint_with_boxes([(5, 5, 30, 20)], SIDE)])
    assert set(answer[0].confidences) == {"part"}
    assert list(home.work_path.iterdir()) == []


def test_curves_are_in_the_training_run(whole):
    home, model = whole
    (run,) = runs_of(home, model.key)
    assert run.info.status == "FINISHED"
    assert curve(home, run.info.run_id, "loss") == [(int(row["epoch"]), row["loss"]) for row in model.history]


def test_same_request_is_not_trained_again(whole, source, monkeypatch):
    home, model = whole
    monkeypatch.setattr(loop, "_run_epoch", lambda *_: pytest.fail("trained again"))
    again = train(home, source, request_of(device="auto"))
    assert again.reused
    assert again.model_copy(update={"reused": False, "seconds": model.seconds}) == model


def card_of(model):
    return json.loads((model.bundle_path / "model.json").read_text())


def test_training_that_was_killed_goes_on_and_ends_alike(whole, make_home, source, monkeypatch):
    home = make_home()
    tell, epochs, learn = network_task._Epochs.__call__, [], loop._run_epoch

    def die(self, row):
        tell(self, row)
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as dying, pytest.raises(KeyboardInterrupt):
        dying.setattr(network_task._Epochs, "__call__", die)
        train(home, source, request_of())
    _, model = whole
    assert [path.name for path in home.work_path.rglob("checkpoint.pt")] == ["checkpoint.pt"]
    (killed,) = runs_of(home, model.key)
    assert killed.info.status == "FAILED"
    assert [step for step, _ in curve(home, killed.info.run_id, "loss")] == [1, 2]

    monkeypatch.setattr(loop, "_run_epoch", lambda *args: (epochs.append(args[3]), learn(*args))[1])
    resumed = train(home, source, request_of())
    assert epochs == [3]
    assert without_times(resumed.history) == without_times(model.history)
    assert card_of(resumed) == card_of(model)
    assert resumed.bundle_digest == model.bundle_digest
    assert list(home.work_path.iterdir()) == []
    (run,) = runs_of(home, model.key)
    assert (run.info.run_id, run.info.status) == (killed.info.run_id, "FINISHED")
    assert [step for step, _ in curve(home, run.info.run_id, "loss")] == [1, 2, 3]


def test_own_version_is_learned_on_with_a_label_more(whole, tmp_path):
    home, model = whole
    with run_of_key(home, experiment_of("parts"), "earlier", "earlier") as run:
        example = png_bytes(paint_with_boxes([(5, 5, 30, 20)], SIDE))
        registry = Registry(home)
        registry.set_alias(registry.register(run, "earlier", "earlier", model.bundle_path, example, {}), "best")
    source = paint_source(tmp_path / "parts", ("hole", "part"))
    later = train(home, source, request_of(weights="models:/earlier@best", folds=2))
    card = read_model_card(later.bundle_path)
    assert card.labels == ("hole", "part")
    assert card.provenance["weights"] == card.provenance["continues"] == "models:/earlier/1"
    assert (later.chosen["known_labels"], later.chosen["new_labels"]) == ("part", "hole")
    # It begins where the other ended.
    assert later.history[0]["box_loss"] < model.history[0]["box_loss"]
    assert later.cross_validated.folds == 2
    assert later.cross_validated.images == sum(manifest_of(home, source).totals[s] for s in ("train", "validation"))
    assert set(later.cross_validated.per_label) == {"hole", "part"}
    assert "cross-validated mAP50" in later.estimate_in_words
    assert list(home.work_path.iterdir()) == []


def test_crop_without_a_box_is_refused_before_learning(make_home, source):
    preprocessing = PreprocessingConfig(crop=CropConfig(width=0.02, height=0.02))
    with pytest.raises(DataError, match=r"training\.preprocessing\.crop"):
        train(make_home(), source, request_of(preprocessing=preprocessing))


@pytest.mark.parametrize(
    ("training", "words"),
    [({"weights": "models:/nobody@best"}, r"training\.weights"), ({"device": "cuda:97"}, r"training\.device")],
)
def test_wrong_request_is_one_sentence(training, words, make_home, source):
    home = make_home()
    with pytest.raises(RequestError, match=words):
        train(home, source, request_of(**training))


def test_run_that_was_deleted_meanwhile_is_no_reason_to_stop(make_home, caplog):
    home = make_home()
    row = {"epoch": 1.0, "loss": 0.5, "time": 1.7e9}
    with network_task._live(home, experiment_of("parts"), "k" * 64, "parts") as tell:
        tell(row)
        (run,) = runs_of(home, "k" * 64)
        MlflowClient(home.tracking_uri, home.registry_uri).delete_run(run.info.run_id)
        tell(row | {"epoch": 2.0})
        tell(row | {"epoch": 3.0})
    told = [record.getMessage() for record in caplog.records]
    assert [message for message in told if message.startswith("epoch")] == [f"epoch {n}: loss 0.500" for n in (1, 2, 3)]
    # Said once, at the first epoch that cannot be shown.
    assert sum("not shown live" in message for message in told) == 1
    assert [step for step, _ in curve(home, run.info.run_id, "loss")] == [1]
