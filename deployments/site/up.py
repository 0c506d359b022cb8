"""`keeneye up`: the services of a site as processes of this machine, started, kept and ended together."""

import fcntl
import shlex
import signal
import stat
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Literal

from pydantic import BaseModel

from deployments.site.secrets import site_secrets
from deployments.site.services import Service, client_environment, services_of
from deployments.site.supervisor import Supervisor, make_private
from flows.up_config import UpConfig
from tasks.errors import RequestError
from tasks.stores.content import write_atomically
from tasks.stores.home import Home
from tasks.stores.role_keys import ROLE_SECRETS, RUNS_ROLE
from tasks.tracking.role_passwords import PASSWORDS

ENVIRONMENT_FILE = "environment"
FOLDER_MODE = 0o711
"""PostgreSQL may run as another user, who must get through to its own folder."""


class UpResult(BaseModel, frozen=True):
    """What ran until it was stopped."""

    status: Literal["stopped"] = "stopped"
    services: tuple[str, ...]
    data: str
    seconds: float


def up(config: UpConfig) -> UpResult:
    """Run the services until SIGTERM, Ctrl-C, or the end of the terminal.

    Raises:
        RequestError: when a program is missing, the same site runs already, or PostgreSQL's user does not get through
            to its folder.
        EnvironmentFailed: when a port is taken or a service does not start.
    """
    began = time.monotonic()
    folder = site_folder(config)
    if not folder.is_dir():  # one that is there is its owner's, and may be of others too
        folder.mkdir(parents=True)
        folder.chmod(FOLDER_MODE)
    secrets = site_secrets(folder)
    services = services_of(config, folder, secrets)
    _require_passable(folder, services)
    with _only_one(folder, [service.name for service in services]), _asked_to_stop() as stop:
        _write_environment(folder / ENVIRONMENT_FILE, _administrators(config, secrets))
        sys.stderr.write(f"keeneye: what commands need to use the site is in {folder / ENVIRONMENT_FILE}\n")
        Supervisor(services, folder, config.start_seconds).run(stop)
    names = tuple(service.name for service in services)
    return UpResult(services=names, data=str(folder), seconds=round(time.monotonic() - began, 1))


def site_folder(config: UpConfig) -> Path:
    """Return the folder of a site's data, absolute."""
    named = Path(config.data).expanduser() if config.data else Home.from_environment().root / "site"
    return named.resolve()


def _require_passable(folder: Path, services: Sequence[Service]) -> None:
    others = [service.name for service in services if service.user is not None]
    if others and not folder.stat().st_mode & stat.S_IXOTH:
        raise RequestError(
            f"{folder} is closed to other users, and {others[0]} runs as one; let them through with chmod o+x, or name "
            "a new folder as --data"
        )


def _administrators(config: UpConfig, secrets: Mapping[str, str]) -> dict[str, str]:
    # `keeneye provision` gives MLflow's users these passwords, and runs this key of the store.
    names = (*PASSWORDS.values(), ROLE_SECRETS[RUNS_ROLE])
    return client_environment(config, secrets) | {name: secrets[name] for name in names}


def _write_environment(path: Path, values: Mapping[str, str]) -> None:
    """Write variables for a shell to read, where only this user can."""
    lines = (f"export {name}={shlex.quote(value)}\n" for name, value in values.items())
    write_atomically(path, "".join(lines), mode=0o600)


@contextmanager
def _only_one(folder: Path, names: list[str]) -> Iterator[None]:
    """Hold a lock for each service: the system lets go of it when this process dies."""
    locks = folder / "locks"
    make_private(locks)
    streams = [(locks / name).open("w") for name in names]
    try:
        for stream in streams:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise RequestError(
            f"the site in {folder} runs already; stop that first, or name another folder as --data"
        ) from None
    finally:
        for stream in streams:
            stream.close()


@contextmanager
def _asked_to_stop() -> Iterator[Event]:
    stop = Event()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup sets it, to outlive the terminal
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
