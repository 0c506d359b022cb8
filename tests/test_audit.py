"""Dependencies are looked up in the OSV service; a vulnerability fails, no access to the service does not."""

import json
import os
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.conftest import ROOT, free_port


@contextmanager
def vulnerability_service(vulnerable, status=200):
    """A service that speaks OSV's protocol, and knows a vulnerability of one package, or of none."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))["queries"]
            found = {"vulns": [{"id": "PYSEC-2026-1", "modified": "2026-01-01T00:00:00Z"}]}
            self.answer({"results": [found if one["package"]["name"] == vulnerable else {} for one in asked]})

        def do_GET(self):
            self.answer({"id": "PYSEC-2026-1", "modified": "2026-01-01T00:00:00Z", "summary": "bad", "affected": []})

        def answer(self, content):
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def audit(address):
    return subprocess.run(
        [str(ROOT / ".ci" / "audit"), "--service-url", address],
        env={**os.environ, "UV_HTTP_RETRIES": "0"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(("vulnerable", "code"), [("nobody-has-this", 0), ("mlflow", 1)])
def test_known_vulnerability_fails(vulnerable, code):
    with vulnerability_service(vulnerable) as address:
        done = audit(address)
    assert done.returncode == code, done.stderr
    assert "skipped" not in done.stdout
    assert ("PYSEC-2026-1" in done.stdout) == bool(code)


def test_service_that_cannot_be_reached_is_said_and_fails_nothing():
    done = audit(f"http://127.0.0.1:{free_port()}")
    assert (done.returncode, "skipped: no access" in done.stdout) == (0, True), done.stderr


def test_service_that_is_broken_fails_nothing():
    with vulnerability_service("mlflow", status=503) as address:
        done = audit(address)
    assert (done.returncode, "skipped: no access" in done.stdout) == (0, True), done.stderr


def test_ci_audits():
    assert ".ci/audit" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
