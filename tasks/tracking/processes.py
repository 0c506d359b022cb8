"""Which process holds a move, and whether it is known to have ended."""

import os
import socket
from pathlib import Path

import psutil

_CLOCK_SECONDS = 2.0
"""By how much the start of a process may seem to move when its machine's clock is set."""


def this_process() -> dict[str, str | int | float]:
    """Return what names this process among all of all machines: `host`, `pid`, and `started` (s since 1970)."""
    return {"host": _host(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def has_ended(process: object) -> bool:
    """Tell whether what `this_process` returned earlier is known to have ended; of other hosts nothing is known.

    Args:
        process: JSON; anything else than what `this_process` returns is of an unknown process.
    """
    match process:
        case {"host": str(host), "pid": int(pid), "started": float(started)} if host == _host() and pid > 0:
            try:
                found = psutil.Process(pid)
                # Later processes get the same number again.
                return found.status() == psutil.STATUS_ZOMBIE or abs(found.create_time() - started) > _CLOCK_SECONDS
            except psutil.NoSuchProcess:
                return True
    return False


def _host() -> str:
    # Containers may share their machine's name, and each counts its processes from 1.
    namespace = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()} {namespace.readlink() if namespace.is_symlink() else ''}".strip()
