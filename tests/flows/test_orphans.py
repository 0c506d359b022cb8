"""A killed run leaves Prefect's temporary server behind; the next run ends it."""

import os
import signal
import time

import psutil
import pytest

from flows.orphans import OWNER_VARIABLE, SERVER_APPLICATION
from tests.conftest import QUICK_OPTIONS, Command, reap
from tests.makers import paint_class_folders

ARGUMENTS = ("train", "--data.source", "shapes", *QUICK_OPTIONS, "--gate.min_macro_f1", "0.1")
START_SECONDS = 120


def temporary_servers(home):
    found = []
    for process in psutil.process_iter():
        try:
            is_server = any(SERVER_APPLICATION in part for part in process.cmdline())
            if is_server and process.environ().get("KEENEYE_HOME") == home and process.status() != "zombie":
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
def test_killed_run_leaves_a_server_that_the_next_run_ends(keeneye):
    paint_class_folders(keeneye.folder / "shapes", ("cross", "round"), 12)
    environment = {name: value for name, value in keeneye.environment.items() if name != "PREFECT_API_URL"}
    line = Command(keeneye.folder, {**environment, "PREFECT_HOME": str(keeneye.folder / "prefect")})
    home = line.environment["KEENEYE_HOME"]
    process = line.start(*ARGUMENTS, name="killed")
    try:
        deadline = time.monotonic() + START_SECONDS
        while not temporary_servers(home) and time.monotonic() < deadline:
            time.sleep(0.1)
        servers = temporary_servers(home)
        assert servers
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert temporary_servers(home) == servers
        assert all(server.environ()[OWNER_VARIABLE].startswith(f"{process.pid}:") for server in servers)

        code, _, err = line.run(*ARGUMENTS)

        assert code == 0, err
        assert not any(server.is_running() and server.status() != "zombie" for server in servers)
        assert not temporary_servers(home)
    finally:
        reap(process)
