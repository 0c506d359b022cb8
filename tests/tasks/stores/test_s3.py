import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.stores import s3
from tasks.stores.s3 import ObjectTooLarge, ObjectUnreadable, read_object, s3_client
from tests.object_store import ACCESS_KEY_ID, SECRET_ACCESS_KEY, free_ports, set_environment

MEGABYTE = 1_000_000


@pytest.fixture
def store(object_store):
    return object_store


@pytest.fixture
def environment(monkeypatch):
    def put(values):
        set_environment(monkeypatch, values)
        return s3_client()

    return put


@pytest.fixture
def client(environment, store):
    return environment(store.environment)


@pytest.mark.parametrize("size", [0, 1, (1 << 18) - 1, 1 << 18, MEGABYTE])
def test_reads_an_object_up_to_the_limit(store, client, size):
    content = bytes(number * 7 % 251 for number in range(size))
    store.put(f"of {size} bytes/ä.png", content)
    assert read_object(store.bucket, f"of {size} bytes/ä.png", max_bytes=MEGABYTE, client=client) == content


@pytest.mark.parametrize("size", [MEGABYTE + 1, 6 * MEGABYTE])
def test_refuses_more_than_the_limit(store, client, size):
    store.put("large.png", bytes(size))
    with pytest.raises(ObjectTooLarge, match=r"s3://pictures/large\.png has more than 1000000 bytes"):
        read_object(store.bucket, "large.png", max_bytes=MEGABYTE, client=client)


def test_reads_the_version_that_is_asked_for(store, client):
    first, second = store.put("twice.png", b"first"), store.put("twice.png", b"second")
    contents = [
        read_object(store.bucket, "twice.png", version, max_bytes=MEGABYTE, client=client)
        for version in (first, second, None, "")
    ]
    assert contents == [b"first", b"second", b"second", b"second"]


@pytest.mark.parametrize(
    ("bucket", "key", "version", "words"),
    [
        pytest.param("pictures", "absent.png", None, "there is no such object", id="key"),
        pytest.param("absent-bucket", "first", None, "there is no such bucket", id="bucket"),
        pytest.param("pictures", "first", "f" * 32, "there is no such version", id="version"),
        pytest.param("no bucket's name", "first", None, "ParamValidationError; check the names", id="bucket's name"),
        pytest.param("pictures", "", None, "ParamValidationError; check the names", id="empty key"),
        pytest.param("pictures", "../../etc/passwd", None, "the store answers InvalidRequest", id="key that climbs"),
    ],
)
def test_what_is_not_there(store, client, bucket, key, version, words):
    with pytest.raises(ObjectUnreadable, match=words) as refused:
        read_object(bucket, key, version, max_bytes=MEGABYTE, client=client)
    assert refused.value.message.startswith(f"s3://{bucket}/{key} cannot be read: ")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        pytest.param({"AWS_SECRET_ACCESS_KEY": "another-secret-another"}, "refuses the secret", id="secret"),
        pytest.param({"AWS_ACCESS_KEY_ID": "nobody-knows-me"}, "does not know the access key", id="id"),
        pytest.param({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "NoCredentialsError", id="none"),
    ],
)
def test_wrong_credentials_are_told_without_them(store, environment, changed, words):
    values = {**store.environment, **changed}
    with pytest.raises(ObjectUnreadable, match=words) as refused:
        read_object("pictures", "first", max_bytes=MEGABYTE, client=environment(values))
    secrets = {ACCESS_KEY_ID, SECRET_ACCESS_KEY, *filter(None, changed.values())}
    assert not [secret for secret in secrets if secret in refused.value.message]


def test_address_and_credentials_are_the_environments(store, environment):
    environment(store.environment)
    s3._shared_client.cache_clear()
    try:
        with ThreadPoolExecutor(4) as threads:
            read = list(threads.map(lambda _: read_object("pictures", "first", None, max_bytes=1), range(16)))
    finally:
        s3._shared_client.cache_clear()
    assert read == [b"1"] * 16


def test_store_that_is_down(store, environment):
    client = environment({**store.environment, "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{free_ports(1)[0]}"})
    began = time.monotonic()
    with pytest.raises(ObjectUnreadable, match=r"does not answer \(EndpointConnectionError\); try again"):
        read_object("pictures", "first", max_bytes=MEGABYTE, client=client)
    assert time.monotonic() - began < 20


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"


class Scripted:
    """A server that answers each connection with the next of some bytes, or parts of bytes, and closes it."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.connections = 0
        self.sent_bytes = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.serve, daemon=True).start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:  # closed
                return
            self.connections += 1
            with connection:
                connection.recv(65_536)
                self.answer(connection, self.answers.pop(0) if self.answers else b"")

    def answer(self, connection, answer):
        try:
            for part in [answer] if isinstance(answer, bytes) else answer:
                connection.sendall(part)
                self.sent_bytes += len(part)
        except OSError:  # the reader has left
            pass

    def close(self):
        self.listener.close()


def endless(head, part):
    yield head
    while True:
        yield part


def silent(seconds):
    yield b""
    time.sleep(seconds)


@pytest.fixture
def scripted(environment, store):
    servers = []

    def run(*answers):
        servers.append(Scripted(*answers))
        return servers[-1], environment({**store.environment, "AWS_ENDPOINT_URL_S3": servers[-1].address})

    yield run
    for server in servers:
        server.close()


def test_too_large_is_known_before_the_body_is_read(scripted):
    server, client = scripted([HEAD + b"Content-Length: 50000000000\r\n\r\n", b"x" * 1000])
    with pytest.raises(ObjectTooLarge):
        read_object("pictures", "huge", max_bytes=MEGABYTE, client=client)
    assert server.connections == 1


def test_body_without_a_length_is_read_up_to_the_limit(scripted):
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    server, client = scripted(endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunk))
    with pytest.raises(ObjectTooLarge):
        read_object("pictures", "endless", max_bytes=MEGABYTE, client=client)
    assert server.sent_bytes < 20 * MEGABYTE


WHOLE = HEAD + b"Content-Length: 5\r\n\r\nwhole"


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(b"", id="closed at once"),
        pytest.param(HEAD + b"Content-Length: 5\r\n\r\nwh", id="body cut short"),
    ],
)
def test_transport_error_is_tried_once_more(scripted, first):
    server, client = scripted(first, WHOLE)
    assert read_object("pictures", "first", max_bytes=MEGABYTE, client=client) == b"whole"
    assert server.connections == 2


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (b"503 Slow Down", "the store answers 503"),
        (b"500 Internal Server Error", "the store answers 500"),
        (b"403 Forbidden", "the store answers 403"),
    ],
)
def test_refusal_is_not_repeated(scripted, status, words):
    refusal = b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n"
    server, client = scripted(refusal, WHOLE)
    with pytest.raises(ObjectUnreadable, match=words):
        read_object("pictures", "first", max_bytes=MEGABYTE, client=client)
    assert server.connections == 1


def test_silent_store_is_given_up(scripted, monkeypatch):
    monkeypatch.setattr(s3, "READ_SECONDS", 0.3)
    _, client = scripted(silent(5.0), silent(5.0))
    with pytest.raises(ObjectUnreadable, match=r"does not answer \(ReadTimeoutError\)"):
        read_object("pictures", "first", max_bytes=MEGABYTE, client=client)
