"""Runs that say RUNNING although their process has ended, on a real server: closed, or taken up by the worker again."""

import json
import os
import subprocess
import sys
from uuid import uuid4

import psutil
import pytest
from prefect import flow, task
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelling, Running

from flows.orphaned_runs import MAX_STARTS, PROCESS_LABEL, WORKER_LABEL, close_runs, resume_runs, worker_name
from flows.run_processes import LOG_VARIABLE, RUN_VARIABLE, end_run_processes, run_processes
from tasks.tracking.processes import this_process


@flow
def painted():
    pass


@task
def painting():
    pass


@pytest.fixture
def client(prefect):
    with SyncPrefectClient(prefect) as opened:
        yield opened


@pytest.fixture
def sleeper():
    """A process that does nothing; called with variables of its environment."""
    started = []

    def start(**variables):
        command = [sys.executable, "-c", "print(flush=True); input()"]
        child = subprocess.Popen(
            command,
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        child.stdout.readline()
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.wait()


def name_of(process_id):
    return json.dumps({**this_process(), "pid": process_id, "started": psutil.Process(process_id).create_time()})


def run_of(client, **labels):
    run = client.create_flow_run(painted, state=Running())
    client.update_flow_run_labels(run.id, labels)
    return run


def state_of(client, run):
    return client.read_flow_run(run.id).state.type


def test_runs_whose_process_has_ended_are_closed_with_their_tasks(client, sleeper):
    ended, lives = sleeper(), sleeper()
    orphan, alive = (run_of(client, **{PROCESS_LABEL: name_of(one.pid)}) for one in (ended, lives))
    of_worker = run_of(client, **{PROCESS_LABEL: name_of(ended.pid), WORKER_LABEL: worker_name()})
    foreign = run_of(client)
    part = client.create_task_run(painting, flow_run_id=orphan.id, dynamic_key="0", state=Running())
    ended.kill()
    ended.wait()

    closed = close_runs(client)

    assert orphan.name in closed
    assert not {alive.name, of_worker.name, foreign.name} & set(closed)
    assert state_of(client, orphan) is StateType.CRASHED
    assert client.read_task_run(part.id).state.type is StateType.CRASHED
    assert {state_of(client, one) for one in (alive, of_worker, foreign)} == {StateType.RUNNING}


def test_worker_takes_up_its_own_runs_that_ended(client, sleeper):
    worker = f"keeneye-on-{uuid4().hex}"
    lost, cancelled, alive = (run_of(client, **{WORKER_LABEL: worker}) for _ in range(3))
    of_others = run_of(client, **{WORKER_LABEL: "another"})
    client.set_flow_run_state(cancelled.id, Cancelling(), force=True)
    sleeper(**{RUN_VARIABLE: str(alive.id)})

    said = resume_runs(client, worker)

    assert len(said) == 2
    assert f"run {lost.name} lost its worker, and is started again" in said
    assert [state_of(client, one) for one in (lost, cancelled)] == [StateType.SCHEDULED, StateType.CANCELLED]
    assert {state_of(client, one) for one in (alive, of_others)} == {StateType.RUNNING}


def test_run_that_ends_its_worker_time_and_again_is_given_up(client):
    worker = f"keeneye-on-{uuid4().hex}"
    run = run_of(client, **{WORKER_LABEL: worker})
    for starts in range(1, MAX_STARTS):
        assert client.read_flow_run(run.id).run_count == starts
        resume_runs(client, worker)
        assert state_of(client, run) is StateType.SCHEDULED
        client.set_flow_run_state(run.id, Running(), force=True)
    (said,) = resume_runs(client, worker)
    assert "see whether memory suffices" in said
    assert state_of(client, run) is StateType.CRASHED


def test_processes_of_a_home_are_found_and_ended(sleeper, tmp_path):
    run_id, other = uuid4().hex, uuid4().hex
    own = sleeper(**{RUN_VARIABLE: run_id, "KEENEYE_HOME": str(tmp_path)})
    elsewhere = sleeper(**{RUN_VARIABLE: other, "KEENEYE_HOME": "/elsewhere"})
    assert run_processes().items() >= {run_id: own.pid, other: elsewhere.pid}.items()
    assert end_run_processes(tmp_path) == [run_id]
    assert own.wait(20) < 0
    assert elsewhere.poll() is None
    assert run_id not in run_processes()


SPEAKER = """
from rich.console import Console
from flows.run_processes import speak_without_worker
input()
speak_without_worker()
Console(stderr=True).print("said")
"""


@pytest.mark.parametrize(("variables", "code", "told"), [({LOG_VARIABLE: "log"}, 0, "said\n"), ({}, 1, "")])
def test_run_speaks_on_when_its_worker_is_gone(tmp_path, variables, code, told):
    (tmp_path / "log").touch()
    child = subprocess.Popen(
        [sys.executable, "-c", SPEAKER],
        cwd=tmp_path,
        env={**os.environ, RUN_VARIABLE: "run", **variables},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    child.stderr.close()  # as a worker's end of the pipe when it is killed
    child.stdin.write(b"\n")
    child.stdin.close()
    assert (child.wait(120), (tmp_path / "log").read_text()) == (code, told)
