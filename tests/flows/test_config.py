import json
import re
from typing import get_args

import pytest
from pydantic import BaseModel, ValidationError

from flows.config import (
    AnomalyConfig,
    ClassifierFeatures,
    DataConfig,
    DetectorConfig,
    EvaluationConfig,
    GateConfig,
    GroundTruthConfig,
    Task,
    TrainConfig,
    TrainingConfig,
)
from tasks.features.feature_set import FeatureName
from tasks.train.backbone import BackboneFeatures


def groups(model):
    return [
        field.annotation
        for field in model.model_fields.values()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    ]


GROUPS = sorted({*groups(TrainConfig), *groups(GroundTruthConfig)}, key=lambda group: group.__name__)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_every_field_has_a_default_a_description_and_a_place(group):
    positions = []
    for name, field in group.model_fields.items():
        assert not field.is_required(), name
        assert field.description, name
        assert field.description.endswith("."), name
        positions.append(field.json_schema_extra["position"])
    assert positions == list(range(1, len(positions) + 1))


def test_defaults_are_valid_and_round_trip():
    config = TrainConfig()
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config


def test_the_form_says_what_the_model_demands():
    schema = json.loads(json.dumps(TrainConfig.model_json_schema()))
    fraction = schema["$defs"]["DataConfig"]["properties"]["max_invalid_fraction"]
    assert (fraction["minimum"], fraction["maximum"]) == (0.0, 1.0)
    assert schema["$defs"]["DataConfig"]["additionalProperties"] is False


@pytest.mark.parametrize(
    ("model", "values"),
    [
        pytest.param(DataConfig, {"sauce": "x"}, id="unknown field"),
        pytest.param(DataConfig, {"rewrite": ["no rule"]}, id="rewrite rule"),
        pytest.param(DataConfig, {"source": ""}, id="empty source"),
        pytest.param(DataConfig, {"split": "60/40"}, id="unknown split"),
        pytest.param(DataConfig, {"name": "../x"}, id="name that is a path"),
        pytest.param(DataConfig, {"max_invalid_fraction": 1.5}, id="fraction above 1"),
        pytest.param(TrainingConfig, {"input_size": 225}, id="input size not a multiple of 32"),
        pytest.param(GateConfig, {"min_macro_f1": -0.1}, id="negative limit"),
        pytest.param(GateConfig, {"max_latency_ms": 0}, id="no time at all"),
        pytest.param(GateConfig, {"min_map_50": 1.1}, id="more than all"),
        pytest.param(EvaluationConfig, {"folds": 1}, id="one fold"),
        pytest.param(EvaluationConfig, {"folds": 0}, id="no fold"),
        pytest.param(AnomalyConfig, {"memory_patches": 9}, id="no memory to speak of"),
        pytest.param(AnomalyConfig, {"false_alarm_rate": 0.0}, id="no false alarm ever"),
        pytest.param(DetectorConfig, {"epochs": 0}, id="no epoch"),
        pytest.param(DetectorConfig, {"learning_rate": 0}, id="learning nothing"),
        pytest.param(DetectorConfig, {"backbone": "resnet50"}, id="backbone that is not packaged"),
        pytest.param(DetectorConfig, {"warm_up": 1.0}, id="warm-up without end"),
        pytest.param(DetectorConfig, {"augmentation": "wild"}, id="unknown augmentation"),
    ],
)
def test_wrong_values_are_refused(model, values):
    with pytest.raises(ValidationError):
        model(**values)


DEVICES = {
    "auto": True,
    "cpu": True,
    "cuda:0": True,
    "cuda:15": True,
    "cuda": False,
    "cuda:": False,
    "cuda:100": False,
    "cuda:-1": False,
    "CPU": False,
    "gpu": False,
    "cpu\n": False,
    "": False,
}
WEIGHTS = {
    "package": True,
    "none": True,
    "models:/parts-detection@staging": True,
    "models:/parts detection/12": True,
    "models:/parts/staging": False,
    "models:/parts": False,
    "models:/@staging": False,
    "models:/a/b/1": False,
    "models:/a@b@c": False,
    "runs:/abc/model": False,
    "/home/weights.pt": True,
    "my weights.safetensors": True,
    "file:///home/weights": True,
    "https://example.org/weights.pt": True,
    "hub:resnet18.a1_in1k": True,
    "hub:": False,
    "hub:../resnet18": False,
    "file://elsewhere/weights.pt": False,
    "ftp://example.org/weights.pt": False,
    "weights.zip": False,
    "": False,
}


@pytest.mark.parametrize(
    ("field", "value", "valid"),
    [
        *(("device", value, valid) for value, valid in DEVICES.items()),
        *(("limit", value, True) for value in ("0s", "90s", "1.5m", "2h")),
        *(("limit", value, False) for value in ("", "2", "-1m", "1d", "1 m")),
        *(("weights", value, valid) for value, valid in WEIGHTS.items()),
    ],
)
def test_device_and_weights(field, value, valid):
    if valid:
        assert getattr(TrainingConfig(**{field: value}), field) == value
    else:
        with pytest.raises(ValidationError, match=field):
            TrainingConfig(**{field: value})


IDLE = {
    "normal label": ("detection", {"data": {"normal_label": "fine"}}, "data.normal_label does nothing"),
    "labels of an image": ("detection", {"data": {"labels_per_image": "any"}}, "data.labels_per_image does nothing"),
    "memory": ("classification", {"training": {"anomaly": {"memory_patches": 99}}}, "training.anomaly does nothing"),
    "limit of anomalies": ("detection", {"gate": {"min_image_auroc": 0.5}}, "gate.min_image_auroc does nothing"),
    "folds of an anomaly model": ("anomaly", {"evaluation": {"folds": 3}}, "evaluation.folds does nothing"),
    "device": ("anomaly", {"training": {"device": "cpu"}}, "training.device does nothing"),
    "weights": ("classification", {"training": {"weights": "none"}}, "training.weights does nothing"),
    "detector": ("classification", {"training": {"detector": {"epochs": 3}}}, "training.detector does nothing"),
    "masks": ("classification", {"masks": {"min_area_pixels": 4}}, "masks does nothing"),
    "limit of a detector": ("classification", {"gate": {"min_map_50": 0.6}}, "gate.min_map_50 does nothing"),
    "network": ("classification", {"training": {"network": {"epochs": 3}}}, "training.network does nothing"),
    "network of a detector": ("detection", {"training": {"network": {"mixup": 0}}}, "training.network does nothing"),
    "algorithm": ("detection", {"training": {"algorithm": "svm"}}, "training.algorithm does nothing"),
    "limit of a classifier": ("detection", {"gate": {"min_macro_f1": 0.6}}, "gate.min_macro_f1 does nothing"),
    "framing": (
        "detection",
        {"training": {"preprocessing": {"framing": "letterbox"}}},
        "training.preprocessing.framing does nothing",
    ),
    "framing of an anomaly model": (
        "anomaly",
        {"training": {"preprocessing": {"framing": "letterbox"}}},
        "training.preprocessing.framing does nothing",
    ),
    "two": (
        "classification",
        {"training": {"weights": "none"}, "gate": {"min_map_50": 0.6}},
        "training.weights and gate.min_map_50 do nothing",
    ),
}


@pytest.mark.parametrize(("task", "groups", "words"), IDLE.values(), ids=IDLE.keys())
def test_field_that_the_task_would_ignore_is_refused(task, groups, words):
    with pytest.raises(ValidationError, match=re.escape(f"{words} for the task {task}")) as refused:
        TrainConfig(task=task, **groups)
    assert len(refused.value.errors()) == 1
    is_accepted_elsewhere = any(is_accepted(other, groups) for other in get_args(Task) if other != task)
    assert is_accepted_elsewhere or set(groups.get("training", {})) == {"network"}


IDLE_BY_ALGORITHM = {
    "device of a forest": ("random_forest", {"device": "cpu"}, "training.device does nothing"),
    "backbone of a cnn": ("cnn", {"network": {"backbone": "resnet18"}}, "training.network.backbone does nothing"),
    "stages of transfer": ("transfer", {"network": {"frozen_stages": 1}}, "network.frozen_stages does nothing"),
    "two of a cnn": (
        "cnn",
        {"network": {"frozen_stages": 1, "layer_decay": 1}},
        "training.network.frozen_stages and training.network.layer_decay do nothing",
    ),
}


@pytest.mark.parametrize(
    "training", [{"algorithm": "svm"}, {"algorithm": "finetune"}, {"features": ["stages"]}], ids=str
)
def test_limit_is_for_a_choice_left_open(training):
    assert TrainConfig(training={"limit": "5m"}).training.limit_seconds == 300.0
    with pytest.raises(ValidationError, match=r"training\.limit does nothing"):
        TrainConfig(training={"limit": "5m", **training})


@pytest.mark.parametrize(("algorithm", "training", "words"), IDLE_BY_ALGORITHM.values(), ids=IDLE_BY_ALGORITHM.keys())
def test_field_that_the_algorithm_would_ignore_is_refused(algorithm, training, words):
    with pytest.raises(ValidationError, match=re.escape(words)) as refused:
        TrainConfig(training={"algorithm": algorithm, **training})
    assert f"with the algorithm {algorithm}" in str(refused.value)
    assert TrainConfig(training={"algorithm": "finetune", **training})


@pytest.mark.parametrize(
    ("algorithm", "weights", "valid"),
    [
        ("cnn", "models:/parts/1", True),
        ("cnn", "none", True),
        ("cnn", "hub:resnet18.a1_in1k", False),
        ("cnn", "w.safetensors", False),
        ("transfer", "none", False),
        ("transfer", "w.safetensors", True),
        ("finetune", "none", True),
    ],
)
def test_weights_must_be_of_use_to_the_algorithm(algorithm, weights, valid):
    training = {"algorithm": algorithm, "weights": weights}
    if valid:
        assert TrainConfig(training=training).training.weights == weights
    else:
        with pytest.raises(ValidationError, match=r"training\.weights"):
            TrainConfig(training=training)


def test_features_are_those_that_there_are():
    assert set(get_args(ClassifierFeatures)) == {*get_args(BackboneFeatures), *get_args(FeatureName)}


def test_feature_named_twice_is_refused():
    with pytest.raises(ValidationError, match="features names stages twice; once is enough"):
        TrainingConfig(features=("stages", "stages"))


def is_accepted(task, groups):
    try:
        TrainConfig(task=task, **groups)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("task", get_args(Task))
def test_defaults_said_aloud_are_no_idle_fields(task):
    said = TrainConfig(task=task).model_dump()
    assert TrainConfig(**said) == TrainConfig(task=task)


@pytest.mark.parametrize(
    "preprocessing",
    [
        {"crop": {"left": 0.5, "width": 0.6}},
        {"crop": {"top": 0.2, "height": 0.81}},
        {"crop": {"width": 0.0}},
        {"crop": {"left": 1.0}},
        {"denoise": 4},
        {"clahe": -1.0},
        {"clahe": 41.0},
        {"framing": "cover"},
        {"sharpen": True},
    ],
    ids=str,
)
def test_senseless_preprocessing_is_refused(preprocessing):
    with pytest.raises(ValidationError):
        TrainConfig(training={"preprocessing": preprocessing})


@pytest.mark.parametrize("task", ["classification", "detection"])
def test_fields_of_both_tasks_are_taken_by_both(task):
    groups = {
        "training": {"input_size": 64, "seed": 3, "preprocessing": {"crop": {"left": 0.1, "width": 0.9}}},
        "evaluation": {"folds": 3},
        "gate": {"min_label_recall": 0.1},
    }
    assert TrainConfig(task=task, **groups).evaluation.folds == 3


def test_form_of_the_flow_shows_every_group():
    """Prefect makes its form of the flow's signature; the request model and the form must not differ."""
    from flows.train import train

    schema = json.loads(json.dumps(train.parameters.model_dump(mode="json")))
    assert set(schema["properties"]) == set(TrainConfig.model_fields)
    assert schema["properties"]["task"]["enum"] == list(get_args(Task))
    assert set(schema["definitions"]["TrainingConfig"]["properties"]) == set(TrainingConfig.model_fields)
    assert set(schema["definitions"]["DetectorConfig"]["properties"]) == set(DetectorConfig.model_fields)
    validated = train.validate_parameters({"task": "detection", "training": {"detector": {"epochs": 2}}})
    assert validated["training"].detector.epochs == 2


@pytest.mark.parametrize(
    ("task", "given", "expected"),
    [
        pytest.param("classification", None, 448, id="classifier"),
        pytest.param("detection", None, 320, id="detector"),
        pytest.param("anomaly", None, 448, id="anomalies are small"),
        pytest.param("anomaly", 128, 128, id="as asked for"),
    ],
)
def test_input_size_suits_the_task(task, given, expected):
    assert TrainConfig(task=task, training={"input_size": given}).input_size == expected
