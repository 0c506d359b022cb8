"""What goes wrong on a site while a training runs: it goes on, nothing is made twice, and nothing is left RUNNING.

And after all of that no secret is found where it does not belong.
"""

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from functools import cache

import httpx
import psycopg
import pytest

from deployments.site.databases import KEENEYE as KEENEYE_DATABASE
from deployments.site.databases import MLFLOW, MLFLOW_LOGINS, PREFECT
from flows.provision_config import training_limit
from flows.run_processes import run_processes
from tasks.stores.content import MARKER_NAME
from tests.conftest import QUICK_OPTIONS, ROOT
from tests.deployments.site.faulty_site import GATE, PLANTED, painted, running_site
from tests.deployments.site.filling_run import fill
from tests.deployments.site.running import KEENEYE

pytestmark = [pytest.mark.site, pytest.mark.timeout(1800)]

KILLED_RUN = str(ROOT / "tests" / "flows" / "killed_run.py")
FILLING_RUN = str(ROOT / "tests" / "deployments" / "site" / "filling_run.py")
WEBHOOK = "http://127.0.0.1:9/planted-webhook"


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


GONE = (
    ("before-ingest", "object-store"),
    ("publishing-train", "postgresql"),
    ("publishing-evaluate", "worker"),
    ("before-register", "mlflow"),
    ("run-made", "object-store"),
    ("before-staging", "postgresql"),
)
"""When which service is killed while a training runs, which is not."""
HELD_UP_SECONDS = 45
"""With its start, MLflow is gone for a minute."""


def test_run_goes_on_while_its_worker_and_the_services_are_gone(faulty, folder):
    before = {service: faulty.times_started(service) for _, service in GONE}
    run_id = faulty.submit(2, faulty.put_images(painted(folder, "gone")), *(moment for moment, _ in GONE))
    for moment, service in GONE:
        faulty.await_moment(moment, run_id)
        faulty.kill(service)
        if service == "worker":
            faulty.await_start("worker", before["worker"] + 1)  # nobody may take up what goes on
        faulty.let_go(moment)
        if service == "mlflow":
            faulty.hold_up("mlflow", HELD_UP_SECONDS)
    assert faulty.finish(run_id).run_count == 1
    killed = Counter(service for _, service in GONE)
    assert {service: faulty.times_started(service) for service in killed} == dict(Counter(before) + killed)
    assert [one.version for one in faulty.versions("gone-classification")] == ["1"]
    assert [one.info.status for one in faulty.mlflow_runs("gone")] == ["FINISHED"]


def command(source, seed):
    gate = [f"--gate.{name}={value}" for name, value in GATE.items()]
    return ["train", "--data.source", str(source), f"--training.seed={seed}", *QUICK_OPTIONS, *gate]


def run_command(faulty, *words, **changed):
    environment = {**faulty.site.environment, **changed}
    return subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=500)


def test_command_that_was_killed_leaves_nothing_running(faulty, folder):
    faulty.settle()
    source = painted(folder, "left")
    program = [sys.executable, KILLED_RUN, "after_creating_the_version"]
    killed = run_command(faulty, *program, *command(source, 8))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(faulty.running()) == 1
    assert [one.info.status for one in faulty.mlflow_runs("left")] == ["RUNNING"]
    done = run_command(faulty, KEENEYE, *command(source, 9))
    assert done.returncode == 0, done.stderr
    assert faulty.running() == []
    assert sorted(one.info.status for one in faulty.mlflow_runs("left")) == ["FINISHED", "KILLED"]


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
    """Full before it begins, then in the middle of training: a sentence each, and nothing that is half there."""
    home, filler = small_disk / "home", small_disk / "filler"
    shutil.copytree(exported_home.root, home)
    request = command(painted(folder, "full"), 10)
    fill(filler)
    told_full(run_command(faulty, KEENEYE, *request, KEENEYE_HOME=str(home)), home)
    filler.unlink()
    told_full(run_command(faulty, sys.executable, FILLING_RUN, str(filler), *request, KEENEYE_HOME=str(home)), home)
    assert filler.exists()
    filler.unlink()
    done = run_command(faulty, KEENEYE, *request, KEENEYE_HOME=str(home))
    assert done.returncode == 0, done.stderr
    reused = json.loads(done.stdout)["reused"]
    assert {stage: reused[stage] for stage in ("ingest", "manifest", "train")} == {
        "ingest": True,
        "manifest": True,
        "train": False,
    }
    assert faulty.running() == []
    assert [one.version for one in faulty.versions("full-classification")] == ["1"]


def told_full(full, home):
    """A command has ended because a disk was full, and has left no entry that is not whole."""
    assert full.returncode == 3, full.stderr
    (last,) = [line for line in full.stderr.splitlines() if line.startswith("keeneye: ")]
    assert "no space is left" in last
    assert json.loads(full.stdout)["message"] in last
    for marker in home.glob(f"store/entries/*/*/{MARKER_NAME}"):
        sizes = json.loads(marker.read_text())
        assert all((marker.parent / name).stat().st_size == size for name, size in sizes.items())


def test_no_secret_is_where_it_does_not_belong(faulty, folder):
    """After trainings, faults, a prediction and more: in no file, database, artifact, log or command line."""
    source = painted(folder, "asked")
    predict = ["predict", "--model", "models:/left-classification@staging", "--source", str(source)]
    # As the endpoint, which fetches models the same way.
    login = {"MLFLOW_TRACKING_USERNAME": "serve", "MLFLOW_TRACKING_PASSWORD": PLANTED["KEENEYE_SERVE_PASSWORD"]}
    told = ""
    for words, changed in (
        ((*predict, "--output", str(folder / "answers")), login),
        (("notify",), {"KEENEYE_NOTIFY_URL": WEBHOOK}),
        (("provision", "--no-deploy"), {}),
    ):
        done = run_command(faulty, KEENEYE, *words, **changed)
        assert done.returncode == 0, done.stderr
        told += done.stdout + done.stderr
    secrets = {**PLANTED, "webhook": WEBHOOK}

    assert not found_in(told, secrets)
    for process in faulty.site.processes:
        assert not found_in(" ".join(process.cmdline()), secrets)
    files = [path for path in folder.rglob("*") if path.is_file() and "postgresql" not in path.parts]
    holding = {path.relative_to(folder).as_posix() for path in files if found_in(content_of(path), secrets)}
    assert holding == {"data/environment", "data/object-store/s3.json"}
    objects = faulty.store.list_objects_v2(Bucket="keeneye", Prefix="mlflow/")["Contents"]
    assert len(objects) > 10
    for one in objects:
        body = faulty.store.get_object(Bucket="keeneye", Key=one["Key"])["Body"].read()
        assert not found_in(body, secrets), one["Key"]
    databases = {name: dict(dumped(faulty, name)) for name in (KEENEYE_DATABASE, PREFECT, MLFLOW, MLFLOW_LOGINS)}
    seen = databases[PREFECT]
    assert all(seen[table] for table in ("log", "artifact", "block_document"))
    assert str(folder / "killed").encode() in seen["flow_run"]  # else parameters would not be looked at
    for name, tables in databases.items():
        assert [table for table, rows in tables.items() if found_in(rows, secrets)] == [], name


def content_of(path):
    with contextlib.suppress(FileNotFoundError):  # services go on meanwhile
        return path.read_bytes()
    return b""


def found_in(content, secrets):
    """Names of the secrets that a text or bytes hold, as they are or as they go to a server."""
    held = content.encode() if isinstance(content, str) else content
    return [name for name, value in secrets.items() if any(form in held for form in forms(value))]


@cache
def forms(value):
    """What would give a secret away: itself, and the base64 of each login with it."""
    secret = value.removeprefix("keeneye:")
    logins = (f"{user}:{secret}".encode() for user in ("keeneye", "train", "serve"))
    return (secret.encode(), *map(base64.b64encode, logins))


def dumped(faulty, database):
    """All tables of a database with their rows as text."""
    address = f"postgresql://keeneye@127.0.0.1:{faulty.site.ports['postgresql']}/{database}"
    with psycopg.connect(address, password=PLANTED["PGPASSWORD"]) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        assert tables
        for (table,) in tables:
            with connection.cursor() as cursor, cursor.copy(f'COPY "{table}" TO STDOUT') as rows:
                yield table, b"".join(bytes(row) for row in rows)


def test_worker_and_endpoint_are_no_administrators_of_mlflow(faulty):
    for role in ("train", "serve"):
        login = (role, PLANTED[f"KEENEYE_{role.upper()}_PASSWORD"])
        own = httpx.get(faulty.site.address("mlflow", "/api/2.0/mlflow/users/current"), auth=login)
        assert own.json()["user"]["is_admin"] is False
    for name in ("mlflow", "endpoint"):
        path = {"mlflow": "/api/2.0/mlflow/users/current", "endpoint": "/v1/models"}[name]
        assert httpx.get(faulty.site.address(name, path), auth=("train", "guessed")).status_code == 401
