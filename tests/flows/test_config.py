import json

import pytest
from pydantic import BaseModel, ValidationError

from flows.config import DataConfig, GateConfig, GroundTruthConfig, TrainConfig, TrainingConfig


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
    ],
)
def test_wrong_values_are_refused(model, values):
    with pytest.raises(ValidationError):
        model(**values)
