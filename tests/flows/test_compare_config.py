import re

import pytest
from pydantic import ValidationError

from flows.__main__ import parse
from flows.compare_config import CANDIDATES, CompareConfig
from tasks.compare.candidates import simplicity
from tasks.errors import RequestError


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("10m", 600.0), ("2h", 7200.0), ("1.5m", 90.0)], ids=lambda value: str(value)
)
def test_budget_is_read_in_seconds_minutes_or_hours(text, seconds):
    assert CompareConfig(budget=text).budget_seconds == seconds


@pytest.mark.parametrize("text", ["10", "m", "-1m", "10 m", "1d", ""])
def test_budget_without_a_unit_is_refused(text):
    with pytest.raises(ValidationError):
        CompareConfig(budget=text)


def test_every_default_candidate_can_be_trained():
    config = CompareConfig()
    assert len(set(CANDIDATES)) == len(CANDIDATES)
    for name in CANDIDATES:
        training = config.request_of(name).training
        assert training.algorithm == ("logistic" if name == "plain" else name.partition(":")[0])
    assert list(CANDIDATES) == sorted(CANDIDATES, key=simplicity)


@pytest.mark.parametrize(
    ("name", "training"),
    [
        pytest.param("plain", {"algorithm": "logistic", "features": ("embedding",), "views": False}, id="plain"),
        pytest.param("svm:stages", {"algorithm": "svm", "features": ("stages",), "views": True}, id="head"),
        pytest.param(
            "logistic:embedding+stages", {"algorithm": "logistic", "features": ("embedding", "stages")}, id="both"
        ),
        pytest.param("auto", {"algorithm": "auto", "features": (), "weights": "package", "limit": "0s"}, id="auto"),
        pytest.param("auto:stages", {"algorithm": "auto", "features": ("stages",), "limit": "1m"}, id="auto on stages"),
        pytest.param("cnn", {"algorithm": "cnn", "weights": "package", "seed": 3}, id="cnn"),
        pytest.param("transfer", {"algorithm": "transfer", "weights": "resnet18.safetensors"}, id="transfer"),
        pytest.param("finetune:searched", {"algorithm": "finetune", "weights": "resnet18.safetensors"}, id="finetune"),
    ],
)
def test_a_candidate_takes_what_it_uses_of_the_common_training(name, training):
    config = CompareConfig(
        training={
            "seed": 3,
            "device": "cpu",
            "weights": "resnet18.safetensors",
            "network": {"backbone": "resnet18", "epochs": 2},
        }
    )
    request = config.request_of(name)
    assert {field: getattr(request.training, field) for field in training} == training
    assert request.training.seed == 3
    is_network = name in ("cnn", "transfer", "finetune:searched")
    assert request.training.network.epochs == (2 if is_network else None)
    assert (request.training.network.backbone == "resnet18") == (is_network and name != "cnn")
    assert config.trials_of(name) == (8 if name.endswith("searched") else 1)


def test_without_weights_all_but_transfer_can_be_trained():
    config, refused = CompareConfig(training={"weights": "none"}), []
    for name in CANDIDATES:
        try:
            config.request_of(name)
        except RequestError:
            refused.append(name)
    assert refused == ["transfer", "transfer:searched"]


def test_form_shows_what_a_candidate_looks_like():
    pattern = CompareConfig.model_json_schema()["properties"]["candidates"]["items"]["pattern"]
    assert all(re.match(pattern, name) for name in CANDIDATES)
    assert not re.match(pattern, "svn")


def test_options_of_a_search_replace_those_asked_for():
    config = CompareConfig(training={"network": {"epochs": 2, "mixup": 0.4}})
    network = config.request_of("finetune:searched", {"mixup": 0.0, "learning_rate": 0.01}).training.network
    assert (network.epochs, network.mixup, network.learning_rate) == (2, 0.0, 0.01)


@pytest.mark.parametrize(
    ("name", "training", "reason"),
    [
        pytest.param("transfer", {"weights": "none"}, "must not be none", id="transfer that knows nothing"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(name, training, reason):
    with pytest.raises(RequestError, match=f"{name} cannot be trained: .*{reason}"):
        CompareConfig(training=training).request_of(name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(("--candidates", "svn"), "candidates.0 = 'svn' .* did you mean svm", id="unknown algorithm"),
        pytest.param(
            ("--candidates", "plain,svm:stges"),
            "candidates.1 = .*'stges' names no features, did you mean stages",
            id="unknown features",
        ),
        pytest.param(("--candidates", "svm:"), "'' names no features", id="no features"),
        pytest.param(("--candidates", "svm:lbp+lbp"), "names features twice", id="features twice"),
        pytest.param(("--candidates", "plain:stages"), "cannot be chosen; give plain", id="plain"),
        pytest.param(("--candidates", "cnn:stages"), "give cnn or cnn:searched", id="features of a network"),
        pytest.param(
            ("--candidates", "transfer", "--training.weights", "none"),
            "transfer cannot be trained: .* not be none",
            id="none can be trained",
        ),
        pytest.param(("--candidates", "svm,svm"), "names svm twice", id="twice"),
        pytest.param(("--training.algorithm", "svm"), "training.algorithm does nothing", id="algorithm"),
        pytest.param(("--training.limit", "5m"), "training.limit does nothing", id="limit"),
        pytest.param(("--training.detector.epochs", "3"), "training.detector does nothing", id="detector"),
        pytest.param(("--budget", "10"), "budget = '10'", id="budget"),
    ],
)
def test_slips_are_told_in_one_sentence(options, message):
    with pytest.raises(RequestError, match=message):
        parse(["compare", *options])


def test_command_line_takes_a_list_and_json():
    command, config = parse(["compare", "--candidates", "plain,svm:stages", "--budget", "5m", "--json", "--ship"])
    assert command.is_table
    assert config.candidates == ("plain", "svm:stages")
    assert (config.as_json, config.ship, config.budget) == (True, True, "5m")
