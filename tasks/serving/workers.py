"""Threads that do what may take long, one job after the other, and what is due again and again."""

import logging
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread

_log = logging.getLogger(__name__)

Job = Callable[[], None]


class Worker:
    """One thread for jobs in their order; between them it does `chore` every `seconds`.

    The thread is a daemon: what hangs in a server that does not answer must not keep the process from ending.
    """

    def __init__(self, name: str, chore: Job | None = None, seconds: float = 60.0) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._chore = chore or _nothing
        self._seconds = seconds
        Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, job: Job) -> None:
        """Do a job after those submitted before; what it raises is logged."""
        self._jobs.put(job)

    def stop(self) -> None:
        """End the thread after the jobs submitted so far."""
        self._jobs.put(None)

    def _work(self) -> None:
        due = time.monotonic() + self._seconds
        while (job := self._next(due)) is not None:
            _do(job)
            if time.monotonic() >= due:
                _do(self._chore)
                due = time.monotonic() + self._seconds

    def _next(self, due: float) -> Job | None:
        try:
            return self._jobs.get(timeout=max(0.0, due - time.monotonic()))
        except Empty:
            return _nothing


def _do(job: Job) -> None:
    try:
        job()
    except Exception:  # the thread outlives whatever a job meets
        _log.exception("a background job failed")


def _nothing() -> None:
    """Do nothing."""
