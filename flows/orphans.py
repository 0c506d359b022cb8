"""End the temporary Prefect servers that killed runs left behind."""

import os

import psutil

OWNER_VARIABLE = "KEENEYE_OWNER_PID"
SERVER_APPLICATION = "prefect.server.api.server:create_app"
GRACE_SECONDS = 5.0


def claim_servers() -> None:
    """Mark the servers that this process will start: they inherit the variable."""
    os.environ[OWNER_VARIABLE] = str(os.getpid())


def end_orphaned_servers() -> list[int]:
    """End this user's temporary servers whose Keeneye process is gone; returns their process ids."""
    orphans = [process for process in psutil.process_iter() if _is_orphaned_server(process)]
    for process in orphans:
        process.terminate()
    for process in psutil.wait_procs(orphans, timeout=GRACE_SECONDS)[1]:
        process.kill()
    return [process.pid for process in orphans]


def _is_orphaned_server(process: psutil.Process) -> bool:
    try:
        if not any(SERVER_APPLICATION in part for part in process.cmdline()):
            return False
        owner = process.environ().get(OWNER_VARIABLE, "")
        return owner.isdigit() and not psutil.pid_exists(int(owner))
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return False
