"""The endpoint beside `mlflow models serve`: the same registered model, the same images, in one run.

    uv run --group benchmarks python benchmarks/serving.py
        [--model models:/NAME@staging | --input-size PIXELS] [--images FOLDER] [--soak N]

Both servers answer image files at 1, 8 and 32 clients in turn, rounds interleaved: Keeneye over its plain HTTP API, the
peer over its own protocol (`POST /invocations`, image bytes as base64 in JSON), which is how its users call it. Beside
them stands the bare loop: decode, network, decode, network, in one process without a server. Clients are asynchronous
sockets in a process of their own. The second table sends many requests with bad images mixed in to Keeneye, and tells
how every kind was answered and how much memory the server takes.

Without `--model`, a classifier is trained on the demo set first, in a home that is removed at the end.
"""

import argparse
import asyncio
import contextlib
import itertools
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil
from pictures import usable_pictures
from servers import Peer, environment, exchange, serve_command, started

from tasks.bundle.predictor import Predictor
from tasks.stores.home import Home
from tasks.tracking.registry import Registry
from tests.conftest import free_port

DEMO = "demo://transistors?images=150&seed=7"
CLIENTS = (1, 8, 32)
ROUNDS = 3
IMAGES = 40
REQUESTS_BY_CLIENTS = {1: 120, 8: 240, 32: 320}
SOAK_CLIENTS = 8
BAD_SHARE = 0.3


def main() -> None:
    """Start the servers, run all rounds, print the tables."""
    arguments = _arguments()
    with contextlib.ExitStack() as stack:
        home, model = _home(stack, arguments)
        info = Registry(home).resolve(model)
        images = _images(home, arguments.images)
        predictor = Predictor.open(Registry(home).cached_bundle(info))
        name = f"{info.name}@{info.version}"
        keeneye = Peer(
            "keeneye serve", free_port(), f"/v1/models/{_qualified(model)}:predict", "application/octet-stream"
        )
        mlflow = Peer("mlflow models serve", free_port(), "/invocations", "application/json")
        process = stack.enter_context(started(serve_command(keeneye.port), home, keeneye.port, "/healthz"))
        stack.enter_context(started(_mlflow_command(model, mlflow.port), home, mlflow.port, "/ping"))
        print(f"{name}, {len(images)} images of {sum(map(len, images)) / len(images) / 1e3:.0f} kB")
        _compare(predictor, (keeneye, mlflow), images)
        if arguments.soak:
            _soak(keeneye, images, process, arguments.soak)


def _arguments() -> argparse.Namespace:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--model", default="", help="models:/NAME@ALIAS of the home that KEENEYE_HOME names")
    cli.add_argument("--input-size", type=int, default=0, help="of the classifier trained without --model (pixels)")
    cli.add_argument("--images", type=Path, help="folder of PNG or JPEG files; the demo's pictures without it")
    cli.add_argument("--soak", type=int, default=0, help="requests of the second table")
    return cli.parse_args()


def _home(stack: contextlib.ExitStack, arguments: argparse.Namespace) -> tuple[Home, str]:
    if arguments.model:
        return Home.fromenvironment(), arguments.model
    root = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "home"
    uri = f"sqlite:///{root / 'mlflow.db'}"
    home = Home(root, uri, uri)
    size = ["--training.input_size", str(arguments.input_size)] if arguments.input_size else []
    subprocess.run(
        [sys.executable, "-m", "flows", "train", "--data.source", DEMO, *size],
        env=environment(home),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return home, "models:/transistors-classification@staging"


def _qualified(model: str) -> str:
    return model.removeprefix("models:/")


def _images(home: Home, folder: Path | None) -> list[bytes]:
    chosen = usable_pictures(home, folder)
    return [path.read_bytes() for path in random.Random(0).sample(chosen, min(IMAGES, len(chosen)))]


def _mlflow_command(model: str, port: int) -> list[str]:
    options = ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    return [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", model, *options]


def _compare(predictor: Predictor, peers: Sequence[Peer], images: Sequence[bytes]) -> None:
    best: dict[tuple[str, int], float] = {}
    loop = 0.0
    with ProcessPoolExecutor(1) as clients:
        for number in range(ROUNDS + 1):
            loop = max(loop, _loop_rate(predictor, images))
            for count, peer in itertools.product(CLIENTS, peers):
                requests = 32 if number == 0 else REQUESTS_BY_CLIENTS[count]  # the first round warms up
                seconds, codes = clients.submit(send, peer, list(images), count, requests).result()
                assert set(codes) == {200}, codes
                best[peer.name, count] = max(best.get((peer.name, count), 0.0), requests / seconds * (number > 0))
    print(f"\nbare loop, decode and network: {loop:.1f} images a second")
    print("\n| clients | " + " | ".join(peer.name for peer in peers) + " | ratio | of the bare loop |")
    print("|---|---|---|---|---|")
    for count in CLIENTS:
        ours, theirs = (best[peer.name, count] for peer in peers)
        print(f"| {count} | {ours:.1f} | {theirs:.1f} | {ours / theirs:.2f} | {ours / loop:.2f} |", flush=True)


def _loop_rate(predictor: Predictor, images: Sequence[bytes]) -> float:
    start = time.perf_counter()
    for image in images:
        predictor.predict_bytes([image])
    return len(images) / (time.perf_counter() - start)


def send(peer: Peer, images: list[bytes], clients: int, requests: int) -> tuple[float, Counter[int]]:
    """Send requests from so many clients; return the seconds taken and how many had each status."""
    return asyncio.run(_send(peer, [peer.request(image) for image in images], clients, requests))


async def _send(peer: Peer, bodies: Sequence[bytes], clients: int, requests: int) -> tuple[float, Counter[int]]:
    turns, codes = iter(range(requests)), Counter[int]()

    async def client() -> None:
        connection = await asyncio.open_connection("127.0.0.1", peer.port)
        for turn in turns:
            answer = await exchange(connection, bodies[turn % len(bodies)])
            codes[answer.status] += 1
            if not answer.is_kept:
                connection[1].close()
                connection = await asyncio.open_connection("127.0.0.1", peer.port)
        connection[1].close()

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return time.perf_counter() - start, codes


def _soak(peer: Peer, images: Sequence[bytes], server: subprocess.Popen[bytes], requests: int) -> None:
    rng = random.Random(1)
    bodies = [*images, *(_spoiled(rng, rng.choice(images)) for _ in range(round(BAD_SHARE * len(images))))]
    rng.shuffle(bodies)
    steps, counts = (1_000, requests - 1_000), Counter[int]()
    print("\n| requests | answers by status | memory of the server (MB) |\n|---|---|---|")
    done = 0
    with ProcessPoolExecutor(1) as clients:
        for step in steps:
            _, codes = clients.submit(send, peer, bodies, SOAK_CLIENTS, step).result()
            counts += codes
            done += step
            told = ", ".join(f"{code}: {count}" for code, count in sorted(counts.items()))
            print(f"| {done} | {told} | {psutil.Process(server.pid).memory_info().rss / 1e6:.0f} |", flush=True)


def _spoiled(rng: random.Random, image: bytes) -> bytes:
    kinds = (
        b"",
        b"no image at all",
        image[: len(image) // 2],
        b"\x89PNG\r\n\x1a\n" + image[8:24] + b"\xff" * 8,
        image[::-1],
    )
    return rng.choice(kinds)


if __name__ == "__main__":
    main()
