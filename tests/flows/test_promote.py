"""Candidate, staging, production and back, as Python and the command line call it; with endpoints that run."""

import json
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from mlflow import MlflowClient
from prefect.flow_engine import run_flow

from flows.__main__ import main
from flows.promote import promote
from flows.promote_config import StatusConfig
from flows.rollback import rollback
from flows.status import status
from tasks.errors import BundleError, EnvironmentFailed, RequestError
from tasks.stores.home import Home
from tasks.tracking.ledger import history
from tasks.tracking.registry import BUNDLE_DIGEST_TAG, STATUS_TAG, Registry
from tests.conftest import free_port, reap
from tests.flows.environments import move_untested, write_environments
from tests.flows.promotions import (
    BY_ANN,
    NAME,
    deployed,
    entries,
    fill_in,
    standing_of,
    train_versions,
    with_own_ledger,
)


@pytest.fixture(scope="module")
def trained_home(tmp_path_factory, exported_home, prefect_url):
    """Three versions; the third was rejected, the second stands in staging."""
    return train_versions(tmp_path_factory.mktemp("promotions"), exported_home, prefect_url, 3)


@pytest.fixture
def home(trained_home, tmp_path, monkeypatch, prefect):
    return with_own_ledger(trained_home, tmp_path, monkeypatch)


def test_move_is_done_though_a_status_cannot_be_written(home):
    registry = Registry(home)
    registry.set_status(registry.version(NAME, "1"), "refused", ())
    with closing(sqlite3.connect(home.root / "mlflow.db")) as database:
        database.execute(
            f"CREATE TRIGGER full BEFORE UPDATE ON model_version_tags WHEN NEW.key = '{STATUS_TAG}' "
            "BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        )
        try:
            assert promote(NAME, "staging", "1").status == "moved"
        finally:
            database.execute("DROP TRIGGER full")
    assert standing_of(home, "staging") == ["1"]
    assert history(entries(), "staging")[0].to_version == "1"
    registry.set_status(registry.version(NAME, "1"), "registered", ())


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
    assert f"{NAME} ({len(Registry(home).versions(NAME))} versions)" in told.table()
    with pytest.raises(RequestError, match="no earlier version"):
        rollback(NAME, **BY_ANN)


@pytest.fixture
def deployed_run(prefect):
    with deployed(promote) as run:
        yield run


PERSON = ("--approved-by", "Ann", "--reason", "looked at it")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(["promote", NAME, "--to", "production"], 2, "a person must approve", id="nobody approves"),
        pytest.param(["promote", NAME, "--to=production", "--approved-by=Ann"], 2, "and say why", id="no reason"),
        pytest.param(["promote", NAME, "--to=production", "--reason=x"], 2, "a person must approve", id="no name"),
        pytest.param(
            ["promote", NAME, "--to=production", "--approved-by= ", "--reason=x"], 2, "a person must", id="blank name"
        ),
        pytest.param(
            ["promote", NAME, "--to=production", "--version=1", *PERSON], 1, "does not stand in staging", id="skips"
        ),
        pytest.param(["promote", NAME, "--version", "2"], 2, "stands in staging already", id="there already"),
        pytest.param(["promote", NAME, "--version", "3"], 1, "was rejected", id="rejected"),
        pytest.param(["promote", NAME, "--version", "9"], 2, "has no version 9", id="unknown version"),
        pytest.param(["promote", NAME, "--version", "new"], 2, "version = 'new' is not accepted", id="no number"),
        pytest.param(["promote", "bolts"], 2, "the registry has no model bolts; there are", id="unknown model"),
        pytest.param(["promote", "../bolts"], 2, "model = '../bolts'", id="no name of a model"),
        pytest.param(["promote"], 2, "model is not given", id="no model"),
        pytest.param(["promote", NAME, "--to", "live"], 2, "to = 'live' is not accepted", id="unknown environment"),
        pytest.param(["rollback", NAME], 2, "a person must approve", id="nobody rolls back"),
        pytest.param(["rollback", NAME, "--approved-by", "Ann"], 2, "and say why", id="rolls back without a reason"),
        pytest.param(["rollback", NAME, *PERSON], 2, "no earlier version", id="nothing to go back to"),
        pytest.param(["rollback", NAME, "--steps=0", *PERSON], 2, "steps = '0'", id="no step"),
        pytest.param(["rollback", NAME, "--environment=live"], 2, "environment = 'live'", id="rolls back elsewhere"),
        pytest.param(["rollback", "bolts", *PERSON], 2, "the registry has no model bolts", id="rolls back unknown"),
    ],
)
def test_refusals_are_one_sentence_and_move_nothing(home, command_line, arguments, code, words):
    before = entries()
    ended, out, err = command_line(*arguments)
    assert ended == code
    (said,) = [line for line in err.splitlines() if line.startswith("keeneye: ")]
    assert words in said
    assert "Traceback" not in err
    assert bool(out) == (code == 1)
    assert entries() == before
    assert (standing_of(home, "staging"), standing_of(home, "production")) == (["2"], [])


@pytest.fixture
def command_line(capsys, monkeypatch, prefect):
    """`keeneye` in this process; returns exit code, stdout and stderr."""
    monkeypatch.setenv("PREFECT_API_URL", prefect)
    monkeypatch.setenv("KEENEYE_OWNER", "")  # which the command sets; undone with the test

    def run(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        return ended.value.code, *capsys.readouterr()

    return run


def move(home, version, environment):
    move_untested(home, NAME, version, environment)


@pytest.fixture
def stored_bundle(home, tmp_path):
    """The folder where MLflow keeps the bundle of version 2; what a test does to it is undone."""
    client = MlflowClient(home.tracking_uri, home.registry_uri)
    model_id = client.get_model_version(NAME, "2").source.removeprefix("models:/")
    folder = Path(client.get_logged_model(model_id).artifact_location.removeprefix("file://")) / "artifacts" / "bundle"
    kept = shutil.copytree(folder, tmp_path / "kept")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(kept, folder)


def change(folder):
    path = folder / "head.onnx"
    path.write_bytes(path.read_bytes()[:-8] + b"corrupt!")


@pytest.mark.parametrize("is_kept", [True, False], ids=["kept here", "not kept here"])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(shutil.rmtree, "holds no Keeneye bundle", id="gone"),
        pytest.param(change, "head.onnx", id="changed"),
    ],
)
@pytest.mark.parametrize("action", ["promote", "rollback"])
def test_bundle_that_is_gone_or_changed_moves_nothing(
    home, command_line, stored_bundle, action, damage, words, is_kept
):
    """Without an endpoint, and also where this machine keeps a whole copy: clients fetch from the registry."""
    if action == "rollback":
        for number in ("2", "1"):
            move(home, number, "production")
    kept = home.bundles_path / Registry(home).version(NAME, "2").tags[BUNDLE_DIGEST_TAG]
    shutil.rmtree(kept, ignore_errors=True)
    if is_kept:
        shutil.copytree(stored_bundle, kept)
    damage(stored_bundle)
    before, stands = entries(), standing_of(home, "production")
    where = ["--to", "production"] if action == "promote" else []
    code, out, err = command_line(action, NAME, *where, *PERSON)
    record = json.loads(out)
    assert (code, record["status"]) == (1, "rejected" if is_kept else "failed"), err
    (said,) = record["reasons"] if is_kept else [record["message"]]
    assert words in said
    assert "\n" not in said
    assert "Traceback" not in err
    assert (entries(), standing_of(home, "production")) == (before, stands)


def test_champion_that_is_gone_stops_production_and_is_told_in_staging(home, stored_bundle):
    move(home, "2", "production")
    move(home, "1", "staging")
    shutil.rmtree(home.bundles_path)
    change(stored_bundle)
    with pytest.raises(BundleError, match=r"head\.onnx"):
        promote(NAME, "production", **BY_ANN)
    assert standing_of(home, "production") == ["2"]
    move(home, "2", "staging")
    result = promote(NAME, "staging", "1")
    assert (result.status, result.from_version, result.comparison.champion) == ("moved", "2", None)
    assert "head.onnx" in result.comparison.needs_person


def test_worse_challenger_is_rejected(home, tmp_path, monkeypatch):
    strict = {"policy": {"min_difference": 1.0}}
    promote(NAME, "production", **BY_ANN)
    promote(NAME, "staging", "1")
    monkeypatch.setenv("KEENEYE_ENVIRONMENTS", str(write_environments(tmp_path, **strict)))
    result = promote(NAME, "production", **BY_ANN)
    assert result.status == "rejected"
    assert len(result.reasons) == 1
    assert standing_of(home, "production") == ["2"]
    assert history(entries(), "production")[0].to_version == "2"


@pytest.mark.parametrize(
    ("said", "status", "reason"),
    [
        pytest.param(None, "Rejected", "not approved by policy: nobody approved within 0.05 minutes", id="nobody"),
        pytest.param({"approve": True, "who": "Ann"}, "Rejected", "lacks a name or a reason", id="no reason"),
        pytest.param({"approve": False, "who": "Ann", "why": "blurred"}, "Rejected", "by Ann: blurred", id="no"),
    ],
)
def test_what_nobody_approves_in_the_form_is_rejected(
    home, deployed_run, tmp_path, monkeypatch, prefect, said, status, reason
):
    minutes = 1 if said else 0.05
    places = write_environments(tmp_path, policy={"approval_minutes": minutes})
    monkeypatch.setenv("KEENEYE_ENVIRONMENTS", str(places))
    before, asked = entries(), {"model": NAME, "to": "production"}
    run = deployed_run(**asked)
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(fill_in, prefect, run.id, said)
        result = run_flow(promote, flow_run=run, parameters=asked)
        answer.result()
    assert (result.status, len(result.reasons)) == ("rejected", 1)
    assert reason in result.reasons[0]
    state = httpx.get(f"{prefect}/flow_runs/{run.id}").json()["state"]
    assert (state["type"], state["name"], state["message"]) == ("COMPLETED", status, result.reasons[0])
    assert entries() == before
    assert standing_of(home, "production") == []


@pytest.fixture
def put_aside():
    """Put files or folders where nobody looks; they are back after the test."""
    aside = []

    def put(path):
        aside.append((path, path.rename(path.with_name(f"{path.name} put aside"))))

    yield put
    for path, kept in aside:
        kept.rename(path)


@pytest.mark.parametrize(
    ("place", "limit_ms", "words"),
    [
        pytest.param("", 0.001, "exceed policy.max_latency_ms 0.001", id="slow just now"),
        pytest.param("shapes", 10_000, "test images are gone or changed", id="images"),
        pytest.param("home/store/entries/evaluate", 10_000, "its evaluation is not in this", id="evaluation"),
        pytest.param("home/store/entries/manifest", 10_000, "its test manifest or", id="manifests"),
        pytest.param("home/store/entries/train", 10_000, "", id="training"),
    ],
)
def test_rollback_needs_nothing_but_the_bundle(home, tmp_path, monkeypatch, put_aside, place, limit_ms, words):
    for number in ("1", "2"):
        move(home, number, "production")
    places = write_environments(tmp_path, policy={"max_latency_ms": limit_ms})
    monkeypatch.setenv("KEENEYE_ENVIRONMENTS", str(places))
    if place:
        put_aside(home.root.parent / place)
    result = rollback(NAME, **BY_ANN)
    assert (result.status, result.to_version, result.reasons) == ("moved", "1", ())
    assert standing_of(home, "production") == ["1"]
    warnings = result.inference_test.warnings
    assert history(entries(), "production")[0].evidence["inference_test"]["warnings"] == list(warnings)
    assert len(warnings) == bool(words)
    assert words in "".join(warnings)


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


def test_command_line_moves_what_an_endpoint_serves(home, keeneye, tmp_path, put_aside):
    port = free_port()
    places = write_environments(tmp_path, address=f"http://127.0.0.1:{port}", endpoint="always")
    shutil.rmtree(keeneye.home.root)
    keeneye.environment.update(
        KEENEYE_HOME=str(home.root),
        KEENEYE_DATABASE=Home.from_environment().database_uri,
        KEENEYE_ENVIRONMENTS=str(places),
    )
    move(home, "1", "production")
    with serving(keeneye, "production", port):
        code, out, err = keeneye.run("promote", NAME, "--to", "production", "--approved-by", "Ann", "--reason", "tried")
        assert code == 0, err
        record = json.loads(out)
        assert (record["status"], record["to_version"]) == ("moved", "2")
        assert record["endpoint"]["passed"]
        assert record["endpoint"]["images"] > 0
        put_aside(home.root.parent / "shapes")
        back = rollback(NAME, **BY_ANN)
        assert (back.status, back.to_version) == ("moved", "1")
        assert "no image was sent" in back.endpoint["warnings"][0]
    code, out, err = keeneye.run("status", NAME)
    assert code == 0, err
    assert "production  version 1" in out
    assert "Ann  tried" in out
    code, out, err = keeneye.run("promote", NAME, "--to", "production")
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("keeneye: a person must approve")
