"""`keeneye serve` from its start to its end, as a process."""

import base64
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from botocore.exceptions import ClientError

from deployments.endpoint.server import REGISTRY_PATIENCE, _database, serve
from flows.__main__ import parse
from flows.serve_config import ServeConfig
from tasks.errors import EnvironmentFailed, RequestError
from tasks.stores.home import Home
from tests.deployments.endpoint.served import (
    KEY_ID,
    PICTURE,
    SECRET,
    environment_of,
    serving,
    write_keys,
)
from tests.deployments.endpoint.test_app import rekognition

PREDICT = "/v1/models/colours@staging:predict"


@pytest.fixture
def nothing_given(monkeypatch, tmp_path):
    for name in ("KEYS_FILE", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "KEY_PROJECTS"):
        monkeypatch.delenv(f"KEENEYE_{name}", raising=False)
    monkeypatch.setenv("KEENEYE_HOME", str(tmp_path / "home"))
    for name, value in REGISTRY_PATIENCE.items():  # which `serve` would leave behind
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--no-auth", "--host", "0.0.0.0"], ["no_auth", "0.0.0.0", "127.0.0.1"], id="no keys, everywhere"),
        pytest.param(["--no-auth", "--host", "192.168.0.7"], ["no_auth", "192.168.0.7"], id="no keys, a network"),
        pytest.param(["--no-auth", "--host", "example.org"], ["no_auth", "example.org"], id="no keys, a name"),
        pytest.param(["--no-auth", "--keys", "k"], ["contradict"], id="both"),
        pytest.param(["--port", "70000"], ["port", "65535"], id="no port"),
        pytest.param(["--account", "12"], ["account", "pattern"], id="no account"),
        pytest.param(["--max-pending", "0"], ["max_pending"], id="no place"),
        pytest.param(["--max-body-megabytes", "15"], ["max_body_megabytes 15 holds no", "15.1"], id="no room"),
        pytest.param(["--max-body-megabytes", "8"], ["max_body_megabytes", "9"], id="no room for a call"),
        pytest.param(["--max-pendign", "1"], ["did you mean --max_pending"], id="misspelt"),
    ],
)
def test_wrong_request_is_one_sentence(arguments, words):
    with pytest.raises(RequestError) as refused:
        parse(["serve", *arguments])
    assert "\n" not in refused.value.message
    for word in words:
        assert word in refused.value.message


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--no-auth", "--max-pending", "7"], id="hyphens"),
        pytest.param(["--no_auth", "--max_pending=7"], id="underscores"),
    ],
)
def test_options_are_spelt_either_way(arguments):
    _, config = parse(["serve", *arguments])
    assert (config.no_auth, config.max_pending, config.host) == (True, 7, "127.0.0.1")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_may_do_without_keys(host):
    assert ServeConfig(host=host, no_auth=True).is_loopback


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        pytest.param({}, RequestError, ["no keys", "--keys", "--no-auth"], id="no keys"),
        pytest.param({"host": "0.0.0.0"}, RequestError, ["no keys", "--keys"], id="no keys, everywhere"),
        pytest.param({"keys": "/no/such"}, RequestError, ["/no/such"], id="no keys file"),
        pytest.param(
            {"no_auth": True, "host": "127.0.0.1", "port": 0, "database": "mysql://x"},
            RequestError,
            ["mysql"],
            id="database",
        ),
    ],
)
def test_what_cannot_be_served_is_one_sentence(nothing_given, fields, error, words):
    with pytest.raises(error) as refused:
        serve(ServeConfig(**fields))
    for word in words:
        assert word in refused.value.message
    assert ("--no-auth" in refused.value.message) <= ("host" not in fields)


def test_taken_port_may_be_free_later(nothing_given):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentFailed, match=f"port {port}.*in use"):
            serve(ServeConfig(no_auth=True, port=port))


def test_address_of_another_machine_is_refused(nothing_given, tmp_path):
    with pytest.raises((RequestError, EnvironmentFailed), match=r"192\.0\.2\.1"):
        serve(ServeConfig(host="192.0.2.1", port=0, keys=str(write_keys(tmp_path))))


def test_unknown_command_is_called_so():
    with pytest.raises(RequestError, match="there is no command 'srve', did you mean serve"):
        parse(["srve"])


@pytest.mark.parametrize(
    ("given", "named", "used"),
    [
        pytest.param("", "", "sqlite:////home/keeneye.db", id="home"),
        pytest.param("", "sqlite:///a", "sqlite:///a", id="environment"),
        pytest.param("sqlite:///b", "sqlite:///a", "sqlite:///b", id="option"),
    ],
)
def test_database(monkeypatch, given, named, used):
    monkeypatch.setenv("KEENEYE_DATABASE", named)
    assert _database(ServeConfig(database=given), Home(Path("/home"), "", "")) == used


def test_answers_are_sent_at_once(open_endpoint):
    with open_endpoint.client(auth=None) as client:
        client.get("/healthz")
        # Of five rounds the quickest: head and body that wait for each other take 40 ms a request in all of them.
        assert min(twenty_answers(client) for _ in range(5)) < 20 * 0.04 / 2


def twenty_answers(client):
    started = time.monotonic()
    for _ in range(20):
        client.get("/healthz").raise_for_status()
    return time.monotonic() - started


@contextmanager
def tracking_server():
    """Run a tracking server without models, until it falls silent; yields its address and what silences it."""
    silent, over = threading.Event(), threading.Event()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            if silent.is_set():
                over.wait(60)
                return
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_POST = do_GET  # noqa: N815 - as its base wants it

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", silent.set
        finally:
            over.set()
            server.shutdown()


def test_stop_waits_for_no_silent_registry(served_home, tmp_path):
    with tracking_server() as (address, silence):
        environment = {"MLFLOW_TRACKING_URI": address, "MLFLOW_HTTP_REQUEST_TIMEOUT": "60"}
        with serving(served_home, tmp_path, "--no-auth", environment=environment) as endpoint:
            silence()
            with endpoint.client(auth=None) as client:
                assert client.get("/readyz").status_code == 503
            began = time.monotonic()
            assert endpoint.stop() == 0
            assert time.monotonic() - began < 30
    assert json.loads((tmp_path / "serve.out").read_text())["status"] == "stopped"


def test_key_has_a_share(served_home, tmp_path):
    path = tmp_path / "keys.yaml"
    keys = [
        {"access_key_id": one, "secret_access_key": SECRET, "projects": ["*"]} | share
        for one, share in (("SHARED", {"max_pending": 1}), ("FREE", {}))
    ]
    path.write_text(json.dumps(keys))
    path.chmod(0o600)
    with serving(served_home, tmp_path, "--keys", str(path)) as endpoint:
        host, port = endpoint.address.removeprefix("http://").split(":")
        basic = base64.b64encode(f"SHARED:{SECRET}".encode()).decode()
        with socket.create_connection((host, int(port)), timeout=20) as slow:
            slow.sendall(
                f"POST {PREDICT} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Basic {basic}\r\n"
                f"Content-Length: {len(PICTURE)}\r\n\r\n".encode()
            )
            with endpoint.client(auth=("SHARED", SECRET)) as shared, endpoint.client(auth=("FREE", SECRET)) as free:
                refused = wait_for_status(endpoint, 429, ("SHARED", SECRET))
                assert (refused.headers["retry-after"], "this key has 1" in refused.text) == ("1", True)
                assert free.post(PREDICT, content=PICTURE).status_code == 200
                with pytest.raises(ClientError) as limited:
                    rekognition(endpoint, "SHARED").describe_projects()
                assert limited.value.response["Error"]["Code"] == "LimitExceededException"
                assert limited.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
                rekognition(endpoint, "FREE").describe_projects()
                slow.sendall(PICTURE)
                assert slow.recv(4096).startswith(b"HTTP/1.1 200")
                assert shared.post(PREDICT, content=PICTURE).status_code == 200


def test_request_loads_no_heavy_library():
    code = (
        "import sys\nfrom flows.__main__ import parse\nparse(['serve', '--no-auth'])\n"
        "print(sorted({'prefect', 'mlflow', 'fastapi', 'sqlalchemy', 'onnxruntime'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.stdout.strip() == "[]", ended.stderr


def test_overload_is_told_and_a_stop_finishes_what_was_begun(served_home, tmp_path):
    with serving(served_home, tmp_path, "--no-auth", "--max-pending", "1") as endpoint:
        assert re.search(r"2 models: colours \(staging -> 1\), dents \(production -> 1\)", endpoint.log())
        host, port = endpoint.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as slow:
            slow.sendall(
                f"POST {PREDICT} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(PICTURE)}\r\n\r\n".encode()
                + PICTURE[:50]
            )
            refused = wait_for_status(endpoint, 429)
            assert refused.headers["retry-after"] == "1"
            call = httpx.post(endpoint.address, content=b"{}", trust_env=False)
            assert call.json()["__type"] == "ProvisionedThroughputExceededException"
            endpoint.process.send_signal(signal.SIGTERM)
            wait_until_refused(host, int(port))
            slow.sendall(PICTURE[50:])
            assert slow.recv(4096).startswith(b"HTTP/1.1 200")
        assert endpoint.process.wait(20) == 0
    told = json.loads((tmp_path / "serve.out").read_text())
    assert told["status"] == "stopped"
    assert told["address"] == endpoint.address
    assert told["requests"] >= 3
    assert "Traceback" not in endpoint.log()


def wait_for_status(endpoint, status, auth=None):
    for _ in range(200):
        answer = httpx.post(endpoint.address + PREDICT, content=PICTURE, auth=auth, trust_env=False)
        if answer.status_code == status:
            return answer
    raise AssertionError(f"never {status}")


def wait_until_refused(host, port):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, port), timeout=5).close()
        except OSError:
            return
        time.sleep(0.01)
    raise AssertionError("still accepts connections")


def test_states_outlive_the_process(served_home, tmp_path):
    options = ("--keys", str(write_keys(tmp_path)), "--database", f"sqlite:///{tmp_path / 'own.db'}")
    with serving(served_home, tmp_path, *options, name="first") as endpoint:
        client = rekognition(endpoint)
        (project,) = client.describe_projects(ProjectNames=["dents"])["ProjectDescriptions"]
        version = client.describe_project_versions(ProjectArn=project["ProjectArn"])["ProjectVersionDescriptions"][0]
        assert version["Status"] == "TRAINING_COMPLETED"
        client.start_project_version(ProjectVersionArn=version["ProjectVersionArn"], MinInferenceUnits=1)
        client.get_waiter("project_version_running").wait(
            ProjectArn=project["ProjectArn"], VersionNames=["2"], WaiterConfig={"Delay": 1, "MaxAttempts": 30}
        )
        assert endpoint.stop(signal.SIGINT) == 0
    with serving(served_home, tmp_path, *options, name="second") as endpoint, endpoint.client() as client:
        answer = client.post("/v1/models/dents@2:predict", content=PICTURE)
        assert (answer.status_code, answer.json()["version"]) == (200, "2")
        states = {one["version"]: one["state"] for one in client.get("/v1/models/dents").json()["versions"]}
        assert states == {"2": "RUNNING", "1": "NOT_STARTED"}


def test_command_without_keys_ends_with_2(served_home, tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "flows", "serve", "--port", "0"],
        env=environment_of(served_home),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert "--keys" in ended.stderr


def test_key_of_the_environment_is_enough(served_home, nothing_given, monkeypatch, tmp_path):
    from deployments.endpoint.server import _keys

    monkeypatch.setenv("KEENEYE_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("KEENEYE_SECRET_ACCESS_KEY", SECRET)
    assert len(_keys(ServeConfig())) == 1
