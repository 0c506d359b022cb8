"""Candidate, staging, production and back, as Python and the command line call it; with endpoints that run."""

import json
import shutil
import sqlite3
from contextlib import closing, contextmanager

import pytest
import yaml

from flows.promote import promote
from flows.promote_config import StatusConfig
from flows.rollback import rollback
from flows.status import status
from flows.train import train
from tasks.errors import EnvironmentFailed, RegistryError, RequestError
from tasks.stores.home import Home
from tasks.tracking.ledger import Ledger, history
from tasks.tracking.registry import Registry
from tests.conftest import INPUT_SIZE, MLFLOW_ADDRESSES, free_port, reap, reporting_to
from tests.makers import paint_class_folders

NAME = "shapes-classification"
LABELS = ("cross", "round", "square")
EASY = {"min_macro_f1": 0.5, "min_label_recall": 0.3, "max_latency_ms": 60_000.0}
BY_ANN = {"approved_by": "Ann", "reason": "looked at it"}


@pytest.fixture(scope="module")
def trained_home(tmp_path_factory, exported_home, prefect_url):
    """Three versions on the same images; the third was rejected, the second stands in staging."""
    folder = tmp_path_factory.mktemp("promotions")
    root = folder / "home"
    shutil.copytree(exported_home.root, root)
    photos = paint_class_folders(folder / "shapes", labels=LABELS, images_per_label=14)
    with pytest.MonkeyPatch.context() as patch, reporting_to(prefect_url):
        patch.setenv("KEENEYE_HOME", str(root))
        for name in MLFLOW_ADDRESSES:
            patch.delenv(name, raising=False)
        for seed, gate in ((0, EASY), (1, EASY), (2, {**EASY, "max_latency_ms": 0.001})):
            train(data={"source": str(photos)}, training={"input_size": INPUT_SIZE, "seed": seed}, gate=gate)
        return Home.from_environment()


@pytest.fixture
def home(trained_home, tmp_path, monkeypatch, prefect):
    """The three versions with a ledger of the test's own, and environments whose endpoints are nowhere."""
    monkeypatch.setenv("KEENEYE_HOME", str(trained_home.root))
    for name in MLFLOW_ADDRESSES:
        monkeypatch.delenv(name, raising=False)
    database = tmp_path / "keeneye.db"
    # Not a copy of the file: what was written last is in its log.
    with closing(sqlite3.connect(trained_home.root / "keeneye.db")) as kept, closing(sqlite3.connect(database)) as copy:
        kept.backup(copy)
    monkeypatch.setenv("KEENEYE_DATABASE", f"sqlite:///{database}")
    monkeypatch.setenv("KEENEYE_ENVIRONMENTS", str(write_environments(tmp_path)))
    registry = Registry(trained_home)
    registry.set_alias(registry.version(NAME, "2"), "staging")
    for version in registry.versions(NAME):
        registry.remove_alias(version, "production")
    return trained_home


def write_environments(folder, **of_production):
    places = folder / "environments"
    places.mkdir(exist_ok=True)
    for name, after, approval in (("staging", "", "automatic"), ("production", "staging", "person")):
        values = {
            "name": name,
            "address": f"http://127.0.0.1:{free_port()}",
            "policy": {"after": after, "approval": approval, "min_difference": -0.5, "max_latency_ms": 10_000},
        }
        (places / f"{name}.yaml").write_text(yaml.safe_dump(values | (of_production if name == "production" else {})))
    return places


def standing_of(home, environment):
    return [one.version for one in Registry(home).versions(NAME) if environment in one.aliases]


def entries():
    return Ledger(Home.from_environment().database_uri).entries(NAME)


def test_training_staged_through_the_ledger(home):
    done = history(entries(), "staging")
    assert [(one.from_version, one.to_version, one.who) for one in done] == [("1", "2", "policy"), ("", "1", "policy")]
    assert done[0].evidence["gate"]["passed"]
    assert done[0].evidence["inference_test"]["passed"]


def test_promoted_to_production_and_back(home):
    first = promote(NAME, "staging", "1")
    assert (first.status, first.from_version, first.to_version) == ("moved", "2", "1")
    assert first.approval.who == "policy"
    assert promote(NAME, "production", **BY_ANN).to_version == "1"
    promote(NAME, "staging", "2")
    result = promote(NAME, "production", "2", **BY_ANN)
    assert (result.status, result.from_version, result.to_version) == ("moved", "1", "2")
    assert result.comparison.champion.model_uri == f"models:/{NAME}/1"
    assert result.comparison.lower <= result.comparison.difference <= result.comparison.upper
    assert standing_of(home, "production") == ["2"]

    back = rollback(NAME, **BY_ANN)
    assert (back.status, back.action, back.from_version, back.to_version) == ("moved", "rollback", "2", "1")
    assert standing_of(home, "production") == ["1"]
    done = history(entries(), "production")
    assert [(one.action, one.to_version, one.who, one.why) for one in done] == [
        ("rollback", "1", "Ann", "looked at it"),
        ("promote", "2", "Ann", "looked at it"),
        ("promote", "1", "Ann", "looked at it"),
    ]
    assert done[1].evidence["comparison"]["challenger"]["model_uri"] == f"models:/{NAME}/2"

    told = status(StatusConfig(model=NAME))
    places = {place.environment: place for place in told.models[0].places}
    assert (places["production"].version, places["production"].by) == ("1", "Ann")
    assert places["production"].metrics["macro_f1"] > 0.5
    assert f"{NAME} (3 versions)" in told.table()
    with pytest.raises(RequestError, match="no earlier version"):
        rollback(NAME, **BY_ANN)


@pytest.mark.parametrize(
    ("request_", "error", "sentence"),
    [
        pytest.param({"to": "production"}, RequestError, "a person must approve", id="nobody approves"),
        pytest.param(
            {"to": "production", "version": "1", **BY_ANN}, RegistryError, "does not stand in staging", id="skips"
        ),
        pytest.param({"version": "2"}, RequestError, "stands in staging already", id="there already"),
        pytest.param({"version": "3"}, RegistryError, "was rejected", id="rejected"),
        pytest.param({"version": "9"}, RequestError, "has no version 9", id="unknown version"),
        pytest.param({"model": "bolts"}, RequestError, "the registry has no model bolts", id="unknown model"),
    ],
)
def test_refusals_move_nothing(home, request_, error, sentence):
    before = entries()
    with pytest.raises(error, match=sentence):
        promote(**{"model": NAME, **request_})
    assert entries() == before
    assert standing_of(home, "staging") == ["2"]
    assert standing_of(home, "production") == []


def test_worse_challenger_is_rejected(home, tmp_path, monkeypatch):
    strict = {"policy": {"after": "staging", "approval": "person", "min_difference": 1.0}}
    promote(NAME, "production", **BY_ANN)
    promote(NAME, "staging", "1")
    monkeypatch.setenv("KEENEYE_ENVIRONMENTS", str(write_environments(tmp_path, **strict)))
    result = promote(NAME, "production", **BY_ANN)
    assert result.status == "rejected"
    assert len(result.reasons) == 1
    assert standing_of(home, "production") == ["2"]
    assert history(entries(), "production")[0].to_version == "2"


def test_endpoint_that_must_answer_and_does_not(home, tmp_path, monkeypatch):
    monkeypatch.setenv("KEENEYE_ENVIRONMENTS", str(write_environments(tmp_path, endpoint="always")))
    before = entries()
    with pytest.raises(EnvironmentFailed, match=r"127\.0\.0\.1"):
        promote(NAME, "production", **BY_ANN)
    assert entries() == before
    assert standing_of(home, "production") == []


@contextmanager
def serving(keeneye, environment, port):
    process = keeneye.start("serve", "--environment", environment, "--port", str(port), "--no-auth", name=environment)
    try:
        yield
    finally:
        reap(process)


def test_command_line_moves_what_an_endpoint_serves(home, keeneye, tmp_path):
    port = free_port()
    places = write_environments(tmp_path, address=f"http://127.0.0.1:{port}", endpoint="always")
    shutil.rmtree(keeneye.home.root)
    keeneye.environment.update(
        KEENEYE_HOME=str(home.root),
        KEENEYE_DATABASE=Home.from_environment().database_uri,
        KEENEYE_ENVIRONMENTS=str(places),
    )
    with serving(keeneye, "production", port):
        code, out, err = keeneye.run("promote", NAME, "--to", "production", "--approved-by", "Ann", "--reason", "tried")
        assert code == 0, err
        record = json.loads(out)
        assert (record["status"], record["to_version"]) == ("moved", "2")
        assert record["endpoint"]["passed"]
        assert record["endpoint"]["images"] > 0
    code, out, err = keeneye.run("status", NAME)
    assert code == 0, err
    assert "production  version 2" in out
    assert "Ann  tried" in out
    code, out, err = keeneye.run("promote", NAME, "--to", "production")
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("keeneye: a person must approve")
