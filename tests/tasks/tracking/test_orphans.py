"""MLflow runs that a kill left RUNNING, and what is made although nobody heard the answer."""

import json
import subprocess
import sys

import psutil
import pytest
from mlflow import MlflowClient
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR, MLFLOW_HTTP_REQUEST_MAX_RETRIES
from mlflow.exceptions import MlflowException

from tasks.stores import s3_requests
from tasks.stores.database import RESTART_SECONDS
from tasks.tracking import client as tracking
from tasks.tracking.client import asked_once
from tasks.tracking.orphans import PROCESS_TAG, end_orphaned_runs
from tasks.tracking.processes import this_process
from tasks.tracking.runs import run_of_key


def ended_process():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    named = {**this_process(), "pid": child.pid, "started": psutil.Process(child.pid).create_time()}
    child.communicate(b"\n")
    return json.dumps(named)


def status_of(home, run_id):
    return MlflowClient(home.tracking_uri).get_run(run_id).info.status


def leave_running(home, key, tag):
    with run_of_key(home, "keeneye/orphans", key, key) as run:
        pass
    client = MlflowClient(home.tracking_uri)
    client.set_tag(run.run_id, PROCESS_TAG, tag)
    client.update_run(run.run_id, status="RUNNING")
    return run.run_id


def test_runs_whose_process_has_ended_are_ended(shared_home):
    foreign, left = leave_running(shared_home, "foreign", "me"), leave_running(shared_home, "left", ended_process())
    with run_of_key(shared_home, "keeneye/orphans-elsewhere", "own", "own") as own:
        assert end_orphaned_runs(shared_home) == [left]
        assert [status_of(shared_home, one) for one in (left, foreign, own.run_id)] == ["KILLED", "RUNNING", "RUNNING"]
    with run_of_key(shared_home, "keeneye/orphans", "left", "left") as again:
        assert again.run_id == left
        assert status_of(shared_home, left) == "RUNNING"


def test_next_run_ends_what_was_left_in_its_experiment(shared_home):
    left = leave_running(shared_home, "before", ended_process())
    with run_of_key(shared_home, "keeneye/orphans", "after", "after"):
        assert status_of(shared_home, left) == "KILLED"


def no_answer():
    """Raise as MLflow's client does when a connection breaks."""
    try:
        raise ConnectionResetError("closed")
    except OSError:
        raise MlflowException("API request failed")  # noqa: B904


@pytest.fixture
def no_pauses(monkeypatch):
    monkeypatch.setattr(tracking, "PAUSES_SECONDS", (0.0, 0.0))
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)


def test_what_was_made_without_an_answer_is_not_made_twice(shared_home, no_pauses):
    client, asked = MlflowClient(shared_home.tracking_uri), []

    def make():
        asked.append(1)
        client.create_registered_model("orphans-once")
        no_answer()

    def find():
        found = client.search_registered_models("name = 'orphans-once'")
        return found[0].name if found else None

    assert asked_once(make, find) == "orphans-once"
    assert len(asked) == 1


@pytest.mark.usefixtures("no_pauses")
def test_asked_again_when_nothing_was_made():
    answers = iter([False, False, True])

    def make():
        return "made" if next(answers) else no_answer()

    assert asked_once(make, lambda: None) == "made"


@pytest.mark.usefixtures("no_pauses")
def test_what_is_refused_is_not_asked_again():
    with pytest.raises(MlflowException, match="no such"):
        asked_once(lambda: (_ for _ in ()).throw(MlflowException("no such", 404)), lambda: pytest.fail("looked for"))


def test_patience_outlasts_a_minute(monkeypatch):
    monkeypatch.delenv(MLFLOW_HTTP_REQUEST_MAX_RETRIES.name, raising=False)
    of_client = MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR.get() * (2 ** MLFLOW_HTTP_REQUEST_MAX_RETRIES.get() - 1)
    for seconds in (sum(tracking.PAUSES_SECONDS), of_client, sum(s3_requests.PAUSES), RESTART_SECONDS):
        assert 60 <= seconds <= 180
