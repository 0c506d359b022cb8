"""MLflow runs that say RUNNING although their process has ended: a kill leaves nobody who could say otherwise."""

import json
from collections.abc import Sequence
from contextlib import suppress

from mlflow import MlflowClient

from tasks.stores.home import Home
from tasks.tracking.client import answered, connect
from tasks.tracking.processes import has_ended, this_process

PROCESS_TAG = "keeneye.process"
"""Of a run: which process opened it last."""
MAX_RUNS = 1000
"""That are looked at; MLflow tells no more in one answer."""


def process_tag() -> str:
    """Return what the tag of a run says that this process opens."""
    return json.dumps(this_process())


def end_orphaned_runs(home: Home) -> list[str]:
    """End the orphans among the runs of all experiments; returns their ids. The next request of a run opens it again.

    Raises:
        EnvironmentFailed: when MLflow does not answer.
    """
    client = connect(home)
    with home.lock("runs"), answered(home):
        return end_orphans(client, [str(one.experiment_id) for one in client.search_experiments(max_results=MAX_RUNS)])


def end_orphans(client: MlflowClient, experiment_ids: Sequence[str]) -> list[str]:
    """End the runs of some experiments whose process was on this host and has ended; returns their ids."""
    running = client.search_runs(list(experiment_ids), "attributes.status = 'RUNNING'", max_results=MAX_RUNS)
    orphans = [str(run.info.run_id) for run in running if has_ended(_process(run.data.tags.get(PROCESS_TAG, "")))]
    for run_id in orphans:
        client.set_terminated(run_id, status="KILLED")
    return orphans


def _process(tag: str) -> object:
    with suppress(ValueError):  # a run of others
        return json.loads(tag)
    return None
