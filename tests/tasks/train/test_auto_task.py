"""A network tried beside heads, as the flow calls it; a small one for one epoch, beside one kind of head."""

import pytest
import torch

from flows.config import TrainingConfig
from tasks.bundle.format import read_model_card
from tasks.errors import EnvironmentFailed, SourceChanged
from tasks.train import auto_task, candidates, network_task
from tasks.train.task import train_model
from tests.tasks.conftest import INPUT_SIZE


@pytest.fixture
def auto(trained, monkeypatch):
    """Train with the choice left open, in so much time."""
    monkeypatch.setattr(candidates, "AUTO_HEADS", ("logistic",))
    monkeypatch.setattr(auto_task, "NETWORK", "cnn")
    for module in (auto_task, network_task):
        monkeypatch.setattr(module, "EPOCHS", {"cnn": 1})

    def run(limit, seed=0, **options):
        training = TrainingConfig(input_size=INPUT_SIZE, views=False, limit=limit, seed=seed, **options)
        return train_model.fn(trained.home, trained.manifest, trained.config(training=training))

    return run


def test_a_network_that_the_time_covers_is_measured_on_the_same_folds(auto, trained):
    model = auto("1h")
    best, network = model.trials[-2:]
    assert best.name == "the best of these, chosen anew in 3 folds"
    assert network.name == "cnn, in the same folds"
    assert best.log_loss > 0.0 < network.log_loss
    (kept,) = [trial for trial in model.trials if trial.kept]
    # One epoch teaches a network nothing.
    assert kept.name.startswith("logistic on")
    assert set(read_model_card(model.bundle_path).networks) >= {"head"}
    assert model.cross_validated.folds == 3
    again = auto("1h")
    assert (again.reused, again.trials) == (True, model.trials)
    # Whether a network is tried depends on it.
    assert not auto("1h", device="cpu").reused
    assert not list(trained.home.work_path.glob("*/fold-*.pt"))


def test_a_network_that_takes_longer_than_was_thought_is_stopped(auto, monkeypatch):
    monkeypatch.setattr(auto_task, "expected_seconds", lambda *_: 0.0)
    model = auto("0.001s")
    assert (model.trials[-1].name, model.trials[-1].log_loss) == ("cnn", None)
    assert model.trials[-1].note.startswith("stopped, for ")
    assert model.trials[-1].note.endswith("the limit is 0.001s (training.limit)")
    assert model.parity_difference < 1e-4


def test_a_network_that_fails_stops_nothing(auto, monkeypatch):
    monkeypatch.setattr(network_task, "LEARNING_RATES", {"cnn": 1e30})
    model = auto("1h", seed=1)
    assert model.trials[-1].note.startswith("failed: the loss became ")
    assert (model.bundle_path / "model.json").exists()


@pytest.mark.parametrize(
    ("error", "seed", "words"),
    [
        (torch.OutOfMemoryError("none"), 2, "no room for cnn.*--training.device cpu"),
        (RuntimeError("No space left on device"), 3, "no space is left"),
        (SourceChanged("other images"), 4, "other images"),
    ],
    ids=["card", "disk", "images"],
)
def test_what_may_end_otherwise_another_time_is_not_kept(auto, monkeypatch, error, seed, words):
    def fail(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(auto_task, "classifier_lesson", fail)
        with pytest.raises((EnvironmentFailed, SourceChanged), match=words):
            auto("1h", seed=seed)
    model = auto("1h", seed=seed)
    assert not model.reused
    assert model.trials[-1].log_loss > 0.0


def test_no_time_asks_for_no_network(auto):
    model = auto("0s")
    assert all(trial.log_loss is not None for trial in model.trials)
