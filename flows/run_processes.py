"""The processes of this host that are flow runs of a worker. They have a session of their own, and may outlive it."""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from tasks.stores.home import HOME_VARIABLE

RUN_VARIABLE = "PREFECT__FLOW_RUN_ID"
"""By which Prefect tells a process which run it is."""
LOG_VARIABLE = "KEENEYE_RUN_LOG"
"""The file that a site's runs write what they tell to."""


def speak_without_worker() -> None:
    """Write what this run tells to the site's file, if there is one.

    Else it goes through a pipe to the worker: when that is killed, the first word ends the run.
    """
    log = os.environ.get(LOG_VARIABLE)
    if log and RUN_VARIABLE in os.environ:
        file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file, stream.fileno())
        os.close(file)


def run_processes(home: Path | None = None) -> dict[str, int]:
    """Return the ids of the processes, by that of their flow run.

    Args:
        home: only those of this Keeneye home; None means all that this user may look at.
    """
    found: dict[str, int] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            environment = process.environ()
            run_id = environment.get(RUN_VARIABLE, "")
            is_wanted = home is None or environment.get(HOME_VARIABLE) == str(home)
            if run_id and is_wanted and process.status() != psutil.STATUS_ZOMBIE:
                found.setdefault(run_id, process.pid)
    return found


def end_run_processes(home: Path) -> list[str]:
    """End the flow runs of a home at once; returns their ids. The worker's next start takes them up again."""
    found = run_processes(home)
    for process_id in found.values():
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(os.getpgid(process_id), signal.SIGKILL)
    return list(found)
