"""`keeneye up`, as the process that it is."""

import base64
import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import termios
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import boto3
import httpx
import psutil
import psycopg
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from deployments.site.databases import make_databases
from tasks.errors import EnvironmentFailed
from tests.conftest import QUICK_OPTIONS
from tests.deployments.site.running import KEENEYE, Site, free_site, options, start, wait_until
from tests.makers import paint_class_folders

pytestmark = pytest.mark.site


@pytest.fixture(scope="module")
def site(folder):
    ports = free_site()
    command = [KEENEYE, "up", "--data", str(folder / "data"), "--start_seconds", "400", *options(ports)]
    process = start(folder, "up", command)
    told = (folder / "up.err").read_text
    try:
        wait_until(lambda: "all services answer" in told(), process, told)
        yield Site(process, folder / "data", ports)
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(120)
        process.kill()


def status_of(url, body=None):
    request = urllib.request.Request(url, data=body, headers={"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_strangers_are_refused(site):
    assert status_of(site.address("prefect", "/api/flows/filter"), b"{}") == 401
    assert status_of(site.address("mlflow", "/api/2.0/mlflow/experiments/search?max_results=1")) == 401
    assert status_of(site.address("endpoint", "/v1/models")) == 401
    master, volumes, files = (f"http://127.0.0.1:{site.ports['object_store_first'] + part}" for part in (0, 2, 4))
    assert status_of(f"{master}/dir/assign") == 404
    assert status_of(f"{volumes}/ui/index.html") == 401
    assert status_of(f"{files}/buckets/keeneye/") == 404
    anonymous = boto3.client("s3", endpoint_url=site.address("object_store"), config=Config(signature_version=UNSIGNED))
    with pytest.raises(ClientError, match=r"AccessDenied|Forbidden"):
        anonymous.list_objects_v2(Bucket="keeneye")
    address = f"postgresql://keeneye@127.0.0.1:{site.ports['postgresql']}/keeneye"
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(address, password="guessed")
    with pytest.raises(EnvironmentFailed, match=r"authentication failed.*KEENEYE_SITE_PGPASSWORD"):
        make_databases(address, "guessed")


def test_changed_password_counts_at_once(site):
    """Though MLflow remembers for minutes which passwords were right."""
    environment = site.environment
    administrator = environment["MLFLOW_TRACKING_USERNAME"], environment["MLFLOW_TRACKING_PASSWORD"]
    users = site.address("mlflow", "/api/2.0/mlflow/users")
    first, second = "the first password", "the second password"
    body = {"username": "temporary", "password": first}
    httpx.post(f"{users}/create", json=body, auth=administrator).raise_for_status()

    def status_with(password):
        search = site.address("mlflow", "/api/2.0/mlflow/experiments/search?max_results=1")
        return httpx.get(search, auth=("temporary", password)).status_code

    assert [status_with(first), status_with(second)] == [200, 401]
    body = {"username": "temporary", "password": second}
    httpx.patch(f"{users}/update-password", json=body, auth=administrator).raise_for_status()
    assert [status_with(first), status_with(second)] == [401, 200]
    httpx.request("DELETE", f"{users}/delete", json={"username": "temporary"}, auth=administrator).raise_for_status()
    assert status_with(second) == 401


def test_strangers_give_the_store_no_orders(site):
    """By gRPC, as its own parts would: it listens where S3 does, and may not even be asked."""
    place = "127.0.0.1", site.ports["object_store_first"] + 6
    client = ssl.create_default_context()
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(place, 20) as plain,
        client.wrap_socket(plain) as encrypted,
        pytest.raises(ssl.SSLError, match="certificate required"),
    ):
        encrypted.recv(1)
    with socket.create_connection(place, 20) as plain:
        plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert plain.recv(1) == b""


def test_nothing_listens_beyond_this_machine(site):
    listening = [
        one.laddr.ip
        for process in site.processes
        for one in process.net_connections(kind="inet")
        if one.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= len(site.ports)
    assert set(listening) <= {"127.0.0.1", "::1"}


def test_secrets_stand_where_only_their_owner_reads_them(site):
    for process in site.processes:
        assert not [value for value in site.secrets.values() if value in " ".join(process.cmdline())]
    holding = set()
    for path in site.data.rglob("*"):
        if path.is_file() and not path.is_relative_to(site.data / "postgresql"):
            content = path.read_bytes()
            if any(value.encode() in content for value in site.secrets.values()):
                holding.add((path.relative_to(site.data).as_posix(), path.stat().st_mode & 0o077))
    assert holding == {("secrets.env", 0), ("environment", 0), ("object-store/s3.json", 0)}


def test_no_other_user_reads_the_data(site):
    # The store opens notes on its volumes to everybody, whatever the umask: it is their folder that lets nobody in.
    entries = list(site.data.iterdir())
    assert site.data / "object-store" in entries
    assert not [path for path in entries if path.stat().st_mode & 0o077]


def test_training_uses_the_whole_site(site, folder, exported_home):
    shutil.copytree(exported_home.root, site.data / "home", dirs_exist_ok=True)
    source = paint_class_folders(folder / "shapes", {"disc": 14, "ring": 14})
    store = boto3.client(
        "s3",
        endpoint_url=site.address("object_store"),
        aws_access_key_id="keeneye",
        aws_secret_access_key=site.secrets["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    )
    for path in source.rglob("*.png"):
        store.put_object(Bucket="keeneye", Key=f"images/{path.relative_to(folder)}", Body=path.read_bytes())
    gate = ("--gate.min_macro_f1", "0", "--gate.min_label_recall", "0", "--gate.max_latency_ms", "60000")
    command = [KEENEYE, "train", "--data.source", "s3://keeneye/images/shapes", "--evaluation.folds", "2"]
    done = subprocess.run(
        [*command, *QUICK_OPTIONS, *gate], env=site.environment, cwd=folder, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "staged"
    kept = [one["Key"] for one in store.list_objects_v2(Bucket="keeneye", Prefix="mlflow/")["Contents"]]
    assert [key for key in kept if key.endswith("bundle/model.json")]
    with psycopg.connect(
        f"postgresql://keeneye@127.0.0.1:{site.ports['postgresql']}/keeneye", password=site.secrets["PGPASSWORD"]
    ) as ledger:
        assert ledger.execute("SELECT count(*) FROM keeneye_ledger").fetchone()[0] >= 1
    assert len(done.stdout.splitlines()) == 1
    told = done.stdout + done.stderr
    assert not [value for value in site.secrets.values() if value in told]
    test_secrets_stand_where_only_their_owner_reads_them(site)


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        ("ingest", ["get images", "list images", "put answers"], ["put images", "put mlflow"]),
        ("train", ["put mlflow", "list mlflow"], ["get images", "put answers"]),
        ("serve", ["get images"], ["list images", "put answers", "put mlflow"]),
    ],
)
def test_roles_of_the_store_may_do_what_they_need_and_no_more(site, role, may, may_not):
    def client(name, secret):
        address = site.address("object_store")
        return boto3.client(
            "s3",
            endpoint_url=address,
            aws_access_key_id=name,
            aws_secret_access_key=site.secrets[secret],
            region_name="x",
        )

    for place in ("images", "answers", "mlflow"):
        client("keeneye", "AWS_SECRET_ACCESS_KEY").put_object(Bucket="keeneye", Key=f"{place}/kept", Body=b"1")
    own = client(role, f"KEENEYE_STORE_{role.upper()}_SECRET")
    calls = {
        "get": lambda place: own.get_object(Bucket="keeneye", Key=f"{place}/kept"),
        "put": lambda place: own.put_object(Bucket="keeneye", Key=f"{place}/new", Body=b"1"),
        "list": lambda place: own.list_objects_v2(Bucket="keeneye", Prefix=f"{place}/"),
    }
    for what, place in map(str.split, may):
        calls[what](place)
    for what, place in map(str.split, may_not):
        with pytest.raises(ClientError, match="AccessDenied"):
            calls[what](place)


def test_provisioned_once_and_its_users_may_not_do_everything(site, folder):
    def provision(*options, **changed):
        command = [KEENEYE, "provision", "--models", "bolts", "--datasets", "line7", *options]
        environment = site.environment | changed
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stderr
        assert not [value for value in site.secrets.values() if value in done.stdout + done.stderr]
        return {(part["kind"], part["name"]): part["outcome"] for part in json.loads(done.stdout)["parts"]}

    def create_run(user, password):
        client = AuthenticatedClient(site.address("mlflow"), user, password)
        experiment = client.call("GET", "experiments/get-by-name?experiment_name=keeneye/line7")["experiment"]
        return client.call("POST", "runs/create", {"experiment_id": experiment["experiment_id"]})

    planned, made, again = provision("--plan"), provision(), provision()
    users = {("MLflow user", "train"), ("MLflow user", "serve")}
    there = {("bucket", "keeneye"), ("work pool", "keeneye"), *users}
    assert {place for place, outcome in planned.items() if outcome == "unchanged"} == there
    assert {outcome for place, outcome in made.items() if place not in there} == {"made"}
    assert set(again.values()) == {"unchanged"}
    assert create_run("train", site.secrets["KEENEYE_TRAIN_PASSWORD"])["run"]
    with pytest.raises(urllib.error.HTTPError, match="403"):
        create_run("serve", site.secrets["KEENEYE_SERVE_PASSWORD"])

    widen_permissions(site, "keeneye-train")
    changed = provision(KEENEYE_SERVE_PASSWORD="another password")
    assert {place for place, outcome in changed.items() if outcome == "made"} == users
    another = AuthenticatedClient(site.address("mlflow"), "serve", "another password")
    assert another.call("GET", "users/current")["user"]["username"] == "serve"
    restored = provision()
    assert {place for place, outcome in restored.items() if outcome == "made"} == {("MLflow user", "serve")}


def widen_permissions(site, role):
    """Let a role also manage one of the experiments, as somebody might by hand."""
    user, password = (site.environment[name] for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"))
    client = AuthenticatedClient(site.address("mlflow"), user, password)
    (own,) = (
        one for one in client.call("GET", "roles/list?workspace=default", api="3.0")["roles"] if one["name"] == role
    )
    grant = {"resource_type": "experiment", "resource_pattern": "0", "permission": "MANAGE"}
    client.call("POST", "roles/permissions/add", {"role_id": own["id"], **grant}, api="3.0")


@dataclass(frozen=True)
class AuthenticatedClient:
    """A client of MLflow's API that shows a password."""

    address: str
    user: str
    password: str

    def call(self, method, path, body=None, api="2.0"):
        shown = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        headers = {"authorization": f"Basic {shown}", "content-type": "application/json"}
        data = json.dumps(body).encode() if body else None
        url = f"{self.address}/api/{api}/mlflow/{path}"
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=60) as answer:
            return json.load(answer)


def test_same_site_is_not_started_twice(site, folder):
    before = (site.data / "environment").read_text()
    command = [KEENEYE, "up", "--data", str(site.data), "--only", "prefect", "--ports.prefect", "4300"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert "runs already; stop that first, or name another folder as --data" in done.stderr
    assert (site.data / "environment").read_text() == before


def test_service_that_dies_comes_back(site, folder):
    told = (folder / "up.err").read_text
    before = told().count("postgresql answers")
    server = next(one for one in site.processes if Path(one.name()).name == "postgres" and "-D" in one.cmdline())
    server.kill()
    wait_until(lambda: told().count("postgresql answers") > before, site.process, told)
    assert "postgresql ended by itself" in told()


def test_sigterm_ends_all_in_order(site, folder):
    processes = site.processes
    site.process.send_signal(signal.SIGTERM)
    assert site.process.wait(120) == 0
    assert not [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    told = [line for line in (folder / "up.err").read_text().splitlines() if line.endswith(" ended")]
    names = ["endpoint", "worker", "mlflow", "prefect", "object-store", "postgresql"]
    assert told == [f"keeneye: {name} ended" for name in names]
    assert json.loads((folder / "up.out").read_text())["status"] == "stopped"


def test_end_of_the_terminal_ends_all(folder):
    """A terminal that closes sends SIGHUP to what it started, and takes no more words."""
    ours, theirs = os.openpty()
    ports = free_site()

    def in_the_terminal():
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # what is under nohup has its children ignore it
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [KEENEYE, "up", "--data", str(folder / "closed"), "--only", "object-store", *options(ports)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "KEENEYE_HOME": str(folder / "home")},
        start_new_session=True,
        preexec_fn=in_the_terminal,
    )
    os.close(theirs)
    told = b""
    while b"all services answer" not in told:
        told += os.read(ours, 4096)
    services = psutil.Process(process.pid).children(recursive=True)
    os.close(ours)
    process.wait(60)
    assert services
    assert not [one for one in services if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
