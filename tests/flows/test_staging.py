"""What a training stages: by the rules of staging, asked for again, outrun, refused."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prefect.flow_engine import run_flow

from flows.promote import promote
from flows.train import train
from tasks.errors import RequestError
from tasks.stores.home import Home
from tasks.tracking.environments import Environments, Move
from tasks.tracking.ledger import Ledger, history
from tasks.tracking.registry import Registry
from tests.flows.environments import write_environments
from tests.flows.promotions import (
    EASY,
    NAME,
    deployed,
    entries,
    fill_in,
    request_of,
    standing_of,
    status_of,
    train_versions,
    with_own_ledger,
)


@pytest.fixture(scope="module")
def trained_home(tmp_path_factory, exported_home, prefect_url):
    """Two versions; the second stands in staging."""
    return train_versions(tmp_path_factory.mktemp("promotions"), exported_home, prefect_url, 2)


@pytest.fixture
def home(trained_home, tmp_path, monkeypatch, prefect):
    return with_own_ledger(trained_home, tmp_path, monkeypatch)


def test_training_staged_through_the_ledger(home):
    done = history(entries(), "staging")
    assert [(one.from_version, one.to_version, one.who) for one in done] == [("1", "2", "policy"), ("", "1", "policy")]
    assert done[0].evidence["gate"]["passed"]
    assert done[0].evidence["inference_test"]["passed"]
    compared = [one.evidence["comparison"] for one in done]
    assert compared[0]["champion"]["model_uri"] == f"models:/{NAME}/1"
    assert compared[0]["difference"] == compared[0]["challenger"]["figure"] - compared[0]["champion"]["figure"]
    assert compared[1]["champion"] is None


def test_training_asked_for_again_tells_the_same_and_moves_nothing(home):
    before = entries()
    newer, older = (train(**request_of(home, seed)) for seed in (1, 0))
    assert (newer.status, newer.replaced, newer.reasons) == ("staged", "1", ())
    assert newer.comparison.champion.model_uri == f"models:/{NAME}/1"
    assert f"Compared with models:/{NAME}/1" in Path(newer.report_path).read_text()
    assert (older.status, older.aliases, older.comparison.champion) == ("registered", (), None)
    assert entries() == before
    assert standing_of(home, "staging") == ["2"]


@pytest.mark.parametrize(
    ("policy", "status", "tag", "words"),
    [
        pytest.param(
            {"min_difference": 1.0}, "rejected", "refused", "must not lie wholly below min_difference +1", id="worse"
        ),
        pytest.param(
            {"approval": "person"},
            "registered",
            "registered",
            f"keeneye promote {NAME} --to staging",
            id="asks a person",
        ),
    ],
)
def test_policy_of_staging_holds_for_a_training(home, tmp_path, monkeypatch, policy, status, tag, words):
    monkeypatch.setenv("KEENEYE_ENVIRONMENTS", str(write_environments(tmp_path, staging={"policy": policy})))
    before, gate = entries(), {**EASY, "min_macro_f1": 0.1 + len(words) / 1000}  # another version of the same model
    result = train(**request_of(home, 1) | {"gate": gate})
    assert (result.status, result.gate.passed, result.replaced) == (status, True, "2")
    assert result.comparison.difference == 0
    assert len(result.reasons) == 1
    assert words in result.reasons[0]
    assert words in Path(result.report_path).read_text()
    assert status_of(home, result.model_version) == tag
    assert standing_of(home, "staging") == ["2"]
    assert entries() == before


UNMOVED = {"gate": {**EASY, "min_macro_f1": 0.11}}
"""Asks for a version that no test leaves in staging."""


def test_what_staging_refused_goes_there_by_its_number_alone(home, tmp_path, monkeypatch):
    strict = write_environments(tmp_path, staging={"policy": {"min_difference": 1.0}})
    monkeypatch.setenv("KEENEYE_ENVIRONMENTS", str(strict))
    refused = train(**request_of(home, 1) | UNMOVED)
    assert "by its number (--version)" in refused.reasons[0]
    write_environments(tmp_path)
    assert promote(NAME, "staging", refused.model_version).status == "moved"
    assert status_of(home, refused.model_version) == "registered"


def test_training_that_another_move_outran_is_registered(home):
    environments = Environments(Registry(home), Ledger(Home.from_environment().database_uri))
    environments.begin(Move(model=NAME, environment="staging", to_version="1", action="promote", who="Bo", why=""))
    result = train(**request_of(home, 1) | UNMOVED)
    assert (result.status, len(result.reasons)) == ("registered", 1)
    assert "Bo began to move version 1" in result.reasons[0]
    assert status_of(home, result.model_version) == "registered"


def test_training_with_half_a_key_of_the_endpoint_is_a_wrong_request(home, monkeypatch):
    monkeypatch.setenv("KEENEYE_ENDPOINT_KEY", "half")
    with pytest.raises(RequestError, match="come together"):
        train(**request_of(home, 1) | UNMOVED)


@pytest.fixture
def deployed_run(prefect):
    with deployed(train) as run:
        yield run


def test_training_that_a_person_refuses_in_the_form_is_rejected(home, deployed_run, tmp_path, monkeypatch, prefect):
    places = write_environments(tmp_path, staging={"policy": {"approval": "person", "approval_minutes": 2}})
    monkeypatch.setenv("KEENEYE_ENVIRONMENTS", str(places))
    asked = request_of(home, 1) | UNMOVED
    run = deployed_run(**asked)
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(fill_in, prefect, run.id, {"approve": False, "who": "Ann", "why": "blurred"})
        result = run_flow(train, flow_run=run, parameters=asked)
        answer.result()
    assert (result.status, result.reasons) == ("rejected", ("not approved by Ann: blurred",))
    assert status_of(home, result.model_version) == "refused"
    assert standing_of(home, "staging") == ["2"]
