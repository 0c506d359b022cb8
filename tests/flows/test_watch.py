"""A watched folder and Prefect's server: what arrives starts one run, whatever is stopped or does not answer."""

import json
import os
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.arrival_events import DEPLOYMENT_LABEL, EVENT, send_arrival, was_sent
from flows.watch import Watcher, watch
from flows.watch_config import WatchConfig
from tasks.errors import EnvironmentFailed, RequestError
from tasks.ingest.arrivals import read_stamps
from tests.conftest import free_port

DEPLOYMENT = "sort/parts"
FAST = {"poll_seconds": 0.1, "quiet_seconds": 0.3}
PATIENCE_SECONDS = 60


def post(prefect_url, path, **body):
    with SyncPrefectClient(prefect_url) as client:  # it waits while a new server is busy
        return client.request("POST", f"/{path}/", json=body).raise_for_status().json()["id"]


@pytest.fixture(scope="module")
def deployment_id(prefect_url):
    """A deployment that an automation starts with the folder and the manifest of the event."""
    flow_id = post(prefect_url, "flows", name=DEPLOYMENT.partition("/")[0])
    deployment_id = post(prefect_url, "deployments", name=DEPLOYMENT.partition("/")[2], flow_id=flow_id)
    parameters = {name: f"{{{{ event.payload.{name} }}}}" for name in ("folder", "source", "images")}
    trigger = {"type": "event", "match": {DEPLOYMENT_LABEL: DEPLOYMENT}, "expect": [EVENT], "within": 0}
    action = {"type": "run-deployment", "deployment_id": deployment_id, "parameters": parameters}
    automation = {"trigger": {**trigger, "posture": "Reactive", "threshold": 1}, "actions": [action]}
    automation_id = post(prefect_url, "automations", name="sort what arrives", **automation)
    yield deployment_id
    httpx.delete(f"{prefect_url}/automations/{automation_id}").raise_for_status()
    httpx.delete(f"{prefect_url}/deployments/{deployment_id}").raise_for_status()


@pytest.fixture
def inbox(tmp_path, monkeypatch, prefect, deployment_id):
    monkeypatch.setenv("KEENEYE_HOME", str(tmp_path / "home"))
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@contextmanager
def stopped_after(condition):
    """End this process' watcher by a signal once the condition holds."""
    ended = threading.Event()

    def end():
        wait_until(lambda: ended.is_set() or (is_watching() and condition()))
        if is_watching():
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=end)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def is_watching():
    return signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)


def runs_of(prefect_url, deployment_id, folder):
    """Return the parameters of a folder's runs, the oldest first."""
    of_deployment = {"deployments": {"id": {"any_": [deployment_id]}}, "sort": "EXPECTED_START_TIME_ASC"}
    runs = httpx.post(f"{prefect_url}/flow_runs/filter", json=of_deployment).raise_for_status().json()
    return [run["parameters"] for run in runs if run["parameters"]["folder"] == str(folder)]


def sources_of(prefect_url, deployment_id, folder):
    return [run["source"] for run in runs_of(prefect_url, deployment_id, folder)]


def named_by(manifest):
    return [json.loads(line)["source-ref"] for line in Path(manifest).read_text(encoding="utf-8").splitlines()]


def watched_until(condition, folder):
    with stopped_after(condition):
        return watch(WatchConfig(folder=str(folder), deployment=DEPLOYMENT, **FAST))


def test_what_arrives_starts_one_run_and_none_after_a_restart(prefect, inbox, deployment_id, capsys):
    (inbox / "first.png").write_bytes(b"no image at all")
    (inbox / os.fsdecode(b"\xff.png")).write_bytes(b"1")

    def dropped_and_run():
        if not (inbox / "second.png").exists():
            (inbox / "second.png.part").write_bytes(b"12")
            (inbox / "second.png.part").rename(inbox / "second.png")
        return sum(run["images"] for run in runs_of(prefect, deployment_id, inbox)) == 2

    result = watched_until(dropped_and_run, inbox)
    assert (result.status, result.images, result.folder) == ("stopped", 2, str(inbox))
    runs = runs_of(prefect, deployment_id, inbox)
    assert len(runs) == result.batches
    assert sorted(name for run in runs for name in named_by(run["source"])) == ["first.png", "second.png"]
    assert "not valid UTF-8" in capsys.readouterr().err

    (inbox / "third.png").write_bytes(b"1")
    result = watched_until(lambda: len(runs_of(prefect, deployment_id, inbox)) > len(runs), inbox)
    assert (result.batches, result.images) == (1, 1)
    assert named_by(runs_of(prefect, deployment_id, inbox)[-1]["source"]) == ["third.png"]


@pytest.mark.parametrize("sent", [False, True], ids=["before it was sent", "after it was sent"])
def test_killed_watcher_sends_a_batch_once(prefect, inbox, deployment_id, sent):
    (inbox / "part.png").write_bytes(b"1")
    killed = Watcher(WatchConfig(folder=str(inbox), deployment=DEPLOYMENT), inbox)
    with killed.log.held():
        batch = killed.log.begin(read_stamps(inbox)[0])
        if sent:
            send_arrival(batch, inbox, DEPLOYMENT)
            wait_until(lambda: was_sent(batch))
        assert was_sent(batch) == sent
    (state,) = (inbox.parent / "home" / "arrivals").glob("*.json")
    result = watched_until(lambda: json.loads(state.read_text())["pending"] is None, inbox)
    assert (result.batches, result.images) == (1, 1)
    # Events are handled in their order: once the next one has its run, no second run of the first can come.
    (inbox / "next.png").write_bytes(b"1")
    watched_until(lambda: ["next.png"] in map(named_by, sources_of(prefect, deployment_id, inbox)), inbox)
    assert sources_of(prefect, deployment_id, inbox).count(batch.manifest) == 1


def test_server_that_does_not_answer_is_asked_again(prefect, inbox, deployment_id, capsys):
    (inbox / "part.png").write_bytes(b"1")
    watcher = Watcher(WatchConfig(folder=str(inbox), deployment=DEPLOYMENT, quiet_seconds=0), inbox)
    with watcher.log.held():
        with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
            watcher.look()
            watcher.look()
        assert watcher.batches == 0
        assert capsys.readouterr().err.count("does not answer") == 1
        watcher.look()
        watcher.look()
    assert watcher.batches == 1
    wait_until(lambda: runs_of(prefect, deployment_id, inbox))
    assert len(runs_of(prefect, deployment_id, inbox)) == 1


@pytest.fixture(scope="module")
def untriggered(prefect_url):
    flow_id = post(prefect_url, "flows", name="sort")
    deployment_id = post(prefect_url, "deployments", name="untriggered", flow_id=flow_id)
    yield
    httpx.delete(f"{prefect_url}/deployments/{deployment_id}").raise_for_status()


@pytest.mark.usefixtures("untriggered")
@pytest.mark.parametrize(
    ("request_", "words"),
    [
        pytest.param({"folder": "none"}, "there is no folder", id="no folder"),
        pytest.param({"folder": "."}, "holds Keeneye's own home", id="home inside"),
        pytest.param({"deployment": "sort/nothing"}, "no deployment sort/nothing", id="no deployment"),
        pytest.param({"deployment": "sort/untriggered"}, "nothing starts sort/untriggered", id="no automation"),
    ],
)
def test_what_would_start_nothing_is_refused(inbox, monkeypatch, request_, words):
    monkeypatch.chdir(inbox.parent)
    with pytest.raises(RequestError, match=words):
        watch(WatchConfig(**{"folder": "inbox", "deployment": DEPLOYMENT} | request_))


def test_switched_off_automation_is_refused(prefect, inbox, deployment_id):
    (automation,) = httpx.get(f"{prefect}/automations/related-to/prefect.deployment.{deployment_id}").json()
    address = f"{prefect}/automations/{automation['id']}"
    httpx.patch(address, json={"enabled": False}).raise_for_status()
    try:
        with pytest.raises(RequestError, match=f"nothing starts {DEPLOYMENT}"):
            watch(WatchConfig(folder=str(inbox), deployment=DEPLOYMENT))
    finally:
        httpx.patch(address, json={"enabled": True}).raise_for_status()


@pytest.mark.parametrize(
    ("address", "error", "words"),
    [
        pytest.param(None, RequestError, "name it in PREFECT_API_URL", id="none named"),
        pytest.param("http://127.0.0.1:9/api", EnvironmentFailed, "does not answer", id="none there"),
    ],
)
def test_server_must_be_there_at_the_start(inbox, address, error, words):
    with temporary_settings({PREFECT_API_URL: address}), pytest.raises(error, match=words):
        watch(WatchConfig(folder=str(inbox), deployment=DEPLOYMENT))
