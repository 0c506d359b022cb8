"""Back-pressure: a bounded number of requests inside, the others are told at once to come again."""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Lock

from tasks.serving.errors import Overloaded, ServiceStopping


class Admission:
    """Places for requests.

    Attributes:
        drained: done once it is closed and the last place is free.
    """

    def __init__(self, max_pending: int) -> None:
        self.drained: Future[None] = Future()
        self.drained.set_running_or_notify_cancel()
        self._max_pending = max_pending
        self._pending = 0
        self._is_closed = False
        self._lock = Lock()

    @property
    def pending(self) -> int:
        """Places taken now."""
        return self._pending

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place.

        Raises:
            Overloaded: when none is free.
            ServiceStopping: once it is closed.
        """
        self._take()
        try:
            yield
        finally:
            self._give_back()

    def close(self) -> None:
        """Admit nothing more; who is inside stays."""
        with self._lock:
            self._is_closed = True
        self._tell_when_drained()

    def _take(self) -> None:
        with self._lock:
            if self._is_closed:
                raise ServiceStopping("the service is being stopped and takes no more images; try again in a moment")
            if self._pending >= self._max_pending:
                raise Overloaded(f"{self._pending} images are waiting, as many as may; try again in a moment")
            self._pending += 1

    def _give_back(self) -> None:
        with self._lock:
            self._pending -= 1
        self._tell_when_drained()

    def _tell_when_drained(self) -> None:
        with self._lock:
            if self._is_closed and not self._pending and not self.drained.done():
                self.drained.set_result(None)
