"""The worker of a site: takes up the runs that its last life left, then is Prefect's own worker.

A worker that is killed leaves runs that say RUNNING, and nobody who could say otherwise; so does a command. Those whose
process still goes on are left to end by themselves.
"""

import runpy
import sys

from flows.arrival_events import server
from flows.orphaned_runs import close_runs, resume_runs, worker_name
from tasks.errors import KeeneyeError
from tasks.stores.home import Home
from tasks.tracking.orphans import end_orphaned_runs


def main(options: list[str]) -> None:
    """Run a worker with options of `prefect worker start`, until it is stopped."""
    worker = worker_name()
    try:
        with server() as client:
            said = resume_runs(client, worker)
            said += [f"run {name} was left by a command that has ended, and is closed" for name in close_runs(client)]
        ended = end_orphaned_runs(Home.from_environment())
        said += [f"MLflow run {run_id} was left open, and is ended" for run_id in ended]
    except KeeneyeError as error:  # the next start tries again; what is new can run meanwhile
        said = [f"runs that were left could not be looked for: {error.message}"]
    for sentence in said:
        sys.stderr.write(f"keeneye: {sentence}\n")
    sys.argv = ["prefect", "worker", "start", "--name", worker, *options]
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
