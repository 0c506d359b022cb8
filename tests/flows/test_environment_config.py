"""The environments' files: those shipped, a team's own, and what is refused in one sentence."""

import contextlib

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from flows.__main__ import parse
from flows.environment_config import (
    SHIPPED,
    EnvironmentConfig,
    PolicyConfig,
    ServeLimits,
    environment_config,
)
from flows.serve_config import ServeConfig
from tasks.errors import RequestError

NAMES = ("staging", "production")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A team's own folder of environments."""
    monkeypatch.setenv("KEENEYE_ENVIRONMENTS", str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def shipped(monkeypatch):
    monkeypatch.delenv("KEENEYE_ENVIRONMENTS", raising=False)


def leaves(values, prefix=""):
    for name, value in values.items():
        yield from leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else [f"{prefix}{name}"]


@pytest.mark.parametrize("group", [EnvironmentConfig, ServeLimits, PolicyConfig], ids=lambda group: group.__name__)
def test_every_field_has_a_default_and_a_description(group):
    for name, field in group.model_fields.items():
        assert not field.is_required(), name
        assert field.description, name
        assert field.description.endswith("."), name
    assert group.model_config["frozen"]


@pytest.mark.parametrize("name", NAMES)
def test_shipped_file_names_every_field_but_the_address(name):
    config = environment_config(name)
    named = yaml.safe_load((SHIPPED / f"{name}.yaml").read_text())
    assert set(leaves(config.model_dump())) - set(leaves(named)) == {"address"}
    assert EnvironmentConfig.model_validate_json(config.model_dump_json()) == config


def test_shipped_environments():
    staging, production = (environment_config(name) for name in NAMES)
    assert (staging.address, production.address) == ("http://127.0.0.1:8801", "http://127.0.0.1:8800")
    assert (staging.policy.approval, production.policy.approval) == ("automatic", "person")
    assert (staging.policy.after, production.policy.after) == ("", "staging")
    assert staging.endpoint == production.endpoint == "if_running"


def test_what_a_file_leaves_out_is_as_strict_as_production(folder):
    (folder / "production.yaml").write_text("")
    config = environment_config("production")
    assert config == EnvironmentConfig()
    assert (config.policy.approval, config.policy.after) == ("person", "staging")
    assert config.policy.min_difference == -0.02


@pytest.mark.parametrize(
    ("text", "address"),
    [
        pytest.param("serve: {port: 9000}", "http://127.0.0.1:9000", id="the port's"),
        pytest.param("address: https://vision.example/keeneye", "https://vision.example/keeneye", id="given"),
    ],
)
def test_address(folder, text, address):
    (folder / "production.yaml").write_text(text)
    assert environment_config("production").address == address


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(
            "policy: {approval: automatic}", ["never approved automatically", "approval: person"], id="nobody"
        ),
        pytest.param("policy: {approval: maybe}", ["policy.approval = 'maybe'", "person"], id="approval"),
        pytest.param("policy: {aproval: person}", ["no field policy.aproval"], id="misspelt"),
        pytest.param("secret: abc", ["no field secret"], id="credentials"),
        pytest.param("name: staging\npolicy: {after: ''}", ["named 'staging'", "name: production"], id="other name"),
        pytest.param("name: live", ["name = 'live'", "staging"], id="no name"),
        pytest.param("address: 127.0.0.1:8800", ["address", "127.0.0.1:8800"], id="no scheme"),
        pytest.param("serve: {port: 70000}", ["serve.port = 70000", "65535"], id="port"),
        pytest.param("serve: {max_body_megabytes: 9}", ["max_body_megabytes 9 holds no image"], id="no room"),
        pytest.param("policy: {min_difference: -2}", ["policy.min_difference = -2", "-1"], id="difference"),
        pytest.param("policy: {resamples: 1}", ["policy.resamples = 1", "100"], id="resamples"),
        pytest.param("policy: {confidence: 1}", ["policy.confidence = 1"], id="confidence"),
        pytest.param("policy: {min_difference: .nan}", ["policy.min_difference"], id="no number"),
        pytest.param("endpoint: never", ["endpoint = 'never'", "if_running"], id="endpoint"),
        pytest.param("serve: 8800", ["serve = 8800"], id="no group"),
        pytest.param("- production", ["holds a list"], id="list"),
        pytest.param("a: [", ["no YAML"], id="no YAML"),
        pytest.param("[" * 5000, ["no YAML"], id="nested"),
        pytest.param("a: \xff", ["no YAML"], id="no UTF-8"),
        pytest.param("#" * 100_001, ["100000 bytes"], id="huge"),
        pytest.param(None, ["production.yaml", "No such file", "KEENEYE_ENVIRONMENTS"], id="no file"),
    ],
)
def test_what_is_refused_is_one_sentence(folder, text, words):
    if text is not None:
        (folder / "production.yaml").write_text(text, encoding="latin-1")
    with pytest.raises(RequestError) as refused:
        environment_config("production")
    assert "\n" not in refused.value.message
    for word in words:
        assert word in refused.value.message


def test_staging_cannot_come_after_itself(folder):
    (folder / "staging.yaml").write_text("policy: {approval: automatic}")
    with pytest.raises(RequestError, match=r'after: ""'):
        environment_config("staging")


def test_password_in_an_address_is_refused_and_not_repeated(folder):
    (folder / "production.yaml").write_text("address: https://line7:hunter2@vision.example")
    with pytest.raises(RequestError, match="address is not accepted") as refused:
        environment_config("production")
    assert "hunter2" not in refused.value.message


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
FIELDS = sorted({*EnvironmentConfig.model_fields, *ServeLimits.model_fields, *PolicyConfig.model_fields, "other"})
FILES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=FILES)
def test_any_file_is_a_config_or_refused(folder, values):
    (folder / "production.yaml").write_text(yaml.safe_dump(values))
    with contextlib.suppress(RequestError):
        assert environment_config("production").policy.approval == "person"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["--environment", "production"], {"port": 8800, "idle_minutes": 60.0}, id="production's"),
        pytest.param(["--environment", "staging"], {"port": 8801, "max_models": 2}, id="staging's"),
        pytest.param(
            ["--environment", "staging", "--port", "0", "--max-models", "9"],
            {"port": 0, "max_models": 9, "max_pending": 32},
            id="command line wins",
        ),
        pytest.param(
            ["--environment", "staging", "--port", "8080", "--max-models", "4"],
            {"port": 8080, "max_models": 4},
            id="with the defaults of a plain endpoint too",
        ),
        pytest.param([], {"port": 8080, "max_models": 4, "environment": ""}, id="none"),
    ],
)
def test_serve_takes_from_the_environment_what_is_not_given(arguments, expected):
    _, config = parse(["serve", "--no-auth", *arguments])
    assert isinstance(config, BaseModel)
    assert {name: getattr(config, name) for name in expected} == expected
    assert ServeConfig.model_validate(config.model_dump()) == config


def test_serve_takes_the_config_file_before_the_environment(tmp_path):
    (tmp_path / "serve.yaml").write_text("environment: staging\nport: 9001\nno_auth: true")
    _, config = parse(["serve", "--config", str(tmp_path / "serve.yaml")])
    assert (config.port, config.max_models) == (9001, 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--environment", "prod"], ["environment = 'prod'", "staging", "production"], id="unknown"),
        pytest.param(["--environment", "production", "--port", "x"], ["port = 'x'"], id="port"),
        pytest.param(["--environment", "staging", "--max-image-megabytes", "100"], ["holds no image"], id="together"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(folder, arguments, words):
    for name in NAMES:
        text = (SHIPPED / f"{name}.yaml").read_text().replace("max_body_megabytes: 256", "max_body_megabytes: 20")
        (folder / f"{name}.yaml").write_text(text)
    with pytest.raises(RequestError) as refused:
        parse(["serve", *arguments])
    assert "\n" not in refused.value.message
    for word in words:
        assert word in refused.value.message


def test_serve_says_which_file_is_wrong(folder):
    (folder / "production.yaml").write_text("serve: {prot: 1}")
    with pytest.raises(RequestError, match=r"production\.yaml: there is no field serve\.prot"):
        parse(["serve", "--environment", "production"])
