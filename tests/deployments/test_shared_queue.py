"""Several workers on one queue: the runs are divided among them, and each is carried out once."""

import json
import os
import re
import subprocess
import sys

import pytest

from tasks.dataset.files import EXPORT_MARKER_NAME
from tests.conftest import ROOT, call_prefect, reap
from tests.deployments.deploying import asked_for, read_run, wait_until
from tests.makers import paint_class_folders

pytestmark = pytest.mark.site
RUNS, WORKERS = 4, ("first", "second")


def start_worker(site, pool, name):
    """Start a worker that carries out one run at a time; what it says goes to a file."""
    arguments = ("worker", "start", "--pool", pool, "--type", "process", "--limit", "1", "--name", name)
    with (site.folder / f"{name}.log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
            cwd=ROOT,
            env={**os.environ, **site.environment, "PREFECT_HOME": str(site.folder / name)},
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def runs_after(words, text):
    """Runs that a worker names: it may try to take one that the other has just taken, which the server refuses."""
    return set(re.findall(rf"{words} flow run '([0-9a-f-]{{36}})'", text))


def test_two_workers_share_a_queue(work_pool, deployed, site):
    deployment = deployed["from-any-source"]
    # As shipped one run of a deployment waits for another.
    call_prefect(work_pool, "PATCH", f"/deployments/{deployment['id']}", {"concurrency_limit": None})
    outputs = {}
    for number in range(RUNS):
        source = paint_class_folders(site.folder / f"shapes-{number}", images_per_label=5 + number)
        output = site.folder / f"truth-{number}"
        asked = {"data": {"source": str(source)}, "output": str(output)}
        outputs[asked_for(work_pool, deployment, asked)] = output

    def are_done():
        return all(read_run(work_pool, run)["state_type"] in {"COMPLETED", "FAILED", "CRASHED"} for run in outputs)

    workers = {name: start_worker(site, deployment["work_pool_name"], name) for name in WORKERS}
    try:
        wait_until(are_done, lambda: all(worker.poll() is None for worker in workers.values()))
    finally:
        for worker in workers.values():
            reap(worker)

    said = {name: (site.folder / f"{name}.log").read_text() for name in WORKERS}
    for number, (run, output) in enumerate(outputs.items()):
        told = read_run(work_pool, run)
        assert (told["state_type"], told["state_name"], told["run_count"]) == ("COMPLETED", "Written", 1), said
        states = call_prefect(work_pool, "GET", f"/flow_run_states/?flow_run_id={run}")
        assert [state["type"] for state in states].count("RUNNING") == 1
        record = json.loads((output / EXPORT_MARKER_NAME).read_text())
        assert record["status"] == "complete"
        lines = [line for path in output.rglob("*.manifest") for line in path.read_text().splitlines()]
        assert len({json.loads(line)["source-ref"] for line in lines}) == 2 * (5 + number)
    taken = {
        name: runs_after("submitting", text) - runs_after("Aborted submission of", text) for name, text in said.items()
    }
    assert taken["first"] | taken["second"] == set(outputs), said
    assert not taken["first"] & taken["second"]
    assert all(taken.values()), "both carried out some"
