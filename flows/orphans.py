"""End the temporary Prefect servers that killed runs left behind."""

import contextlib
import os

import psutil

OWNER_VARIABLE = "KEENEYE_OWNER"
SERVER_APPLICATION = "prefect.server.api.server:create_app"
GRACE_SECONDS = 5.0


def claim_servers() -> None:
    """Mark the servers that this process will start: they inherit the variable."""
    os.environ[OWNER_VARIABLE] = _name(psutil.Process())


def end_orphaned_servers() -> list[int]:
    """End this user's temporary servers whose Keeneye process is gone; returns their process ids."""
    orphans = [process for process in psutil.process_iter() if _is_orphaned_server(process)]
    for process in orphans:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    for process in psutil.wait_procs(orphans, timeout=GRACE_SECONDS)[1]:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return [process.pid for process in orphans]


def _is_orphaned_server(process: psutil.Process) -> bool:
    try:
        if not any(SERVER_APPLICATION in part for part in process.cmdline()):
            return False
        owner = process.environ().get(OWNER_VARIABLE, "")
        return bool(owner) and process.uids().real == os.getuid() and not _is_alive(owner)
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return False


def _name(process: psutil.Process) -> str:
    # Process ids are given again; together with the time of birth they are not.
    return f"{process.pid}:{process.create_time():.2f}"


def _is_alive(owner: str) -> bool:
    try:
        return _name(psutil.Process(int(owner.partition(":")[0]))) == owner
    except (psutil.Error, ValueError):
        return False
