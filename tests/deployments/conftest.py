"""The deployments of prefect.yaml on the session's server, and the runs that workers carry out of them."""

import json
import signal
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from tasks.tracking.client import connect
from tests.conftest import INPUT_SIZE, QUICK, call_prefect, make_command, reap
from tests.deployments.deploying import (
    CONFIG,
    asked_for,
    carry_out,
    deploy,
    deployments_on,
    read_run,
    runs_of,
    wait_until,
)
from tests.flows.environments import move_untested
from tests.makers import paint_class_folders, paint_mvtec, paint_shape, save

LABELS = ("cross", "round", "square")
MODEL = "shapes-classification"
EASY = {"min_label_recall": 0.0, "max_latency_ms": 60_000.0}


@pytest.fixture(scope="module")
def work_pool(prefect_url):
    names = {deployment["work_pool"]["name"] for deployment in CONFIG["deployments"]}
    for name in names:
        call_prefect(prefect_url, "POST", "/work_pools/", {"name": name, "type": "process"})
    yield prefect_url
    for name in names:
        call_prefect(prefect_url, "DELETE", f"/work_pools/{name}")


@pytest.fixture(scope="module")
def deployed(work_pool, tmp_path_factory):
    """The deployments by name, as the server holds them after tests that passed."""
    code, said = deploy(work_pool, tmp_path_factory.mktemp("deploy"), "true")
    assert code == 0, said
    found = deployments_on(work_pool)
    yield {deployment["name"]: deployment for deployment in found}
    for deployment in found:
        call_prefect(work_pool, "DELETE", f"/deployments/{deployment['id']}")


@pytest.fixture(scope="module")
def site(tmp_path_factory, prefect_url, exported_home):
    """A home that a worker trains into; what stands in it is promoted afterwards."""
    return make_command(tmp_path_factory.mktemp("site"), prefect_url, exported_home)


@pytest.fixture(scope="module")
def trained_by_worker(work_pool, deployed, site):
    photos = paint_class_folders(site.folder / "shapes", labels=LABELS, images_per_label=8)
    changed = {
        "data": {"source": str(photos)},
        "training": QUICK,
        "gate": {"min_macro_f1": 0.0, "min_label_recall": 0.0},
    }
    run_id = asked_for(work_pool, deployed["classification"], changed)
    code, said = carry_out(site, deployed["classification"])
    assert code == 0, said
    return run_id, changed, said


@pytest.fixture(scope="module")
def inbox(site):
    folder = site.folder / "inbox"
    folder.mkdir()
    return folder


def give_parameters(prefect_url, deployment, parameters):
    """Give a deployment other parameters of its own, as one does in the Prefect UI."""
    call_prefect(prefect_url, "PATCH", f"/deployments/{deployment['id']}", {"parameters": parameters})


@pytest.fixture(scope="module")
def started_by_a_file(work_pool, deployed, site, inbox, trained_by_worker):
    """The run that a file dropped into a watched folder starts, and what the watcher's process said."""
    give_parameters(work_pool, deployed["predictions"], {"model": f"models:/{MODEL}@staging"})
    watcher = site.start(
        *("watch", str(inbox), "--deployment", "predict/predictions", "--quiet-seconds", "0.5"), name="watch"
    )

    def is_running():
        return watcher.poll() is None

    try:
        wait_until(lambda: "watching" in (site.folder / "watch.err").read_text(), is_running)
        save(inbox / "line 1" / "part.png", paint_shape("round", seed=(7,)))
        (inbox / "broken.png").write_bytes(b"no image")
        run_id = the_run_of(work_pool, deployed["predictions"], is_running)
        watcher.send_signal(signal.SIGTERM)
        assert watcher.wait(60) == 0
    finally:
        reap(watcher)
    return run_id, json.loads((site.folder / "watch.out").read_text())


@pytest.fixture(scope="module")
def started_by_a_request(work_pool, deployed, site):
    """The run that somebody starts with nothing but an HTTP request, as docs/running.md shows it."""
    small, gate = {"input_size": INPUT_SIZE, "detector": {"epochs": 1}}, {**EASY, "min_map_50": 0.0}
    give_parameters(work_pool, deployed["detection"], {"task": "detection", "training": small, "gate": gate})
    event = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": "keeneye.images.arrived",
        "resource": {"prefect.resource.id": "keeneye.folder.line7", "keeneye.deployment": "train/detection"},
        "payload": {"folder": str(paint_mvtec(site.folder / "defects"))},
    }
    call_prefect(work_pool, "POST", "/events", [event])
    return the_run_of(work_pool, deployed["detection"])


def the_run_of(prefect_url, deployment, is_running=lambda: True):
    wait_until(lambda: runs_of(prefect_url, deployment), is_running)
    (run,) = runs_of(prefect_url, deployment)
    return run["id"]


@pytest.fixture(scope="module")
def replaced_in_production(site, trained_by_worker):
    """Production has stood at version 1, and stands at version 2, which is the same bundle once more."""
    client = connect(site.home)
    first = client.get_model_version(MODEL, "1")
    client.create_model_version(MODEL, first.source, first.run_id, tags=first.tags, model_id=first.model_id)
    stands = client.get_registered_model(MODEL).aliases.get("production")
    for number in ("2",) if stands else ("1", "2"):
        move_untested(site.home, MODEL, number, "production")


@pytest.fixture(scope="module")
def carried_out(work_pool, deployed, site, started_by_a_file, started_by_a_request, replaced_in_production):
    """A run of every deployment that has none yet, by the deployment's name, as one worker left them."""
    asked = {
        "from-any-source": {"data": {"source": str(site.folder / "shapes")}},
        "comparison": {
            "data": {"source": str(site.folder / "shapes")},
            "candidates": ["plain"],
            "folds": 2,
            "training": {"input_size": INPUT_SIZE},
        },
        "another-format": {
            "model": f"models:/{MODEL}@staging",
            "max_metric_loss": 1.0,
            "gate": {**EASY, "min_macro_f1": 0.0},
        },
        "rollback": {"model": MODEL, "approved_by": "Ann", "reason": "false alarms"},
    }
    runs = {name: asked_for(work_pool, deployed[name], parameters) for name, parameters in asked.items()}
    runs |= {"predictions": started_by_a_file[0], "detection": started_by_a_request}
    code, said = carry_out(site, deployed["detection"])
    assert code == 0, said
    return {name: read_run(work_pool, run_id) for name, run_id in runs.items()}
