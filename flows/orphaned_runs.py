"""Flow runs that say they go on although their process has ended: a kill leaves nobody who could say otherwise.

Whoever begins a run closes those of commands; a site's worker takes up its own again, which reuse what was finished.
"""

import json
import platform
from collections.abc import Iterator
from contextlib import suppress

import httpx
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Cancelled, Crashed, Scheduled

from flows.run_processes import run_processes, speak_without_worker
from flows.store_block import take_store_key
from tasks.stores.home import Home
from tasks.stores.open_files import allow_many_files
from tasks.tracking.processes import has_ended, this_process

PROCESS_LABEL = "keeneye.process"
WORKER_LABEL = "prefect.worker.name"
"""Prefect's own."""
MAX_STARTS = 6
"""A run that has ended its worker so often is not taken up again."""
MAX_RUNS = 200
ENDED = "its process has ended; the same request goes on where it was"
_SITE_WORKERS = "keeneye-on-"


def begin() -> Home:
    """Begin a run: return the home, without what runs that were killed left in it and on the Prefect server."""
    speak_without_worker()
    allow_many_files()
    home = Home.from_environment()
    home.store.sweep()
    if flow_run.id:
        try:
            with get_client(sync_client=True) as client:
                take_store_key(client)
                client.update_flow_run_labels(flow_run.id, {PROCESS_LABEL: json.dumps(this_process())})
                close_runs(client)
        except (httpx.HTTPError, RuntimeError) as error:  # whatever others left is no reason to fail
            get_run_logger().warning("the Prefect server does not tell what was left: %s", " ".join(str(error).split()))
    return home


def close_runs(client: SyncPrefectClient) -> list[str]:
    """Close the runs of commands whose process was on this host and has ended; returns their names.

    Raises:
        httpx.HTTPError: when the server does not answer.
    """
    orphans = [run for run in _unfinished(client, StateType.RUNNING) if _has_ended(run)]
    for run in orphans:
        _close_tasks(client, run)
        client.set_flow_run_state(run.id, Crashed(message=ENDED), force=True)
    return [run.name for run in orphans]


def worker_name() -> str:
    """Return the name of a site's worker on this host, the same after each of its starts."""
    return f"{_SITE_WORKERS}{platform.node()}"


def resume_runs(client: SyncPrefectClient, worker: str) -> list[str]:
    """Have the runs of a worker that was killed started again, where their own process has ended too.

    Args:
        client: of the Prefect server.
        worker: its name; nobody else of this name may be at work.

    Returns:
        What became of each, a sentence.

    Raises:
        httpx.HTTPError: when the server does not answer.
    """
    alive = run_processes()
    found = _unfinished(client, StateType.PENDING, StateType.RUNNING, StateType.CANCELLING)
    return [
        _resume(client, run) for run in found if run.labels.get(WORKER_LABEL) == worker and str(run.id) not in alive
    ]


def _resume(client: SyncPrefectClient, run: FlowRun) -> str:
    _close_tasks(client, run)
    if run.state_type is StateType.CANCELLING:
        client.set_flow_run_state(run.id, Cancelled(), force=True)
        return f"run {run.name} was being cancelled, and is"
    if run.run_count >= MAX_STARTS:
        message = (
            f"its worker ended {run.run_count} times while it ran; see whether memory suffices, and start it again"
        )
        client.set_flow_run_state(run.id, Crashed(message=message), force=True)
        return f"run {run.name}: {message}"
    client.set_flow_run_state(run.id, Scheduled(message="its worker ended; it goes on where it was"), force=True)
    return f"run {run.name} lost its worker, and is started again"


def _unfinished(client: SyncPrefectClient, *states: StateType) -> Iterator[FlowRun]:
    state = FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states)))
    yield from client.read_flow_runs(flow_run_filter=FlowRunFilter(state=state), limit=MAX_RUNS)


def _has_ended(run: FlowRun) -> bool:
    if str(run.labels.get(WORKER_LABEL, "")).startswith(_SITE_WORKERS):
        return False  # its worker takes it up
    with suppress(ValueError):  # a run of others
        return has_ended(json.loads(str(run.labels.get(PROCESS_LABEL, ""))))
    return False


def _close_tasks(client: SyncPrefectClient, run: FlowRun) -> None:
    """Close a run's tasks, which lets go of the places that they hold in the server's limits."""
    running = TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING]))
    tasks = client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])),
        task_run_filter=TaskRunFilter(state=running),
        limit=MAX_RUNS,
    )
    for one in tasks:
        client.set_task_run_state(one.id, Crashed(message=ENDED), force=True)
