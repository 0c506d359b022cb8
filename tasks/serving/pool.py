"""The loaded models: loaded on demand, leased while in use, unloaded when idle or when others need their place."""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from threading import Condition

from tasks.bundle.predictor import Predictor
from tasks.serving.batching import Batcher
from tasks.serving.errors import ModelUnavailable, ServiceStopping, ServingError
from tasks.serving.workers import Worker
from tasks.tracking.registry import BUNDLE_DIGEST_TAG, VersionInfo

RETRY_SECONDS = 5.0
"""A model that failed to load is refused so long before it is tried again: each try reads the whole bundle."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A version that is ready to answer."""

    info: VersionInfo
    predictor: Predictor
    batcher: Batcher


Loading = Future[LoadedModel | ServingError]
"""What became of a load. A failure is its result, not its exception: one exception that many requests raised would
hold the frames of them all, and with the frames their images."""


@dataclass(slots=True, eq=False)
class _Entry:
    info: VersionInfo
    loading: Loading
    leases: int = 0
    used: float = field(default_factory=time.monotonic)

    @property
    def model(self) -> LoadedModel | None:
        outcome = self.loading.result() if self.loading.done() else None
        return outcome if isinstance(outcome, LoadedModel) else None

    @property
    def is_idle_model(self) -> bool:
        return self.leases == 0 and self.model is not None

    def has_failed_before(self, moment: float) -> bool:
        return self.loading.done() and self.model is None and self.used < moment


class ModelPool:
    """At most `max_models` loaded models, and one more while an alias moves.

    A model with a lease is never closed. Who needs a model while all places hold leased ones waits for a place.
    """

    def __init__(self, load: Callable[[VersionInfo], LoadedModel], *, max_models: int, idle_seconds: float) -> None:
        self._load = load
        self._max_models = max_models
        self._idle_seconds = idle_seconds
        self._entries: dict[tuple[str, str, str], _Entry] = {}
        self._changed = Condition()
        self._is_closed = False
        self._loads = 0
        self._loader = Worker("keeneye-loader")

    @property
    def loads(self) -> int:
        """Models loaded since the start."""
        return self._loads

    def loaded(self) -> list[VersionInfo]:
        """Return the versions that are loaded now."""
        with self._changed:
            return [entry.info for entry in self._entries.values() if entry.model]

    @contextmanager
    def lease(self, info: VersionInfo) -> Iterator[Loading]:
        """Hold a model, loading it when it is not loaded; until the end of the block it is not closed.

        Raises:
            ServiceStopping: when the pool is closed.
        """
        entry = self._take(info)
        try:
            yield entry.loading
        finally:
            self._give_back(entry)

    def replace(self, info: VersionInfo, switch: Callable[[], None]) -> None:
        """Load a model beside those that are loaded, then call `switch`; without `switch` when loading fails."""
        entry = self._take(info, beside=True)

        def finish(loading: Loading) -> None:
            if isinstance(loading.result(), LoadedModel):
                switch()
            self._give_back(entry)

        entry.loading.add_done_callback(finish)

    def unload_idle(self) -> None:
        """Close the models that nobody used for `idle_seconds`, and forget loads that failed."""
        now = time.monotonic()
        with self._changed:
            for entry in list(self._entries.values()):
                unused = entry.is_idle_model and entry.used < now - self._idle_seconds
                if unused or entry.has_failed_before(now - RETRY_SECONDS):
                    self._remove(entry)

    def close(self) -> None:
        """Close all models; leases that are left end in `ServiceStopping`."""
        with self._changed:
            self._is_closed = True
            for entry in list(self._entries.values()):
                self._remove(entry)
            self._changed.notify_all()
        self._loader.stop()

    def _take(self, info: VersionInfo, *, beside: bool = False) -> _Entry:
        with self._changed:
            if self._is_closed:
                raise ServiceStopping("the service has stopped")
            entry = self._entries.get(_key(info))
            if entry is None or entry.has_failed_before(time.monotonic() - RETRY_SECONDS):
                entry = self._entries[_key(info)] = _new_entry(info)
                self._loader.submit(partial(self._fill, entry, beside))
            entry.leases += 1
            return entry

    def _give_back(self, entry: _Entry) -> None:
        with self._changed:
            entry.leases -= 1
            if entry.model:  # a failure keeps the time it happened
                entry.used = time.monotonic()
            self._shrink(self._max_models)
            self._changed.notify_all()

    def _fill(self, entry: _Entry, beside: bool) -> None:
        outcome: LoadedModel | ServingError
        try:
            self._make_room(self._max_models if beside else self._max_models - 1)
            outcome = self._load(entry.info)
            self._loads += 1
        except ServiceStopping as error:
            outcome = error
        except Exception as error:  # a damaged bundle, no disk, no memory: whatever it is, other models go on
            _log.warning("%s cannot be loaded", entry.info.uri, exc_info=error)
            outcome = ModelUnavailable(f"{entry.info.uri} cannot be loaded: {str(error) or type(error).__name__}")
        self._finish(entry, outcome)

    def _finish(self, entry: _Entry, outcome: LoadedModel | ServingError) -> None:
        with self._changed:
            entry.used = time.monotonic()
            if self._is_closed and isinstance(outcome, LoadedModel):
                outcome.batcher.close()
                outcome = ServiceStopping("the service has stopped")
            entry.loading.set_result(outcome)

    def _make_room(self, models: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._shrink(models))
            if self._is_closed:
                raise ServiceStopping("the service has stopped")

    def _shrink(self, models: int) -> bool:
        """Close the least recently used models that have no lease; tells whether so few are left."""
        resident = [entry for entry in self._entries.values() if entry.model]
        idle = sorted((entry for entry in resident if not entry.leases), key=lambda one: one.used)
        surplus = len(resident) - models
        for entry in idle[: max(0, surplus)]:
            self._remove(entry)
        return len(idle) >= surplus

    def _remove(self, entry: _Entry) -> None:
        del self._entries[_key(entry.info)]
        if entry.model:
            entry.model.batcher.close()


def _new_entry(info: VersionInfo) -> _Entry:
    entry = _Entry(info, Future())
    entry.loading.set_running_or_notify_cancel()  # so that no waiter's cancellation reaches the others
    return entry


def _key(info: VersionInfo) -> tuple[str, str, str]:
    # A version that was deleted and registered again has the number of old, but another bundle.
    return info.name, info.version, info.tags.get(BUNDLE_DIGEST_TAG, "")
