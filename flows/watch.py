"""`keeneye watch`: looks at a folder time and again, and tells Prefect's server of images that have arrived in it."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from flows.watch_config import WatchConfig
from tasks.dataset.findings import Finding
from tasks.errors import EnvironmentFailed, RequestError
from tasks.ingest.arrivals import ArrivalLog, Batch, Patience, Settling, read_stamps
from tasks.stores.home import Home

REST_PER_LOOK = 9
"""A look at a large folder takes its time; it then rests so many times as long, a tenth of a core at most."""


class WatchResult(BaseModel, frozen=True):
    """What a watcher did until it was stopped: `batches` were sent, of `images`, each batch for one run."""

    status: Literal["stopped"] = "stopped"
    folder: str
    deployment: str
    batches: int
    images: int


def watch(config: WatchConfig) -> WatchResult:
    """Watch until SIGTERM or Ctrl-C.

    Raises:
        RequestError: when folder, server or deployment are not there, nothing would be started, or another process
            watches already.
        EnvironmentFailed: when the server does not answer at the start; later it is asked again.
    """
    from flows.arrival_events import require_trigger

    folder = _folder(config.folder)
    require_trigger(config.deployment)
    watcher = Watcher(config, folder)
    with watcher.log.held(), _stop_signals() as stop:
        _tell(f"watching {folder} for {config.deployment}")
        while not stop.is_set():
            began = time.monotonic()
            watcher.look()
            stop.wait(max(config.poll_seconds, REST_PER_LOOK * (time.monotonic() - began)))
    return WatchResult(folder=str(folder), deployment=config.deployment, batches=watcher.batches, images=watcher.images)


class Watcher:
    """One folder, what was seen of it, and how much was sent."""

    def __init__(self, config: WatchConfig, folder: Path) -> None:
        self.log = ArrivalLog(Home.from_environment().root / "arrivals", folder, config.deployment)
        self.batches = self.images = 0
        self._folder, self._deployment = folder, config.deployment
        self._settling = Settling(Patience(config.quiet_seconds, config.max_wait_seconds, config.min_images))
        self._findings: frozenset[Finding] = frozenset()
        self._complaint = ""

    def look(self) -> None:
        """Send what has arrived; what cannot be seen or sent now is tried at the next look."""
        try:
            if self.log.pending:
                self._deliver(self.log.pending, again=True)
            stamps, findings = read_stamps(self._folder)
            self._tell_findings(findings)
            if not findings:
                self.log.forget_all_but(stamps)
            settled = self._settling.settled(self.log.new(stamps))
            if settled:
                self._deliver(self.log.begin(settled), again=False)
            self._complaint = ""
        except (EnvironmentFailed, OSError) as error:
            self._complain(f"{error}; trying again")

    def _deliver(self, batch: Batch, *, again: bool) -> None:
        from flows.arrival_events import send_arrival, was_sent

        if not (again and was_sent(batch)):
            send_arrival(batch, self._folder, self._deployment)
        self.log.end(batch)
        self.batches += 1
        self.images += len(batch.stamps)
        images = "1 image" if len(batch.stamps) == 1 else f"{len(batch.stamps)} images"
        _tell(f"{images} arrived in {self._folder}; told {self._deployment} ({batch.event_id})")

    def _tell_findings(self, findings: list[Finding]) -> None:
        for finding in findings:
            if finding not in self._findings:
                _tell(f"{finding.source_ref}: {finding.message}")
        self._findings = frozenset(findings)

    def _complain(self, sentence: str) -> None:
        if sentence != self._complaint:
            _tell(sentence)
        self._complaint = sentence


def _folder(name: str) -> Path:
    folder = Path(name).expanduser().resolve()
    if not folder.is_dir():
        raise RequestError(f"there is no folder {folder}; name the one where images arrive")
    home = Home.from_environment().root
    if home.is_relative_to(folder) and not any(part.startswith(".") for part in home.relative_to(folder).parts):
        raise RequestError(f"{folder} holds Keeneye's own home {home}, where runs write; name a folder apart from it")
    return folder


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(sentence: str) -> None:
    sys.stderr.write(f"keeneye: {sentence}\n")
    sys.stderr.flush()
