"""What other processes do in the tests of ledger and environments: they race, and they die."""

import multiprocessing
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from sqlalchemy import Engine, event

from tasks.stores.home import Home
from tasks.tracking.environments import Environments, Move
from tasks.tracking.ledger import EntryKind, Ledger, LedgerConflict, NewEntry
from tasks.tracking.registry import Registry

# Its processes start with everything imported, and with no connection of the tests' own process.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        *("pytest", __name__),
        # MLflow imports these at the first connection.
        *("mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store"),
    ]
)
CONTENDERS = 8
WAIT_SECONDS = 60


def all_at_once(function, folder, *arguments):
    """Call `function(folder, number, *arguments)` in as many processes as there are contenders; return the answers."""
    folder.mkdir()
    with ProcessPoolExecutor(CONTENDERS, mp_context=PROCESSES) as pool:
        started = [pool.submit(function, folder, number, *arguments) for number in range(CONTENDERS)]
        return [one.result(timeout=WAIT_SECONDS) for one in started]


def wait_for_all(folder: Path, number, name="ready"):
    """Return when all contenders have come here."""
    (folder / f"{name}-{number}").touch()
    deadline = time.monotonic() + WAIT_SECONDS
    while len(list(folder.glob(f"{name}-*"))) < CONTENDERS:
        assert time.monotonic() < deadline
        time.sleep(0.003)


def append_in_rounds(folder, number, url, rounds):
    """Append after each sequence from 0 on; tell for each round who won, as this process sees it."""
    ledger, winners = Ledger(url), []
    for sequence in range(rounds):
        wait_for_all(folder, number, f"round{sequence}")
        entry = NewEntry(
            model="bolts",
            kind=EntryKind.BEGUN,
            action="promote",
            environment="staging",
            from_version="",
            to_version=str(number),
            who=f"contender {number}",
        )
        try:
            winners.append((True, ledger.append(entry, expected_sequence=sequence).who))
        except LedgerConflict as lost:
            winners.append((False, lost.winner.who))
    ledger.close()
    return winners


def move_all_the_way(folder, number, url, home: Home, model, version):
    """Begin, expose and confirm a move from nothing; tell whether it was done, and who won."""
    environments = Environments(Registry(home), Ledger(url))
    move = Move(
        model=model,
        environment="staging",
        to_version=version,
        action="promote",
        who=f"contender {number}",
        why="a race",
        from_version="",
    )
    wait_for_all(folder, number)
    try:
        begun = environments.begin(move)
        environments.expose(begun)
        return True, environments.confirm(begun, {}).who
    except LedgerConflict as lost:
        return False, lost.winner.who


def die(*_, **__):
    """End this process as the system does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


STEPS = {
    # where the process dies: what staging's alias names then, and after the repair
    "before the beginning is committed": ("1", "1"),
    "begun": ("1", "1"),
    "exposed": ("2", "1"),
    "before the end is committed": ("2", "1"),
    "confirmed": ("2", "2"),
    "alias put back": ("1", "1"),
    "taken back": ("1", "1"),
}


def move_and_die(step, url, home: Home, model):
    """Move staging from version 1 to 2 and die at a step."""
    ledger = Ledger(url)
    environments = Environments(Registry(home), ledger)
    move = Move(model=model, environment="staging", to_version="2", action="promote", who="ana", why="it is better")
    if step == "before the beginning is committed":
        event.listen(ledger._database.engine, "commit", die)
    begun = environments.begin(move)
    if step == "begun":
        die()
    environments.expose(begun)
    if step == "exposed":
        die()
    if step == "before the end is committed":
        event.listen(ledger._database.engine, "commit", die)
    if step in {"confirmed", "before the end is committed"}:
        environments.confirm(begun, {})
        die()
    if step == "alias put back":
        ledger.append = die
    environments.take_back(begun, "it is worse", {})
    die()


def killed(function, *arguments):
    """Run a function in a process of its own, which must end by SIGKILL."""
    process = PROCESSES.Process(target=function, args=arguments)
    process.start()
    process.join(WAIT_SECONDS)
    assert process.exitcode == -signal.SIGKILL


def statements_of(engine: Engine):
    """Return a list that fills with the SQL that an engine runs."""
    said = []
    event.listen(engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    return said
