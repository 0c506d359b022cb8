"""Who waits for a user of MLflow that is still to be made, against a server that answers as MLflow does."""

import base64
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from deployments.site.mlflow_users import await_user, make_users
from deployments.site.secrets import MLFLOW_PASSWORD, MLFLOW_USER
from tasks.errors import EnvironmentFailed
from tasks.tracking.role_passwords import PASSWORDS
from tests.conftest import free_port

SECRETS = dict.fromkeys(PASSWORDS.values(), "a-password")


@contextmanager
def server(refusals):
    """Refuses so many requests, then lets the user `serve` in; yields its address and who asked."""
    asked = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode())
            is_in = len(asked) > refusals and asked[-1] == "serve:a-password"
            self.send_response(200 if is_in else 401)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{running.server_port}", asked
    finally:
        running.shutdown()
        running.server_close()


def test_waits_until_its_user_is_made():
    with server(refusals=2) as (address, asked):
        await_user(address, SECRETS, "serve", 60)
    assert asked == ["serve:a-password"] * 3


def test_a_user_that_is_never_made_is_one_sentence():
    with server(refusals=0) as (address, _), pytest.raises(EnvironmentFailed, match="refuses its user 'train'"):
        await_user(address, SECRETS, "train", 0)


def test_without_mlflow_nobody_is_waited_for():
    began = time.monotonic()
    await_user(f"http://127.0.0.1:{free_port()}", SECRETS, "serve", 600)
    assert time.monotonic() - began < 300


def test_mlflow_that_makes_no_users_in_time_is_one_sentence(monkeypatch):
    monkeypatch.setattr("deployments.site.mlflow_users._SECONDS", 0.01)
    with pytest.raises(EnvironmentFailed, match=r"has not made its users within 0\.01 s; see its log"):
        make_users(
            f"http://127.0.0.1:{free_port()}", {**SECRETS, MLFLOW_USER: "keeneye", MLFLOW_PASSWORD: "a-password"}
        )
