"""Versions that tests promote: a home that holds some, a ledger of each test's own, deployments that ask a person."""

import shutil
import sqlite3
import time
from contextlib import closing, contextmanager

import httpx
import pytest
from prefect.client.orchestration import get_client

from flows.train import train
from tasks.stores.home import Home
from tasks.tracking.ledger import Ledger
from tasks.tracking.registry import STATUS_TAG, Registry
from tests.conftest import MLFLOW_ADDRESSES, QUICK, reporting_to
from tests.flows.environments import write_environments
from tests.makers import paint_class_folders

NAME = "shapes-classification"
LABELS = ("cross", "round", "square")
EASY = {"min_macro_f1": 0.5, "min_label_recall": 0.3, "max_latency_ms": 60_000.0}
BY_ANN = {"approved_by": "Ann", "reason": "looked at it"}


def request_of(home, seed):
    """What asks for the version that a seed gives; the third is too slow for its gate."""
    return {
        "data": {"source": str(home.root.parent / "shapes")},
        "training": {**QUICK, "seed": seed},
        "gate": EASY if seed < 2 else {**EASY, "max_latency_ms": 0.001},
    }


def standing_of(home, environment):
    return [one.version for one in Registry(home).versions(NAME) if environment in one.aliases]


def entries():
    return Ledger(Home.from_environment().database_uri).entries(NAME)


def status_of(home, version):
    return Registry(home).version(NAME, version).tags[STATUS_TAG]


def fill_in(prefect, run_id, said):
    while said and httpx.get(f"{prefect}/flow_runs/{run_id}").json()["state"]["type"] != "PAUSED":
        time.sleep(0.1)
    if said:
        httpx.post(f"{prefect}/flow_runs/{run_id}/resume", json={"run_input": said}).raise_for_status()


def train_versions(folder, exported_home, prefect_url, count):
    """A home below `folder` with so many versions on the same images; the second stands in staging."""
    root = folder / "home"
    shutil.copytree(exported_home.root, root)
    paint_class_folders(folder / "shapes", labels=LABELS, images_per_label=14)
    with pytest.MonkeyPatch.context() as patch, reporting_to(prefect_url):
        patch.setenv("KEENEYE_HOME", str(root))
        for name in MLFLOW_ADDRESSES:
            patch.delenv(name, raising=False)
        made = Home.from_environment()
        for seed in range(count):
            train(**request_of(made, seed))
        return made


def with_own_ledger(trained_home, folder, monkeypatch):
    """The home with a ledger of the test's own, and environments whose endpoints are nowhere."""
    monkeypatch.setenv("KEENEYE_HOME", str(trained_home.root))
    for name in MLFLOW_ADDRESSES:
        monkeypatch.delenv(name, raising=False)
    database = folder / "keeneye.db"
    # Not a copy of the file: what was written last is in its log.
    with closing(sqlite3.connect(trained_home.root / "keeneye.db")) as kept, closing(sqlite3.connect(database)) as copy:
        kept.backup(copy)
    monkeypatch.setenv("KEENEYE_DATABASE", f"sqlite:///{database}")
    monkeypatch.setenv("KEENEYE_ENVIRONMENTS", str(write_environments(folder)))
    registry = Registry(trained_home)
    registry.set_alias(registry.version(NAME, "2"), "staging")
    for version in registry.versions(NAME):
        registry.remove_alias(version, "production")
    return trained_home


@contextmanager
def deployed(flow):
    """Runs of a flow as a worker would have them: those that a deployment was asked for."""
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(flow)
        deployment_id = client.create_deployment(flow_id, "approval")
        yield lambda **parameters: client.create_flow_run_from_deployment(deployment_id, parameters=parameters)
        client.delete_deployment(deployment_id)
