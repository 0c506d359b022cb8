"""A proxy between a client and a server that does to each connection what tests want: cut it, delay it, spoil it."""

import contextlib
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass
from urllib.parse import urlsplit

BUSY_BODY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
BUSY = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(BUSY_BODY), BUSY_BODY)
)
BODY_BEGINS = b"\r\n\r\n"


@dataclass(frozen=True)
class Cut:
    """The connection ends after so many bytes of the server's."""

    after: int = 0


@dataclass(frozen=True)
class Busy:
    """Each connection's first request is answered with 503, as S3 does when there are too many."""


@dataclass(frozen=True)
class Silent:
    """The server says nothing any more."""


@dataclass(frozen=True)
class Slow:
    """The answer comes in pieces with pauses."""

    piece_bytes: int = 8192
    pause_seconds: float = 0.02


@dataclass(frozen=True)
class Spoilt:
    """Of so many answers of a connection the last byte of the first piece is another one."""

    answers: int = 1


class FaultyProxy:
    """Listens on a port of its own; `faults` has one entry for each coming connection, None for a sound one."""

    def __init__(self, endpoint):
        address = urlsplit(endpoint)
        self.server = (address.hostname, address.port)
        self.faults = deque()
        self.always = None
        self.connections = 0
        self.received_bytes = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def close(self):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:  # closed
                return
            self.connections += 1
            fault = self.faults.popleft() if self.faults else self.always
            threading.Thread(target=self._serve, args=(client, fault), daemon=True).start()

    def _serve(self, client, fault):
        with contextlib.suppress(OSError), client:
            if isinstance(fault, Busy):
                client.recv(65_536)
                client.sendall(BUSY)
                return
            with socket.create_connection(self.server) as server:
                threading.Thread(target=_copy, args=(client, server), daemon=True).start()
                self._answer(server, client, fault)

    def _answer(self, server, client, fault):
        sent, spoilt = 0, 0
        while piece := server.recv(65_536):
            self.received_bytes += len(piece)
            if isinstance(fault, Cut) and sent + len(piece) > fault.after:
                client.sendall(piece[: max(0, fault.after - sent)])
                # To close it is not enough, as long as the other thread waits for it.
                client.shutdown(socket.SHUT_RDWR)
                return
            if isinstance(fault, Silent):
                time.sleep(5)
                return
            if isinstance(fault, Spoilt) and spoilt < fault.answers and BODY_BEGINS in piece:
                piece, spoilt = _spoilt(piece), spoilt + 1
            self._send(client, piece, fault)
            sent += len(piece)

    def _send(self, client, piece, fault):
        step = fault.piece_bytes if isinstance(fault, Slow) else len(piece)
        for start in range(0, len(piece), step):
            client.sendall(piece[start : start + step])
            if isinstance(fault, Slow):
                time.sleep(fault.pause_seconds)


def _copy(source, target):
    with contextlib.suppress(OSError):
        while piece := source.recv(65_536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)


def _spoilt(piece):
    return piece[:-1] + bytes([piece[-1] ^ 1])


@contextlib.contextmanager
def running_proxy(endpoint):
    """Run a proxy before a server."""
    proxy = FaultyProxy(endpoint)
    try:
        yield proxy
    finally:
        proxy.close()
