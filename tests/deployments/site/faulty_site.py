"""A site on which things go wrong: its clients, and a training that stops where a test asks it to. No test itself."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import boto3
import mlflow
import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.settings import PREFECT_CLIENT_RETRY_EXTRA_CODES, temporary_settings

from deployments.site.secrets import OVERRIDE_PREFIX, PREFECT_LOGIN, made_secrets
from flows.provision_config import WORK_POOL, training_limit
from tasks.stores.content import MARKER_NAME
from tests.conftest import QUICK, ROOT
from tests.deployments.site.running import KEENEYE, Site, free_site, options, start, wait_until
from tests.makers import paint_class_folders

GATE = {"min_macro_f1": 0.0, "min_label_recall": 0.0, "max_latency_ms": 60_000}
ENTRYPOINT = "tests/deployments/site/stopping_training.py:train"
UNFINISHED = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
MARKS = {"worker": "deployments.site.worker", "postgresql": "postgres", "object-store": "weed", "mlflow": "mlflow"}
"""What the command of each service has near its start."""
PLANTED = {
    name: f"keeneye:planted-{name}" if name == PREFECT_LOGIN else f"planted-{name}"
    for name, value in made_secrets().items()
    if value != "keeneye"
}
"""The site's secrets, which whoever looks for them finds."""


@dataclass(frozen=True)
class FaultySite:
    """A site, its clients, and a deployment of a training that stops where it is asked to."""

    site: Site
    told: Path
    client: SyncPrefectClient
    deployment_id: str

    @property
    def moments(self):
        return self.site.data / "home" / "moments"

    def settle(self):
        """Let runs end that an earlier test may have left."""
        shutil.rmtree(self.moments, ignore_errors=True)
        self.moments.mkdir()
        wait_until(lambda: not self.running(), self.site.process, self.logs)

    def submit(self, seed, source, *moments):
        """Start a training that stops at each of the moments; seeds tell trainings apart."""
        self.settle()
        for moment in moments:
            (self.moments / moment).touch()
        parameters = {"data": {"source": source}, "training": {**QUICK, "seed": seed}, "gate": GATE}
        run = self.client.create_flow_run_from_deployment(self.deployment_id, parameters=parameters)
        return run.id

    def await_moment(self, moment, run_id):
        def is_there():
            state = self.client.read_flow_run(run_id).state
            assert not state.is_final(), (moment, state, self.logs())
            return (self.moments / f"{moment}.reached").exists()

        wait_until(is_there, self.site.process, self.logs)

    def let_go(self, moment):
        (self.moments / moment).unlink()

    def finish(self, run_id):
        wait_until(lambda: self.client.read_flow_run(run_id).state.is_final(), self.site.process, self.logs)
        run = self.client.read_flow_run(run_id)
        assert (run.state.type, run.state.name) == (StateType.COMPLETED, "Staged"), (run.state, self.logs())
        return run

    def process_ids(self, name):
        """Of a service that runs the one process id; none while it does not."""
        mark, found = MARKS[name], []
        for one in psutil.Process(self.site.process.pid).children():
            with contextlib.suppress(psutil.Error):
                if any(mark in word for word in one.cmdline()[:3]):
                    found.append(one.pid)
        return found

    def kill(self, name):
        """Kill a service with all its processes; its supervisor starts it again."""
        (process_id,) = self.process_ids(name)
        os.killpg(process_id, signal.SIGKILL)
        wait_until(lambda: process_id not in self.process_ids(name), self.site.process, self.logs)

    def hold_up(self, name, seconds):
        """Let the next start of a service that was killed take longer."""
        wait_until(lambda: self.process_ids(name), self.site.process, self.logs)
        (process_id,) = self.process_ids(name)
        os.killpg(process_id, signal.SIGSTOP)
        time.sleep(seconds)
        os.killpg(process_id, signal.SIGCONT)

    def await_start(self, name, times):
        wait_until(lambda: self.times_started(name) == times, self.site.process, self.logs)

    def times_started(self, name):
        return self.told.read_text().count(f"keeneye: {name} answers")

    def logs(self):
        tails = [path.read_text(errors="replace")[-3000:] for path in sorted((self.site.data / "logs").glob("*.log"))]
        return "\n====\n".join([self.told.read_text(), *tails])

    def finished_entries(self):
        """When each finished stage's output was made."""
        entries = self.site.data / "home" / "store" / "entries"
        return {path.parent: path.stat().st_mtime_ns for path in entries.glob(f"*/*/{MARKER_NAME}")}

    @property
    def mlflow(self):
        return mlflow.MlflowClient(self.site.address("mlflow"), self.site.address("mlflow"))

    def versions(self, name):
        return self.mlflow.search_model_versions(f"name = '{name}'")

    def mlflow_runs(self, dataset):
        experiment = self.mlflow.get_experiment_by_name(f"keeneye/{dataset}")
        return self.mlflow.search_runs([experiment.experiment_id])

    def running(self):
        """Names of flow runs that the server takes for unfinished."""
        state = FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED))
        return [run.name for run in self.client.read_flow_runs(flow_run_filter=FlowRunFilter(state=state))]

    @property
    def store(self):
        return boto3.client(
            "s3",
            endpoint_url=self.site.address("object_store"),
            aws_access_key_id="keeneye",
            aws_secret_access_key=self.site.environment["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
        )

    def put_images(self, source):
        """Keep a folder of images in the site's object store; returns its address."""
        store = self.store
        for path in source.rglob("*.png"):
            store.put_object(Bucket="keeneye", Key=f"images/{path.relative_to(source.parent)}", Body=path.read_bytes())
        return f"s3://keeneye/images/{source.name}"


@contextlib.contextmanager
def running_site(folder, exported_home):
    """A site below a folder, with planted secrets and a store that holds the backbone."""
    ports = free_site()
    command = [KEENEYE, "up", "--data", str(folder / "data"), "--start_seconds", "400", *options(ports)]
    shutil.copytree(exported_home.root, folder / "data" / "home")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in PLANTED.items():
            patch.setenv(f"{OVERRIDE_PREFIX}{name}", value)
        process = start(folder, "up", command)
    told = (folder / "up.err").read_text
    try:
        wait_until(lambda: "all services answer" in told(), process, told)
        site = Site(process, folder / "data", ports)
        with pytest.MonkeyPatch.context() as patch:
            for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
                patch.setenv(name, site.environment[name])
            with (
                temporary_settings({PREFECT_CLIENT_RETRY_EXTRA_CODES: "500"}),  # while PostgreSQL is away
                SyncPrefectClient(
                    site.address("prefect", "/api"), auth_string=site.environment["PREFECT_API_AUTH_STRING"]
                ) as client,
            ):
                yield FaultySite(site, folder / "up.err", client, deploy(client))
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(120)
        process.kill()


def deploy(client):
    client.create_concurrency_limit(training_limit(), 1)
    wait_until(lambda: any(pool.name == WORK_POOL for pool in client.read_work_pools()))
    flow_id = client.create_flow_from_name("train")
    return client.create_deployment(
        flow_id=flow_id,
        name="stopping",
        entrypoint=ENTRYPOINT,
        work_pool_name=WORK_POOL,
        pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}],
        concurrency_limit=1,
    )


def painted(folder, name):
    return paint_class_folders(folder / name, {"disc": 14, "ring": 14})
