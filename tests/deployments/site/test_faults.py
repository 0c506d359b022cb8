"""What goes wrong on a site while a training runs: it goes on, nothing is made twice, and nothing is left RUNNING."""

import json
import os
import shutil
import signal
import subprocess

import httpx
import pytest

from flows.provision_config import training_limit
from flows.run_processes import run_processes
from tasks.stores.content import MARKER_NAME
from tests.conftest import QUICK_OPTIONS, ROOT
from tests.deployments.site.faulty_site import GATE, PLANTED, painted, running_site
from tests.deployments.site.running import KEENEYE

pytestmark = [pytest.mark.site, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def faulty(folder, exported_home):
    with running_site(folder, exported_home) as site:
        yield site


KILLED_AT = ("publishing-ingest", "publishing-train", "version-made", "setting-alias")
"""In the ingest, the training, the registration, the staging: the stage is nearly done, and nobody was told."""


def test_worker_that_is_killed_with_its_run_goes_on_with_it(faulty, folder):
    run_id = faulty.submit(1, str(painted(folder, "killed")), *KILLED_AT)
    made = {}
    for moment in KILLED_AT:
        faulty.await_moment(moment, run_id)
        assert made.items() <= faulty.finished_entries().items()
        made = faulty.finished_entries()
        faulty.kill("worker")
        for process_id in run_processes(faulty.site.data / "home").values():
            os.killpg(process_id, signal.SIGKILL)
        faulty.let_go(moment)
    run = faulty.finish(run_id)
    assert made.items() <= faulty.finished_entries().items()
    assert run.run_count == len(KILLED_AT) + 1
    assert [one.version for one in faulty.versions("killed-classification")] == ["1"]
    (tracked,) = faulty.mlflow_runs("killed")
    assert tracked.info.status == "FINISHED"
    assert faulty.running() == []
    assert not list((faulty.site.data / "home" / "store" / "unfinished").iterdir())
    assert not faulty.client.read_concurrency_limit_by_tag(training_limit()).active_slots


def test_run_goes_on_when_the_object_store_was_gone(faulty, folder):
    seed, moment, service, name = 4, "before-register", "object-store", "gone"
    run_id = faulty.submit(seed, faulty.put_images(painted(folder, name)), moment)
    faulty.await_moment(moment, run_id)
    before = faulty.times_started(service)
    faulty.kill(service)
    faulty.let_go(moment)
    run = faulty.finish(run_id)
    assert run.run_count == 1
    assert faulty.times_started(service) == before + 1
    assert [one.version for one in faulty.versions(f"{name}-classification")] == ["1"]
    assert [one.info.status for one in faulty.mlflow_runs(name)] == ["FINISHED"]


def command(source, seed):
    gate = [f"--gate.{name}={value}" for name, value in GATE.items()]
    return ["train", "--data.source", str(source), f"--training.seed={seed}", *QUICK_OPTIONS, *gate]


def run_command(faulty, *words, **changed):
    environment = {**faulty.site.environment, **changed}
    return subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=500)


@pytest.fixture
def small_disk(folder):
    place = folder / "disk"
    place.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "keeneye", place], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_full_disk_is_said_and_the_run_goes_on_after_it(faulty, folder, exported_home, small_disk):
    home = small_disk / "home"
    shutil.copytree(exported_home.root, home)
    source = painted(folder, "full")
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free))

    full = run_command(faulty, KEENEYE, *command(source, 10), KEENEYE_HOME=str(home))

    assert full.returncode == 3, full.stderr
    (last,) = [line for line in full.stderr.splitlines() if line.startswith("keeneye: ")]
    assert "no space is left" in last
    assert json.loads(full.stdout)["message"] in last
    for marker in home.glob(f"store/entries/*/*/{MARKER_NAME}"):
        sizes = json.loads(marker.read_text())
        assert all((marker.parent / name).stat().st_size == size for name, size in sizes.items())
    filler.unlink()
    done = run_command(faulty, KEENEYE, *command(source, 10), KEENEYE_HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert faulty.running() == []
    assert [one.version for one in faulty.versions("full-classification")] == ["1"]


def test_worker_and_endpoint_are_no_administrators_of_mlflow(faulty):
    for role in ("train", "serve"):
        login = (role, PLANTED[f"KEENEYE_{role.upper()}_PASSWORD"])
        own = httpx.get(faulty.site.address("mlflow", "/api/2.0/mlflow/users/current"), auth=login)
        assert own.json()["user"]["is_admin"] is False
    for name in ("mlflow", "endpoint"):
        path = {"mlflow": "/api/2.0/mlflow/users/current", "endpoint": "/v1/models"}[name]
        assert httpx.get(faulty.site.address(name, path), auth=("train", "guessed")).status_code == 401
