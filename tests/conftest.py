"""What many tests share: one Prefect server for the session, and homes that already hold the exported backbone."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_LOGGING_TO_API_ENABLED,
    temporary_settings,
)

from tasks.stores.home import DATABASE_VARIABLE
from tasks.train.backbone import backbone_path
from tests.homes import home_at, new_home
from tests.object_store import running_object_store, set_environment

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each core has a worker already. Read by OpenMP when torch is loaded, here and in processes that tests start.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same commit has the same verdict each time; `HYPOTHESIS_PROFILE=default` looks for examples not yet seen.
hypothesis.settings.register_profile("repeatable", derandomize=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

ROOT = Path(__file__).resolve().parents[1]
TRANSISTORS = ROOT.parent / "shared" / "data" / "mvtec_transistor"
INPUT_SIZE = 64
QUICK = {"input_size": INPUT_SIZE, "algorithm": "logistic", "features": ["embedding"], "views": False}
"""Training of a classifier where the choice of one is not what is tested."""
QUICK_OPTIONS = (
    *("--training.input_size", str(INPUT_SIZE), "--training.algorithm", "logistic"),
    *("--training.features", '["embedding"]', "--no-training.views"),
)
SERVER_START_SECONDS = 180
MLFLOW_ADDRESSES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(autouse=True)
def addresses_as_before():
    """MLflow's own functions leave addresses in the environment, where the next test and its processes find them."""
    before = {name: os.environ.get(name) for name in MLFLOW_ADDRESSES}
    yield
    for name, address in before.items():
        os.environ.pop(name, None)
        if address is not None:
            os.environ[name] = address


@pytest.fixture(scope="session")
def prefect_url(tmp_path_factory):
    """A real Prefect server of this session; yields its API address."""
    folder = tmp_path_factory.mktemp("prefect")
    port = free_port()
    environment = {**os.environ, "PREFECT_HOME": str(folder), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=folder)
    try:
        url = f"http://127.0.0.1:{port}/api"
        wait_for(f"{url}/health", server, folder / "server.log")
        yield url
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def wait_for(url, process, log):
    deadline = time.monotonic() + SERVER_START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(log.read_text())


def call_prefect(url, method, path, body=None):
    """Call the API of a Prefect server, patiently: a busy one answers 503 for a moment. Returns the answer's JSON."""
    with SyncPrefectClient(url) as client:
        answer = client.request(method, path, json=body).raise_for_status()
    return answer.json() if answer.content else None


@contextlib.contextmanager
def reporting_to(prefect_url):
    """Let flows report to a server; without heartbeats, which cost a second per flow."""
    settings = {
        PREFECT_API_URL: prefect_url,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        PREFECT_LOGGING_TO_API_ENABLED: False,
    }
    with temporary_settings(settings):
        yield


@pytest.fixture
def prefect(prefect_url):
    """Flows of this test report to the session's server."""
    with reporting_to(prefect_url):
        yield prefect_url


@pytest.fixture(scope="session")
def exported_home(tmp_path_factory):
    """A home whose store holds the backbone for small inputs; its export takes long and is made once."""
    home = new_home(tmp_path_factory.mktemp("exported") / "home")
    backbone_path(home.store, INPUT_SIZE)
    return home


@pytest.fixture(scope="session")
def object_store(tmp_path_factory):
    """A real object store of this session."""
    with running_object_store(tmp_path_factory.mktemp("weed")) as running:
        yield running


@pytest.fixture
def in_object_store(object_store, monkeypatch):
    """The session's object store, which this process's environment names."""
    set_environment(monkeypatch, object_store.environment)
    return object_store


@dataclass(frozen=True)
class Command:
    """`keeneye` as a process in a folder of its own."""

    folder: Path
    environment: dict

    @property
    def home(self):
        return home_at(self.folder / "home")

    def start(self, *arguments, program=("-m", "flows"), name="run"):
        """Start a process in a session of its own, so that it can be killed with all it started."""
        out, err = self.folder / f"{name}.out", self.folder / f"{name}.err"
        with out.open("w") as stdout, err.open("w") as stderr:
            return subprocess.Popen(
                [sys.executable, *program, *arguments],
                cwd=self.folder,
                env=self.environment,
                stdout=stdout,
                stderr=stderr,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def run(self, *arguments, program=("-m", "flows"), name="run", timeout=300):
        """Run to the end; returns exit code, stdout and stderr."""
        process = self.start(*arguments, program=program, name=name)
        try:
            code = process.wait(timeout)
        finally:
            reap(process)
        return code, (self.folder / f"{name}.out").read_text(), (self.folder / f"{name}.err").read_text()


def reap(process):
    """End whatever a killed process left running."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def keeneye(tmp_path, prefect_url, exported_home):
    """The command, with a fresh home that holds the exported backbone and the session's Prefect server."""
    return make_command(tmp_path, prefect_url, exported_home)


def make_command(folder, prefect_url, exported_home):
    """Return the command with a home below `folder`; what this process has of MLflow and databases is not its own."""
    root = folder / "home"
    shutil.copytree(exported_home.root, root)
    environment = {**os.environ, "KEENEYE_HOME": str(root), "PREFECT_API_URL": prefect_url}
    for name in (*MLFLOW_ADDRESSES, DATABASE_VARIABLE):
        environment.pop(name, None)
    return Command(folder, environment)
