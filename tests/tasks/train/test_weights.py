import hashlib
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tasks.errors import EnvironmentFailed, KeeneyeError, RequestError
from tasks.stores.home import Home
from tasks.train import weights as weights_module
from tasks.train.weights import HUB_VARIABLE, FirstWeights, find_weights

CONTENT = bytes(range(256)) * 8
DIGEST = hashlib.sha256(CONTENT).hexdigest()
ASKED: list[str | None] = []
"""By which version the file with an ETag was asked for."""
HUB_PATH = "/timm/resnet18.a1_in1k/resolve/main/model.safetensors"


class Handler(BaseHTTPRequestHandler):
    """Answers by path: whole, redirected, without end, or with a status."""

    def do_GET(self):
        if self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            self.drip()
        elif self.path in {"/moved", HUB_PATH}:
            self.send_response(302)
            self.send_header("Location", "/w.safetensors")
            self.end_headers()
        elif self.path == "/w.safetensors":
            self.send_whole()
        elif self.path == "/tagged":
            ASKED.append(self.headers.get("If-None-Match"))
            if ASKED[-1] == '"first"':
                self.send_response(304)
                self.end_headers()
            else:
                self.send_whole(("ETag", '"first"'))
        elif self.path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", str(2 * len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT)
        elif self.path == "/round":
            self.send_response(302)
            self.send_header("Location", "/round")
            self.end_headers()
        else:
            self.send_error(int(self.path.strip("/")) if self.path.strip("/").isdigit() else 404)

    def send_whole(self, *headers):
        self.send_response(200)
        for name, value in (("Content-Length", str(len(CONTENT))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(CONTENT)

    def drip(self):
        try:
            while True:
                self.wfile.write(b"x" * 2**20)
                time.sleep(0.02)
        except OSError:
            pass

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture
def home(tmp_path) -> Home:
    return Home(tmp_path / "home", "no://such", "no://such")


def test_package_and_none_need_nothing(home):
    package, none = find_weights(home, "package"), find_weights(home, "none")
    assert (package.file, none.file) == (None, None)
    assert package.digest != none.digest
    assert not home.root.exists()


@pytest.mark.parametrize("form", ["{path}", "file://{uri}"])
def test_file_is_named_by_its_digest(form, home, tmp_path):
    path = tmp_path / "my weights.safetensors"
    path.write_bytes(CONTENT)
    address = form.format(path=path, uri=str(path).replace(" ", "%20"))
    assert find_weights(home, address) == FirstWeights(address, DIGEST, path)


@pytest.mark.parametrize("place", ["/w.safetensors", "/moved"])
def test_what_lies_elsewhere_is_fetched_and_kept_by_its_digest(place, server, home):
    for _ in range(2):
        found = find_weights(home, server + place)
        assert found == FirstWeights(server + place, DIGEST, home.weights_path / DIGEST)
        assert found.file.read_bytes() == CONTENT
    assert [path.name for path in home.weights_path.iterdir() if path.suffix != ".json"] == [DIGEST]


def test_what_the_server_says_is_unchanged_is_not_fetched_again(server, home):
    ASKED.clear()
    found = [find_weights(home, f"{server}/tagged") for _ in range(3)]
    assert ASKED == [None, '"first"', '"first"']
    assert found == [FirstWeights(f"{server}/tagged", DIGEST, home.weights_path / DIGEST)] * 3


def test_copy_that_was_damaged_is_fetched_again(server, home):
    first = find_weights(home, f"{server}/tagged")
    first.file.write_bytes(CONTENT[:-1])
    assert find_weights(home, f"{server}/tagged").file.read_bytes() == CONTENT


@pytest.mark.parametrize("path", ["/w.safetensors", "/tagged"])
def test_earlier_copy_is_taken_when_the_server_is_away(path, home):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{running.server_port}{path}"
        first = find_weights(home, address)
        running.shutdown()
        thread.join()
    again = find_weights(home, address)
    assert (again.digest, again.file) == (first.digest, first.file)
    assert not first.absence
    assert "cannot be fetched" in again.absence


def test_hub_is_asked_for_the_name_in_timm(server, home, monkeypatch):
    monkeypatch.setenv(HUB_VARIABLE, f"{server}/")
    assert find_weights(home, "hub:resnet18.a1_in1k").digest == DIGEST


def closed_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


WRONG = {
    "no file": ("/no/such.safetensors", RequestError, "no file"),
    "a folder": ("/", RequestError, "no file"),
    "not there": ("{server}/404", RequestError, "status 404"),
    "not for everyone": ("{server}/403", RequestError, "status 403"),
    "no such name": ("hub:resnet18", RequestError, "hub:resnet18.a1_in1k"),
    "broken server": ("{server}/500", EnvironmentFailed, "500"),
    "cut short": ("{server}/short", EnvironmentFailed, "cannot be fetched"),
    "round and round": ("{server}/round", EnvironmentFailed, "cannot be fetched"),
    "nobody there": ("{closed}/w.safetensors", EnvironmentFailed, "cannot be fetched"),
    "no address": ("http://[/w", EnvironmentFailed, "cannot be fetched"),
}


@pytest.mark.parametrize(("address", "error", "words"), WRONG.values(), ids=WRONG.keys())
def test_weights_that_cannot_be_had_are_one_sentence(address, error, words, server, home, monkeypatch):
    monkeypatch.setenv(HUB_VARIABLE, server)
    with pytest.raises(KeeneyeError, match=r"training\.weights") as caught:
        find_weights(home, address.format(server=server, closed=closed_port()))
    assert type(caught.value) is error
    assert words in caught.value.message
    assert "\n" not in caught.value.message
    assert not home.weights_path.exists() or not list(home.weights_path.iterdir())


def test_hub_that_cannot_be_reached_is_one_sentence(home, monkeypatch):
    monkeypatch.setenv(HUB_VARIABLE, closed_port())
    with pytest.raises(EnvironmentFailed, match=r"hub:resnet18\.a1_in1k cannot be fetched") as caught:
        find_weights(home, "hub:resnet18.a1_in1k")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("kind", ["address", "endless address", "file"])
def test_no_more_is_read_than_a_network_takes(kind, server, home, tmp_path, monkeypatch):
    monkeypatch.setattr(weights_module, "MAX_WEIGHTS_BYTES", len(CONTENT) - 1)
    path = tmp_path / "w.safetensors"
    path.write_bytes(CONTENT)
    address = {"address": f"{server}/w.safetensors", "endless address": f"{server}/endless", "file": str(path)}[kind]
    with pytest.raises(RequestError, match="smaller network"):
        find_weights(home, address)


def test_server_that_never_ends_is_not_waited_for(server, home, monkeypatch):
    monkeypatch.setattr(weights_module, "TRANSFER_SECONDS", 0.1)
    with pytest.raises(EnvironmentFailed, match="did not arrive within"):
        find_weights(home, f"{server}/endless")
    assert not list(Path(home.weights_path).iterdir())
