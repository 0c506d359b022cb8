"""A real Dask cluster for tests: a scheduler and workers of one thread, each a process."""

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT, reap

START_SECONDS = 180


@dataclass(frozen=True)
class Cluster:
    """A scheduler, and its workers as processes."""

    address: str
    scheduler: subprocess.Popen
    workers: tuple[subprocess.Popen, ...]


def start(folder: Path, name: str, *arguments: str, **environment: str) -> subprocess.Popen:
    """Start `dask ARGUMENTS` in a session of its own, output to a file."""
    with (folder / f"{name}.log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments, "--no-dashboard"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def start_worker(folder: Path, address: str, name: str, *arguments: str, **environment: str) -> subprocess.Popen:
    """Start a worker, which nothing starts again."""
    options = ("--name", name, "--nthreads", "1", "--no-nanny", "--host", "127.0.0.1")
    return start(folder, name, "worker", address, *options, *arguments, **environment)


@contextlib.contextmanager
def running_cluster(folder: Path, *, workers: int = 2, preload: str = "", **environment: str):
    """Start a cluster and wait until it is whole; its workers import the file `preload` first."""
    from distributed import Client

    told = folder / "scheduler.json"
    scheduler = start(
        folder,
        "scheduler",
        "scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--scheduler-file",
        str(told),
        **environment,
    )
    processes = [scheduler]
    try:
        until = time.monotonic() + START_SECONDS
        while not (told.exists() and told.read_text().endswith("}")):
            assert scheduler.poll() is None, (folder / "scheduler.log").read_text()
            assert time.monotonic() < until
            time.sleep(0.1)
        address = json.loads(told.read_text())["address"]
        options = ("--preload", preload) if preload else ()
        for number in range(workers):
            processes.append(start_worker(folder, address, f"worker-{number}", *options, **environment))
        if workers:
            with Client(address, timeout=START_SECONDS, set_as_default=False) as client:
                client.wait_for_workers(workers, timeout=START_SECONDS)
        yield Cluster(address, scheduler, tuple(processes[1:]))
    finally:
        for process in processes[::-1]:
            reap(process)
