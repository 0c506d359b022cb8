from dataclasses import replace

import numpy as np
import optuna
import pytest

from tasks.bundle.preprocessing import standard_steps
from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.errors import TrainingError
from tasks.train.classifier import search as search_module
from tasks.train.classifier.network import CNN, Architecture
from tasks.train.classifier.search import STUDY_FILE, lesson_with, options_of, search_options, space_of
from tasks.train.classifier.teach import ClassifierLesson
from tasks.train.option_limits import MAX_FROZEN_STAGES, MAX_LEARNING_RATE
from tasks.train.weights import FirstWeights
from tests.tasks.train.classifier.painted import INPUT_SIZE, PLAIN, paint_samples
from tests.tasks.train.schedules import schedule

COUNTS = (10, 6)
TRIALS, EPOCHS = 3, 2


@pytest.fixture(scope="module")
def samples():
    return paint_samples(COUNTS)


@pytest.fixture(scope="module")
def lesson(samples, tmp_path_factory):
    images = [
        ImageEntry(f"{place}.png", f"{place:064x}", INPUT_SIZE, INPUT_SIZE, Truth(labels=("ring",)))
        for place in range(sum(COUNTS))
    ]
    return ClassifierLesson(
        dataset_name="shapes",
        dataset_digest="0" * 64,
        labels=("square", "ring"),
        root=tmp_path_factory.mktemp("none"),
        train=images,
        validation=[],
        weights=FirstWeights("none", "none"),
        schedule=schedule(epochs=EPOCHS, learning_rate=3e-3),
        seed=0,
        folds=2,
        algorithm="cnn",
        steps=standard_steps(INPUT_SIZE),
        architecture=Architecture(CNN, 0, False, 2),
        regularisation=PLAIN,
    )


def search(lesson, samples, folder, tell=lambda row: None):
    folder.mkdir(exist_ok=True)
    return search_options(lesson, samples, np.arange(len(samples)), folder, TRIALS, tell)


def trials_of(folder):
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / STUDY_FILE)))
    return optuna.load_study(study_name="options", storage=storage).trials


def test_the_lowest_loss_on_what_was_held_out_wins(lesson, samples, tmp_path):
    found = search(lesson, samples, tmp_path)
    trials = trials_of(tmp_path)
    assert len(trials) == TRIALS
    assert trials[0].params == options_of(lesson)
    assert len({str(trial.params) for trial in trials}) > 1
    best = min((trial for trial in trials if trial.value is not None), key=lambda trial: trial.value)
    assert found.options == best.params
    assert options_of(found.lesson) == best.params
    assert min(row["validation_loss"] for row in found.taught.fitted.history) == pytest.approx(best.value)
    assert found.seconds >= found.taught.seconds > 0.0


def test_a_search_that_was_killed_ends_as_if_it_was_not(lesson, samples, tmp_path):
    whole = search(lesson, samples, tmp_path / "whole")
    expected = trials_of(tmp_path / "whole")
    epochs = []

    def die_in_the_second_trial(row):
        epochs.append(row["epoch"])
        if epochs.count(1) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(lesson, samples, tmp_path / "killed", die_in_the_second_trial)
    again = []
    resumed = search(lesson, samples, tmp_path / "killed", lambda row: again.append(row["epoch"]))
    found = [trial for trial in trials_of(tmp_path / "killed") if trial.state.name != "FAIL"]
    assert [trial.params for trial in found] == [trial.params for trial in expected]
    assert [trial.value for trial in found] == [trial.value for trial in expected]
    assert resumed.options == whole.options
    # The finished trial is not taught again.
    assert again.count(1) == TRIALS - 1


def test_what_lags_behind_is_stopped(lesson, samples, tmp_path, monkeypatch):
    monkeypatch.setattr(search_module, "RATE_FACTOR", 1000.0)
    monkeypatch.setattr(search_module, "MAX_LEARNING_RATE", 3.0)
    told = []
    search(replace(lesson, schedule=schedule(epochs=4, learning_rate=3e-3)), samples, tmp_path, told.append)
    pruned = [trial for trial in trials_of(tmp_path) if trial.state.name == "PRUNED"]
    assert pruned
    assert len(told) < TRIALS * 4


def test_options_with_which_nothing_is_learned_stop_no_other(lesson, samples, tmp_path):
    def fail(row):
        raise TrainingError("the loss became nan")

    with pytest.raises(TrainingError, match="with none of the 3 options"):
        search(lesson, samples, tmp_path, fail)
    assert {trial.state.name for trial in trials_of(tmp_path)} == {"PRUNED"}


def test_the_space_holds_what_was_asked_for(lesson):
    tuned = replace(
        lesson,
        algorithm="finetune",
        architecture=Architecture("resnet18", 3, True, 2),
        schedule=schedule(augmentation="strong", learning_rate=0.01),
        regularisation=replace(PLAIN, mixup=0.4, layer_decay=0.95),
    )
    space, given = space_of(tuned), options_of(tuned)
    assert set(space) == {"learning_rate", "augmentation", "mixup", "layer_decay", "frozen_stages"}
    assert all(space[name]._contains(space[name].to_internal_repr(value)) for name, value in given.items())
    assert set(space_of(lesson)) == {"learning_rate", "augmentation", "mixup"}
    utmost = replace(tuned, schedule=replace(tuned.schedule, learning_rate=MAX_LEARNING_RATE))
    for frozen in (MAX_FROZEN_STAGES, MAX_FROZEN_STAGES - 1):
        space = space_of(replace(utmost, architecture=replace(tuned.architecture, frozen_stages=frozen)))
        assert space["learning_rate"].high == MAX_LEARNING_RATE
        assert space["frozen_stages"].high == frozen
    changed = lesson_with(tuned, {"learning_rate": 0.02, "mixup": 0.0, "frozen_stages": 1, "layer_decay": 0.5})
    assert (changed.schedule.learning_rate, changed.schedule.augmentation) == (0.02, "strong")
    assert (changed.regularisation.mixup, changed.regularisation.layer_decay) == (0.0, 0.5)
    assert (changed.architecture.frozen_stages, changed.architecture.backbone) == (1, "resnet18")
