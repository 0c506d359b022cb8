"""Servers that the benchmarks start, and requests to them over sockets of their own."""

import asyncio
import base64
import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psutil

from tasks.stores.home import Home

START_SECONDS = 180


@dataclass(frozen=True)
class Peer:
    """One server and how an image is sent to it."""

    name: str
    port: int
    path: str
    content_type: str

    def request(self, image: bytes) -> bytes:
        """Return the whole HTTP request with one image."""
        body = image
        if self.content_type == "application/json":
            rows = {"columns": ["image"], "data": [[base64.b64encode(image).decode()]]}
            body = json.dumps({"dataframe_split": rows}).encode()
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {self.content_type}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def environment(home: Home) -> dict[str, str]:
    """Return the environment of a process that works in a home."""
    addresses = {"MLFLOW_TRACKING_URI": home.tracking_uri, "MLFLOW_REGISTRY_URI": home.registry_uri}
    return {**os.environ, "KEENEYE_HOME": str(home.root), **addresses}


def serve_command(port: int, *options: str) -> list[str]:
    """Return the command of an endpoint without keys."""
    return [sys.executable, "-m", "flows", "serve", "--no-auth", "--port", str(port), *options]


@contextlib.contextmanager
def started(command: Sequence[str], home: Home, port: int, health: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server from the moment it answers until the block ends."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment(home), stdout=quiet, stderr=quiet, start_new_session=True) as server:
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _answers(f"http://127.0.0.1:{port}{health}"):
                if server.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"{' '.join(command)} does not answer")
                time.sleep(0.2)
            yield server
        finally:
            for process in (*psutil.Process(server.pid).children(recursive=True), server):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.terminate()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@dataclass(frozen=True)
class Exchanged:
    """What a request was answered."""

    status: int
    body: bytes
    is_kept: bool


async def exchange(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], request: bytes) -> Exchanged:
    """Send one request over an open connection and read its answer."""
    reader, writer = connection
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    body = await reader.readexactly(length)
    return Exchanged(int(head.split()[1]), body, b"connection: close" not in head)
