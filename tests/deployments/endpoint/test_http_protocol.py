"""The connection's own bounds, on a real uvicorn with a small application."""

import socket
import threading
import time

import pytest
import uvicorn

from deployments.endpoint import http_protocol
from deployments.endpoint.http_protocol import MAX_HEAD_BYTES, BoundedHttpProtocol

HEAD_SECONDS = 0.4
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


async def echo(scope, receive, send):
    """Answer /refuse unread, everything else with the length of its body."""
    body, more = b"", scope["path"] != "/refuse"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    content = str(len(body)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(content))]})
    await send({"type": "http.response.body", "body": content})


@pytest.fixture(scope="module")
def port():
    patched = pytest.MonkeyPatch()
    patched.setattr(http_protocol, "HEAD_SECONDS", HEAD_SECONDS)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(echo, http=BoundedHttpProtocol, lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join()
    patched.undo()


def talk(port, *parts, pause=0.0):
    """Send parts, then read until the server closes or says nothing for ten seconds."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        said = b""
        try:
            for part in parts:
                raw.sendall(part)
                time.sleep(pause)
            while received := raw.recv(65536):
                said += received
        except TimeoutError:
            return said, "open"
        except OSError:
            return said, "closed"
        return said, "closed"


@pytest.mark.parametrize(
    ("parts", "length"),
    [
        pytest.param([POST + b"Content-Length: 5\r\n\r\nhello"], b"5", id="declared"),
        pytest.param([CHUNKED, b"5\r\nhello\r\n0\r\n\r\n"], b"5", id="chunked"),
        pytest.param([CHUNKED, b"1\r\na\r\n" * 100_000, b"0\r\n\r\n"], b"100000", id="chunks of one byte"),
        pytest.param([POST + b"X: " + b"a" * 60_000 + b"\r\n\r\n"], b"0", id="large head"),
    ],
)
def test_usual_requests_are_answered(port, parts, length):
    parts[0] = parts[0].replace(b"Host: x", b"Host: x\r\nConnection: close")
    said, _ = talk(port, *parts)
    assert said.startswith(b"HTTP/1.1 200")
    assert said.endswith(b"\r\n\r\n" + length)


ENDLESS = 40 * MAX_HEAD_BYTES


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([b"GET /" + b"a" * ENDLESS], id="address"),
        pytest.param([POST + b"X: " + b"a" * ENDLESS], id="one header"),
        pytest.param([POST, b"X: a\r\n" * (ENDLESS // 6)], id="many headers"),
        pytest.param([CHUNKED, b"1;" + b"a" * ENDLESS], id="chunk's extension"),
        pytest.param([CHUNKED, b"1\r\na\r\n0\r\n", b"X: a\r\n" * (ENDLESS // 6)], id="headers after the body"),
    ],
)
def test_endless_heads_are_cut_off(port, parts):
    said, end = talk(port, *parts)
    assert end == "closed"
    assert not said.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([b""], id="says nothing"),
        pytest.param([b"POST / HT"], id="half a line"),
        pytest.param([POST, b"X: a\r\n", b"X: a\r\n"], id="slow headers"),
        pytest.param([POST + b"Content-Length: 0\r\n\r\nGET"], id="slow second head"),
        pytest.param([b"POST /refuse HTTP/1.1\r\nContent-Length: 9\r\n\r\n", b"a"], id="slow rest of a refused body"),
    ],
)
def test_slow_heads_are_given_up(port, parts):
    started = time.monotonic()
    assert talk(port, *parts, pause=0.05)[1] == "closed"
    assert time.monotonic() - started > HEAD_SECONDS * 0.9


def test_rest_of_a_refused_body_is_read_so_that_the_refusal_arrives(port):
    body = b"a" * 3_000_000
    said, _ = talk(port, b"POST /refuse HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n", body, POST + b"\r\n")
    assert said.count(b"HTTP/1.1 200") == 2  # the refusal, and the next request of the connection


def test_slow_body_is_not_a_slow_head(port):
    said, _ = talk(port, POST + b"Content-Length: 3\r\n\r\n", b"a", b"b", b"c", pause=HEAD_SECONDS / 2)
    assert said.startswith(b"HTTP/1.1 200")
