"""Processes that are started in order, kept running, and ended in the reverse order; none is left over."""

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event

from deployments.site.health import answers
from deployments.site.programs import privileges
from deployments.site.services import LOGS, Service
from tasks.errors import EnvironmentFailed, last_line

POLL_SECONDS = 0.25
STOP_SECONDS = 30.0
"""For what a service was doing when it is asked to end."""
MAX_RESTARTS = 5
RESTARTS_WITHIN_SECONDS = 600.0
"""A service that ends more often than this has a fault that no restart mends."""
RESTART_PAUSE_SECONDS = 2.0
"""After a start that failed of a service that ran before."""
_TAIL_BYTES = 4000


class Supervisor:
    """Runs services until it is told to stop, or one of them cannot be kept running."""

    def __init__(self, services: Sequence[Service], folder: Path, start_seconds: float) -> None:
        """Take what is to be run.

        Args:
            services: in the order of their start.
            folder: their data; each works in a folder of its own below it, and logs are in `logs`.
            start_seconds: until a service must answer.
        """
        self._services, self._folder, self._start_seconds = services, folder, start_seconds
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ended: dict[str, list[float]] = defaultdict(list)

    def run(self, stop: Event) -> None:
        """Start all, keep them until `stop` is set, and end them all, whatever happens.

        Raises:
            EnvironmentFailed: when a port is taken, or a service does not start or ends time and again.
        """
        try:
            for service in self._services:
                self._start(service, stop)
            if not stop.is_set():
                _tell("all services answer")
            while not stop.wait(POLL_SECONDS):
                for service in self._services:
                    self._keep(service, stop)
        finally:
            for service in reversed(self._services):
                self._end(service)

    def _start(self, service: Service, stop: Event) -> None:
        if stop.is_set():
            return
        _require_free(service)
        work, log = self._folder / service.name, self._log(service)
        make_private(work)
        make_private(log.parent)
        service.prepare()
        with log.open("ab") as stream:
            self._running[service.name] = subprocess.Popen(
                service.command,
                cwd=work,
                env=dict(service.environment),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                umask=0o077,
                start_new_session=True,  # so that Ctrl-C reaches this process alone, which ends the others in order
                **privileges(service.user),
            )
        self._await(service, stop)

    def _await(self, service: Service, stop: Event) -> None:
        began = time.monotonic()
        while not answers(service.health):
            if stop.wait(POLL_SECONDS):
                return
            if self._running[service.name].poll() is not None:
                raise EnvironmentFailed(f"{service.name} ended while it started: {self._last_line(service)}")
            if time.monotonic() - began > self._start_seconds:
                raise EnvironmentFailed(
                    f"{service.name} did not answer for {self._start_seconds:g} s; see {self._log(service)}, or give "
                    "more --start_seconds"
                )
        service.complete()
        _tell(f"{service.name} answers on port {service.port}")

    def _keep(self, service: Service, stop: Event) -> None:
        process = self._running.get(service.name)
        code = process.poll() if process else None
        if process and code is None:
            return
        now, ended = time.monotonic(), self._ended[service.name]
        ended[:] = [when for when in (*ended, now) if now - when < RESTARTS_WITHIN_SECONDS]
        if len(ended) > MAX_RESTARTS:
            raise EnvironmentFailed(f"{service.name} ends time and again: {self._last_line(service)}")
        if process:
            _tell(f"{service.name} ended by itself ({code}); it is started again")
            self._sweep(service)
        try:
            self._start(service, stop)
        except EnvironmentFailed as error:  # what it needs may be about to come back, or to let go of its data
            _tell(f"{error.message}; it is tried again")
            if service.name in self._running:
                self._sweep(service)
            stop.wait(RESTART_PAUSE_SECONDS)

    def _end(self, service: Service) -> None:
        process = self._running.get(service.name)
        if process is None:
            return
        with suppress(ProcessLookupError):
            # PostgreSQL ends its own children, and takes it amiss when others do.
            send = os.kill if service.stop_signal == signal.SIGINT else os.killpg
            send(process.pid, service.stop_signal)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        self._sweep(service)
        service.end()
        _tell(f"{service.name} ended")

    def _sweep(self, service: Service) -> None:
        """End what is left of a service: itself when it does not listen, and its children."""
        process = self._running.pop(service.name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _log(self, service: Service) -> Path:
        return self._folder / LOGS / f"{service.name}.log"

    def _last_line(self, service: Service) -> str:
        log = self._log(service)
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            return f"{last_line(stream.read().decode(errors='replace'))}; see {log}"


def make_private(folder: Path) -> None:
    """Make a folder that only its owner may enter; one that is there is closed to others."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)


def _require_free(service: Service) -> None:
    """See that nobody listens where the service will, on its own address or on all of this machine's."""
    family = socket.AF_INET6 if ":" in service.listen else socket.AF_INET
    with socket.socket(family) as probe:
        # As servers do, so that connections of one that has just ended are not in the way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind((service.listen, service.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise EnvironmentFailed(
                    f"port {service.port} of {service.name} is taken; end what uses it, or give another in ports"
                ) from None
            raise EnvironmentFailed(
                f"{service.name} cannot listen on {service.listen} ({error.strerror}); give an address of this machine "
                "as --listen"
            ) from None


def _tell(sentence: str) -> None:
    with suppress(OSError):  # the terminal may have gone, and services are ended all the same
        sys.stderr.write(f"keeneye: {sentence}\n")
        sys.stderr.flush()
