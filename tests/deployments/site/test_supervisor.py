"""Real processes, small ones: started in order, started again, ended in the reverse order, nothing left over."""

import json
import os
import pwd
import re
import signal
import socket
import stat
import sys
import time
from dataclasses import replace
from threading import Event, Thread

import psutil
import pytest

from deployments.site.services import Service
from deployments.site.supervisor import MAX_RESTARTS, Supervisor
from tasks.errors import EnvironmentFailed
from tests.deployments.site.running import own_address
from tests.object_store import free_ports

SERVER = """
import http.server, os, signal, subprocess, sys, time
name, port, behaviour = sys.argv[1], int(sys.argv[2]), sys.argv[3]
def note(what):
    with open("../events", "a") as stream:
        stream.write(f"{name} {what}\\n")
def end(*_):
    note("ended")
    os._exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if behaviour == "deaf" else end)
signal.signal(signal.SIGINT, end)
note("started")
if behaviour == "broken":
    print("no such thing")
    sys.exit(3)
if behaviour == "moody" and open("../events").read().count(f"{name} started") == 2:
    sys.exit(4)
if behaviour == "parent":
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", deaf])
    open("child", "w").write(str(child.pid))
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if behaviour == "unwell" else 200)
        self.end_headers()
        if behaviour == "mortal":
            os._exit(1)
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", port), Answer).serve_forever()
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "site"


@pytest.fixture
def service(folder):
    def make(name, behaviour="sound", **fields):
        (port,) = free_ports(1)
        command = (sys.executable, "-c", SERVER, name, str(port), behaviour)
        return Service(name, command, {"PATH": "/usr/bin"}, port, f"http://127.0.0.1:{port}/", **fields)

    return make


@pytest.fixture
def running(folder, monkeypatch):
    """Run services in a thread, as `keeneye up` does in its process."""
    monkeypatch.setattr("deployments.site.supervisor.POLL_SECONDS", 0.05)
    stop, outcome, threads = Event(), [], []

    def work(services, start_seconds):
        try:
            Supervisor(services, folder, start_seconds).run(stop)
            outcome.append(None)
        except EnvironmentFailed as error:
            outcome.append(error.message)

    def run(*services, start_seconds=20):
        threads.append(Thread(target=work, args=(services, start_seconds)))
        threads[0].start()
        return stop, outcome, threads[0]

    yield run
    stop.set()
    for thread in threads:
        thread.join(60)


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def events(folder):
    return (folder / "events").read_text().splitlines() if (folder / "events").exists() else []


def processes(folder):
    return [one for one in psutil.process_iter(["cwd"]) if (one.info["cwd"] or "").startswith(str(folder))]


def test_started_in_order_and_ended_in_the_reverse_order(service, running, folder):
    made = []
    first = service("one", prepare=lambda: made.append("prepared"), complete=lambda: made.append(events(folder)))
    stop, outcome, thread = running(first, service("two", stop_signal=signal.SIGINT))
    wait_for(lambda: "two started" in events(folder))
    assert made == ["prepared", ["one started"]]
    stop.set()
    thread.join(20)
    assert outcome == [None]
    assert events(folder) == ["one started", "two started", "two ended", "one ended"]
    assert not processes(folder)


def test_no_other_user_reads_what_a_service_writes(service, running, folder):
    (folder / "one").mkdir(parents=True)
    running(service("one"))
    wait_for(lambda: events(folder))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"one": 0o700, "logs": 0o700, "events": 0o600}


@pytest.mark.parametrize("behaviour", ["parent", "deaf"])
def test_nothing_is_left_over(service, running, folder, monkeypatch, behaviour):
    monkeypatch.setattr("deployments.site.supervisor.STOP_SECONDS", 0.3)
    stop, _, thread = running(service("one", behaviour))
    wait_for(lambda: (folder / "one" / "child").exists() if behaviour == "parent" else events(folder))
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    wait_for(lambda: not processes(folder))


def test_service_that_ends_by_itself_is_started_again(service, running, folder):
    answered = Event()
    running(service("one", complete=answered.set))
    assert answered.wait(20)
    processes(folder)[0].kill()
    wait_for(lambda: events(folder) == ["one started"] * 2)


def test_start_that_fails_after_it_once_ran_is_tried_again(service, running, folder, monkeypatch):
    monkeypatch.setattr("deployments.site.supervisor.RESTART_PAUSE_SECONDS", 0.05)
    answered, left = Event(), []
    stop, outcome, thread = running(service("one", "moody", complete=answered.set, end=lambda: left.append("ended")))
    assert answered.wait(20)
    answered.clear()
    processes(folder)[0].kill()
    assert answered.wait(20)
    assert events(folder) == ["one started"] * 3
    stop.set()
    thread.join(20)
    assert (outcome, left) == ([None], ["ended"])


def test_service_that_ends_time_and_again_ends_all(service, running, folder):
    _, outcome, thread = running(service("one"), service("two", "mortal"))
    thread.join(60)
    assert outcome[0].startswith("two ends time and again: it said nothing; see ")
    assert events(folder).count("two started") == MAX_RESTARTS + 1
    assert events(folder)[-1] == "one ended"
    assert not processes(folder)


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [("broken", "two ended while it started: no such thing; see "), ("unwell", "two did not answer for 1 s; see ")],
)
def test_service_that_does_not_start_ends_all(service, running, folder, behaviour, words):
    _, outcome, thread = running(service("one"), service("two", behaviour), start_seconds=1)
    thread.join(30)
    assert outcome[0].startswith(words)
    assert not processes(folder)


def test_port_that_is_taken(service, running, folder):
    taken = service("one")
    _, outcome, thread = running(taken, taken)
    thread.join(30)
    assert "of one is taken; end what uses it, or give another in ports" in outcome[0]
    assert not processes(folder)


@pytest.mark.parametrize(
    ("taken_at", "listen", "is_taken"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        (own_address(), own_address(), True),
        (own_address(), "0.0.0.0", True),
        (own_address(), "127.0.0.1", False),
    ],
    ids=["loopback", "own address", "all addresses", "another address"],
)
def test_port_is_looked_at_where_the_service_listens(service, running, taken_at, listen, is_taken):
    wanted = service("one", listen=listen)
    with socket.create_server((taken_at, wanted.port)):
        stop, outcome, thread = running(wanted, start_seconds=5)
        # The server of this test listens on loopback, wherever it is said to.
        thread.join(0.5 if not is_taken else 10)
        assert ["of one is taken" in message for message in outcome] == [True] * is_taken
        stop.set()


def test_address_of_another_machine(service, running):
    _, outcome, thread = running(service("one", listen="192.0.2.7"))
    thread.join(10)
    assert outcome[0].startswith("one cannot listen on 192.0.2.7 (")
    assert outcome[0].endswith("give an address of this machine as --listen")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may start a process as another user")
def test_service_of_another_user_has_none_of_this_ones_groups(service, running):
    nobody = pwd.getpwnam("nobody")
    _, outcome, thread = running(replace(service("one", user=nobody.pw_uid), command=("/usr/bin/id",)))
    thread.join(20)
    told = outcome[0].partition("while it started: ")[2]
    assert re.findall(r"\b(\w+)=(\d+)", told) == [
        ("uid", str(nobody.pw_uid)),
        ("gid", str(nobody.pw_gid)),
        ("groups", str(nobody.pw_gid)),
    ]
    assert told.count(",") == 0


def test_stop_while_a_service_starts(service, running, folder):
    stop, outcome, thread = running(service("one", "unwell"))
    wait_for(lambda: events(folder))
    stop.set()
    thread.join(20)
    assert outcome == [None]
    assert not processes(folder)
    assert json.dumps(events(folder)) == '["one started", "one ended"]'
