"""What a worker does before it is Prefect's own: it closes what killed commands left."""

import json
import runpy
import subprocess
import sys

import psutil
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.states import Running

from deployments.site import worker
from flows.orphaned_runs import PROCESS_LABEL
from tasks.tracking.processes import this_process
from tests.homes import new_home


@flow
def painted():
    pass


def test_worker_that_starts_closes_what_a_killed_command_left(prefect, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("KEENEYE_HOME", str(new_home(tmp_path / "home").root))
    monkeypatch.setattr(sys, "argv", list(sys.argv))  # it becomes another program's
    monkeypatch.setattr(runpy, "run_module", lambda *_, **__: None)
    command = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    command.stdout.readline()
    name = {**this_process(), "pid": command.pid, "started": psutil.Process(command.pid).create_time()}
    with SyncPrefectClient(prefect) as client:
        run = client.create_flow_run(painted, state=Running())
        client.update_flow_run_labels(run.id, {PROCESS_LABEL: json.dumps(name)})
        worker.main([])
        assert client.read_flow_run(run.id).state.type is StateType.RUNNING
        command.kill()
        command.wait()
        worker.main([])
        assert client.read_flow_run(run.id).state.type is StateType.CRASHED
    assert f"run {run.name} was left by a command that has ended, and is closed" in capfd.readouterr().err
