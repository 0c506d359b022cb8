"""How fast an environment changes its version: promotion and rollback while clients ask, and from a cold command line.

    uv run python benchmarks/promotion.py [--rounds 5] [--clients 8]

Trains two versions of the demo's classifier, starts Prefect's server and `keeneye serve --environment production`, and
lets clients send photographs without pause. Then the second version is promoted to production and taken back, in turn:
by calls of the flows in one process (running servers), and by the commands. A move is timed from its request to the
first answer that names the other version, and to its own end; everything that clients were answered is counted.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pictures import usable_pictures
from servers import Peer, environment, exchange, serve_command, started

from tasks.stores.home import Home
from tests.conftest import free_port
from tests.flows.environments import write_environments

NAME = "transistors-classification"
SETTLE_SECONDS = 3.0
WHO = ("--approved-by", "Ann", "--reason", "measured")


@dataclass(frozen=True)
class Answered:
    """One request: when its answer was whole (seconds since 1970), its status, the version that answered."""

    at: float
    status: int
    version: str


@dataclass(frozen=True)
class Moved:
    """One move: when it was asked for, and when it had ended (seconds since 1970), and to which version."""

    how: str
    asked: float
    ended: float
    version: str


def main() -> None:
    """Train, start the servers, move back and forth under load, print the table."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--rounds", type=int, default=5)
    cli.add_argument("--clients", type=int, default=8)
    arguments = cli.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        home = _home(stack, folder)
        port = free_port()
        # Two versions that learned the same may follow each other there, whatever chance says.
        places = write_environments(folder, address=f"http://127.0.0.1:{port}")
        os.environ.update(environment(home), KEENEYE_ENVIRONMENTS=str(places))
        for seed in (0, 1):
            _keeneye("train", "--training.seed", str(seed))
            if seed == 0:
                _keeneye("promote", NAME, "--to", "production", *WHO)
        stack.enter_context(started(serve_command(port, "--environment", "production"), home, port, "/readyz"))
        images = [path.read_bytes() for path in usable_pictures(home, None)[:20]]
        moves, answers = _measure(arguments, port, images, folder)
    _tell(moves, answers, arguments.clients)


def _home(stack: contextlib.ExitStack, folder: Path) -> Home:
    """Return an empty home beside a running server of Prefect, to which this process and its commands report."""
    port = free_port()
    uri = f"sqlite:///{folder / 'home' / 'mlflow.db'}"
    home = Home(folder / "home", uri, uri)
    os.environ["PREFECT_HOME"] = str(folder / "prefect")
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    stack.enter_context(started(command, home, port, "/api/health"))
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    return home


def _keeneye(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "flows", *arguments], stdout=subprocess.DEVNULL, check=True)


def _measure(
    arguments: argparse.Namespace, port: int, images: Sequence[bytes], folder: Path
) -> tuple[list[Moved], list[Answered]]:
    stop = folder / "stop"
    moves = []
    with ProcessPoolExecutor(1) as clients:
        load: Future[list[Answered]] = clients.submit(ask, port, list(images), arguments.clients, stop)
        try:
            time.sleep(SETTLE_SECONDS)
            _move("warm-up", "2", _promote)
            _move("warm-up", "1", _roll_back)
            for how, promote, roll_back in (
                ("running servers", _promote, _roll_back),
                ("cold command line", _promote_by_command, _roll_back_by_command),
            ):
                for _ in range(arguments.rounds):
                    moves.append(_move(f"promotion, {how}", "2", promote))
                    moves.append(_move(f"rollback, {how}", "1", roll_back))
        finally:
            stop.touch()
        return moves, load.result()


def _move(how: str, version: str, move: Callable[[], None]) -> Moved:
    asked = time.time()
    move()
    ended = time.time()
    time.sleep(SETTLE_SECONDS)
    return Moved(how, asked, ended, version)


def _promote() -> None:
    from flows.promote import promote

    promote(NAME, to="production", version="2", approved_by="Ann", reason="measured")


def _roll_back() -> None:
    from flows.rollback import rollback

    rollback(NAME, approved_by="Ann", reason="measured")


def _promote_by_command() -> None:
    _keeneye("promote", NAME, "--to", "production", "--version", "2", *WHO)


def _roll_back_by_command() -> None:
    _keeneye("rollback", NAME, *WHO)


def ask(port: int, images: list[bytes], clients: int, stop: Path) -> list[Answered]:
    """Send images from so many clients until a file appears; return all answers."""
    return asyncio.run(_ask(port, images, clients, stop))


async def _ask(port: int, images: Sequence[bytes], clients: int, stop: Path) -> list[Answered]:
    peer = Peer("keeneye serve", port, f"/v1/models/{NAME}@production:predict", "application/octet-stream")
    bodies = [peer.request(image) for image in images]
    answers: list[Answered] = []

    async def client(number: int) -> None:
        connection = await asyncio.open_connection("127.0.0.1", port)
        turn = number
        while not stop.exists():
            answer = await exchange(connection, bodies[turn % len(bodies)])
            answers.append(Answered(time.time(), answer.status, str(json.loads(answer.body).get("version", ""))))
            turn += clients
        connection[1].close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    return answers


def _tell(moves: Sequence[Moved], answers: Sequence[Answered], clients: int) -> None:
    print(f"\n{clients} clients, seconds, median and longest of the moves\n")
    print("| move | until the other version answers | until the move has ended |\n|---|---|---|")
    for how in dict.fromkeys(move.how for move in moves):
        of_kind = [move for move in moves if move.how == how]
        first = [_first_answer(move, answers) - move.asked for move in of_kind]
        whole = [move.ended - move.asked for move in of_kind]
        cells = (f"{statistics.median(times):.2f}, {max(times):.2f}" for times in (first, whole))
        print(f"| {how} | {' | '.join(cells)} |")
    counts = Counter(answer.status for answer in answers)
    told = ", ".join(f"{status}: {count:,}" for status, count in sorted(counts.items()))
    print(f"\nanswers by status: {told}")


def _first_answer(move: Moved, answers: Sequence[Answered]) -> float:
    return min(answer.at for answer in answers if answer.at > move.asked and answer.version == move.version)


if __name__ == "__main__":
    main()
