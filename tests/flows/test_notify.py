"""A run that goes wrong reaches a webhook, whose address stays a secret of Prefect's server."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
import yaml
from prefect import flow, tags
from prefect.blocks.webhook import Webhook
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed
from pydantic import ValidationError

from flows.notify import AUTOMATION_FILE, BLOCK, URL_VARIABLE, notify
from flows.predict import predict
from flows.watch_config import NotifyConfig
from tasks.errors import EnvironmentFailed, RequestError

SECRET = "T0KEN-of-the-webhook"
PATIENCE_SECONDS = 60


class Receiver(BaseHTTPRequestHandler):
    """Keeps what it is sent."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, self.headers["Content-Type"], json.loads(body)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        server.received = []
        threading.Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()


@pytest.fixture
def told(receiver, prefect, monkeypatch):
    """The receiver, told of runs that go wrong."""
    monkeypatch.setenv(URL_VARIABLE, f"http://127.0.0.1:{receiver.server_port}/hooks/{SECRET}")
    made = notify(NotifyConfig())
    assert SECRET not in made.model_dump_json()
    yield receiver
    notify(NotifyConfig(remove=True))


def received(receiver, count):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(receiver.received) < count and time.monotonic() < deadline:
        time.sleep(0.1)
    return receiver.received


@flow(name="train")
def rejected():
    return Completed(name="Rejected", message='macro-F1 0.2 is below 0.8, "cut" too\nand more')


@flow(name="train")
def staged():
    return Completed(name="Staged", message="shapes version 1")


def test_runs_that_go_wrong_are_told_with_name_reason_and_link(told, prefect, tmp_path, monkeypatch):
    monkeypatch.setenv("KEENEYE_HOME", str(tmp_path / "home"))
    with tags("keeneye"):
        staged()
        with pytest.raises(RequestError):
            predict(model="models:/none@staging")
    (path, content_type, body) = received(told, 1)[0]
    assert (path, content_type) == (f"/hooks/{SECRET}", "application/json")
    assert (body["flow"], body["state"]) == ("predict", "Failed")
    assert "the registry has no model models:/none@staging" in body["message"]
    ui, _, run_id = body["link"].partition("/runs/flow-run/")
    assert ui == prefect.removesuffix("/api")
    assert httpx.get(f"{prefect}/flow_runs/{run_id}").raise_for_status().json()["name"] == body["run"]
    for word in ("predict", "Failed", body["message"], body["link"]):
        assert word in body["text"]

    with tags("keeneye"):
        rejected(return_state=True)
    (_, _, body) = received(told, 2)[1]
    assert (body["flow"], body["state"]) == ("train", "Rejected")
    assert body["message"] == 'macro-F1 0.2 is below 0.8, "cut" too\nand more'


def test_other_flows_of_the_server_are_not_told(told):
    rejected(return_state=True)
    with tags("keeneye"):
        rejected(return_state=True)
    assert len(received(told, 1)) == 1
    time.sleep(0.5)  # what came first would have come by now
    assert len(told.received) == 1


def test_address_is_renewed_and_shown_to_nobody(told, prefect, monkeypatch):
    notify(NotifyConfig())
    for filtered, content in (("automations", {}), ("block_documents", {}), ("events", {})):
        said = httpx.post(f"{prefect}/{filtered}/filter", json=content).raise_for_status().text
        assert SECRET not in said
    names = [one["name"] for one in httpx.post(f"{prefect}/automations/filter", json={}).json()]
    assert names.count("Keeneye tells of runs that went wrong") == 1
    monkeypatch.setenv(URL_VARIABLE, "https://other.example/hook")
    notify(NotifyConfig())
    assert Webhook.load(BLOCK).url.get_secret_value() == "https://other.example/hook"


def test_notification_that_cannot_be_made_leaves_the_earlier_one(told, prefect, tmp_path, monkeypatch):
    broken = yaml.safe_load(AUTOMATION_FILE.read_text()) | {"trigger": {"type": "nobody knows it"}}
    (tmp_path / "notifications.yaml").write_text(yaml.safe_dump(broken))
    monkeypatch.setattr("flows.notify.AUTOMATION_FILE", tmp_path / "notifications.yaml")
    with pytest.raises(ValidationError):
        notify(NotifyConfig())
    names = [one["name"] for one in httpx.post(f"{prefect}/automations/filter", json={}).json()]
    assert names.count(broken["name"]) == 1


def test_removed_notification_leaves_nothing(told, prefect):
    assert notify(NotifyConfig(remove=True)).status == "removed"
    assert notify(NotifyConfig(remove=True)).status == "removed"
    assert "went wrong" not in httpx.post(f"{prefect}/automations/filter", json={}).text
    assert BLOCK not in httpx.post(f"{prefect}/block_documents/filter", json={}).text


@pytest.mark.parametrize(
    ("address", "words"),
    [
        pytest.param("", "is not set", id="none"),
        pytest.param(f"ftp://{SECRET}", "no http", id="no web address"),
        pytest.param(SECRET, "no http", id="no address"),
    ],
)
def test_wrong_address_is_refused_without_being_told(prefect, monkeypatch, address, words):
    monkeypatch.setenv(URL_VARIABLE, address)
    with pytest.raises(RequestError, match=words) as refused:
        notify(NotifyConfig())
    assert SECRET not in refused.value.message


def test_server_that_does_not_answer_is_named(prefect, monkeypatch):
    monkeypatch.setenv(URL_VARIABLE, f"https://{SECRET}.example")
    address = "http://127.0.0.1:9/api"
    with temporary_settings({PREFECT_API_URL: address}), pytest.raises(EnvironmentFailed, match=address) as failed:
        notify(NotifyConfig())
    assert SECRET not in failed.value.message
