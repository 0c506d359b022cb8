"""Shards on the workers of a Dask cluster.

Dask's own client, not Prefect's task runner for Dask: that one makes a task run of each shard, which every worker must
tell Prefect's server of; it leaves runs RUNNING for ever when Dask gives a shard up (Prefect's issues 17384 and 21638),
and lets Dask do finished shards again when the worker dies that held their results (15442). Here the stage is the task
run. A shard's output is in the content store before its result, a path, comes back and is let go of: when a worker
dies, Dask gives what it was at to another, and what it had finished is found in the store.
"""

import pickle
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tasks.errors import EnvironmentFailed, KeeneyeError
from tasks.shards.alike import Likeness, own_likeness, shared_mark
from tasks.shards.runner import Tell, Work

S = TypeVar("S")
R = TypeVar("R")

CONNECT_SECONDS = 15.0
WORKER_SECONDS = 60.0
"""How long there may be no worker at all: one that is started again takes seconds."""
ASK_SECONDS = 2.0
MAX_TRACEBACK_CHARACTERS = 10_000
AHEAD = 3
"""Shards sent ahead for each thread of the cluster: enough that none waits, few enough to hold."""


class DaskRunner:
    """Carries out shards on a cluster, as many at once as its workers have threads."""

    def __init__(self, address: str, store: Path) -> None:
        """Name the scheduler, and the folder that its workers must see too; nothing is asked of them yet."""
        self._address, self._store = address, store
        self._client: Any = None

    def close(self) -> None:
        """Let go of the cluster; what it is still at is given up."""
        if self._client is not None:
            self._client.close(timeout=ASK_SECONDS)
            self._client = None

    def map(self, work: Work[S, R], shards: Iterable[S], tell: Tell) -> Iterator[R]:
        """Yield what the work makes of each shard, in their order.

        Raises:
            EnvironmentFailed: when there is no such scheduler or no worker for a minute, when a worker lacks something,
                or when a shard has ended several workers.
        """
        client = self._connected()
        waiting: deque[Any] = deque()
        with shared_mark(self._store) as mark:
            likeness = own_likeness(mark)
            try:
                for shard in shards:
                    while len(waiting) >= AHEAD * max(1, self._told(self._threads)):
                        yield self._result(waiting.popleft(), tell)
                    # Not pure: the same shard may give something else when its files have changed.
                    submit = partial(client.submit, carry_out, work, shard, likeness, pure=False)
                    waiting.append(self._told(submit))
                while waiting:
                    yield self._result(waiting.popleft(), tell)
            finally:
                for future in waiting:
                    with suppress(Exception):  # what ended the run is told, not what follows from it
                        future.cancel()

    def _connected(self) -> Any:  # noqa: ANN401 - distributed is not typed
        if self._client is None:
            self._client = _connect(self._address)
        self._told(lambda: self._wait_for_worker(CONNECT_SECONDS))
        return self._client

    def _result(self, future: Any, tell: Tell) -> Any:  # noqa: ANN401 - whatever the work gives
        done, images = self._told(lambda: self._waited_for(future))
        tell(images)
        return done

    def _waited_for(self, future: Any) -> Any:  # noqa: ANN401 - whatever the work gives
        while True:
            try:
                return future.result(timeout=ASK_SECONDS)
            except TimeoutError:
                # A result that is a time-out of the work itself is told, not waited for.
                if future.done():
                    return future.result()
                self._wait_for_worker(WORKER_SECONDS)

    def _wait_for_worker(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._threads():
            if time.monotonic() > until:
                raise EnvironmentFailed(
                    f"the Dask scheduler {self._address} has had no worker for {seconds:.0f} s; start one with `dask "
                    f"worker {self._address}` in Keeneye's environment, and run this again, it goes on where it was"
                )
            time.sleep(0.2)

    def _threads(self) -> int:
        return sum(self._client.nthreads().values())

    def _told(self, ask: Callable[[], R]) -> R:
        """Say in a sentence what Dask says in exceptions of its own."""
        from distributed import CancelledError, KilledWorker
        from distributed.comm import CommClosedError

        try:
            return ask()
        except KeeneyeError:
            raise
        except KilledWorker as error:
            raise EnvironmentFailed(
                f"a shard ended {error.allowed_failures + 1} Dask workers one after another, the last "
                f"{error.last_worker.address}; see their logs, most often they need more memory, and run this again, "
                "it goes on where it was"
            ) from error
        except ModuleNotFoundError as error:
            raise EnvironmentFailed(
                f"a Dask worker of {self._address} has no {error.name}; start workers in Keeneye's environment"
            ) from error
        except (CancelledError, CommClosedError, pickle.UnpicklingError) as error:
            raise EnvironmentFailed(
                f"the Dask scheduler {self._address} went away or does not understand this process "
                f"({type(error).__name__}); see to it and run this again, it goes on where it was"
            ) from error


def carry_out(work: Work[S, R], shard: S, likeness: Likeness) -> tuple[R, int]:
    """Carry out one shard on a worker; returns what it gives and the number of images it told of.

    Raises:
        EnvironmentFailed: when the worker is not like the process that asks.
        RuntimeError: in place of an error that could not be sent: whoever waits for the shard would wait for ever.
    """
    likeness.require()
    told: list[int] = []
    failed: Exception
    try:
        return work(shard, 1, told.append), sum(told)
    except (KeeneyeError, OSError, MemoryError) as error:
        failed = error
    except Exception as error:
        failed = RuntimeError(f"{type(error).__name__}: {error}")
        failed.add_note(traceback.format_exc()[-MAX_TRACEBACK_CHARACTERS:])
    # What caused it may not pickle, as ONNX Runtime's own errors; what they say is kept.
    failed.__cause__ = failed.__context__ = None
    raise failed.with_traceback(None)


def _connect(address: str) -> Any:  # noqa: ANN401 - distributed is not typed
    try:
        from distributed import Client
    except ImportError as error:
        raise EnvironmentFailed(
            "shards.runner dask needs Dask, which is not installed; install keeneye[dask] (`uv sync --extra dask`)"
        ) from error
    try:
        return Client(address, timeout=CONNECT_SECONDS, set_as_default=False, name="keeneye")
    except (OSError, TimeoutError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise EnvironmentFailed(
            f"no Dask scheduler answers at {address} ({reason}); start one with `dask scheduler`, or name another in "
            "shards.address"
        ) from error
