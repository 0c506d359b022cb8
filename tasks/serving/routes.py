"""Which version a name means: looked up once, then followed in the background.

No request that has a route asks the registry or the database of states: a look-up costs milliseconds and the
interpreter's lock. Two threads follow the routes in use, one the registry, one the states, so that neither's silence
stops the other; what is known goes on being answered meanwhile.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from threading import Lock

from tasks.errors import EnvironmentFailed, KeeneyeError, RegistryError
from tasks.serving.arns import is_number
from tasks.serving.errors import ModelUnavailable, ServiceStopping, ServingError, UnknownModel, UnknownVersion
from tasks.serving.pool import ModelPool
from tasks.serving.states import Status, VersionStates
from tasks.serving.workers import Worker
from tasks.tracking.registry import BUNDLE_DIGEST_TAG, Registry, VersionInfo

REFUSAL_SECONDS = 1.0
"""A model or version that was not there is not looked up again so long."""
MAX_REFUSALS = 1000
MAX_NAME_CHARACTERS = 255

_SEPARATORS = set("/@:'\\")
"""What ends a name in the registry's addresses and filters; Keeneye registers no name that holds them."""

_log = logging.getLogger(__name__)

Key = tuple[str, str]
"""A registered model and a qualifier: the number of a version, or an alias."""


@dataclass(slots=True, eq=False)
class Route:
    """What a qualifier means now; replaced and renewed by the threads that follow it.

    Attributes:
        info: the version that answers.
        is_running: whether it may answer.
        used: when it was last asked for, on the monotonic clock.
        doubts: how often its state was said to have changed: what was asked before that is no answer any more.
        wanted: version and digest that the registry named last; another one than `info` while it is being loaded.
    """

    info: VersionInfo
    is_running: bool
    used: float
    doubts: int = 0
    wanted: tuple[str, str] = ("", "")


Finding = Future[Route | ServingError]
"""A failure is a result, not an exception: see `tasks.serving.pool.Loading`."""


class Routes:
    """The qualifiers in use; those nobody uses for `idle_seconds` are forgotten."""

    def __init__(
        self, registry: Registry, states: VersionStates, pool: ModelPool, *, follow_seconds: float, idle_seconds: float
    ) -> None:
        self._registry = registry
        self._states = states
        self._pool = pool
        self._idle_seconds = idle_seconds
        self._routes: dict[Key, Route] = {}
        self._refusals: dict[Key, tuple[ServingError, float]] = {}
        self._finding: dict[Key, Finding] = {}
        self._lock = Lock()
        self._is_stopped = False
        self._registry_worker = Worker("keeneye-registry", self._follow_registry, follow_seconds)
        self._states_worker = Worker("keeneye-states", self._follow_states, follow_seconds)

    def known(self, key: Key) -> Route | None:
        """Return the route of a qualifier that was found before."""
        route = self._routes.get(key)
        if route:
            route.used = time.monotonic()
        return route

    def find(self, key: Key) -> Finding:
        """Look a qualifier up, once however many ask; a short while an earlier refusal is the answer."""
        with self._lock:
            refused = self._refusals.get(key)
            if refused and time.monotonic() < refused[1] + REFUSAL_SECONDS:
                return _done(refused[0])
            return self._once(key, self._registry_worker, partial(self._look_up, *key))

    def ask_state(self, key: Key, route: Route) -> Finding:
        """Look up whether a known version runs by now, once however many ask."""
        with self._lock:
            return self._once(key, self._states_worker, partial(self._renew_state, key, route))

    def doubt_state(self, key: Key) -> None:
        """Have the next request look up whether the version runs: its state was just changed."""
        route = self._routes.get(key)
        if route:
            with self._lock:
                route.doubts += 1
                route.is_running = False

    def stop(self) -> None:
        """Follow nothing more, and find nothing more."""
        with self._lock:
            self._is_stopped = True
        self._registry_worker.stop()
        self._states_worker.stop()

    def _once(self, key: Key, worker: Worker, find: Callable[[], Route]) -> Finding:
        if self._is_stopped:
            return _done(ServiceStopping("the service has stopped"))
        if key not in self._finding:
            self._finding[key] = _begun()
            worker.submit(partial(self._settle, key, find))
        return self._finding[key]

    def _settle(self, key: Key, find: Callable[[], Route]) -> None:
        outcome: Route | ServingError
        try:
            outcome = find()
        except ServingError as error:
            outcome = error
        except KeeneyeError as error:
            outcome = ModelUnavailable(error.message)
        except Exception as error:  # whoever waits must be told, whatever happened
            _log.exception("%s %s could not be looked up", *key)
            outcome = ModelUnavailable(f"the version could not be looked up: {type(error).__name__}")
        with self._lock:
            self._keep(key, outcome)
            finding = self._finding.pop(key)
        finding.set_result(outcome)

    def _keep(self, key: Key, outcome: Route | ServingError) -> None:
        self._refusals.pop(key, None)
        if isinstance(outcome, Route):
            self._routes[key] = outcome
        elif key not in self._routes:
            while len(self._refusals) >= MAX_REFUSALS:
                del self._refusals[next(iter(self._refusals))]
            self._refusals[key] = outcome, time.monotonic()

    def _look_up(self, model: str, qualifier: str) -> Route:
        # Whether it runs is asked once the route is known, so that no change is missed that is told meanwhile.
        return Route(self._version(model, qualifier), False, time.monotonic())

    def _renew_state(self, key: Key, route: Route) -> Route:
        while True:
            doubts = route.doubts
            is_running = self._is_running(*key, route.info)
            with self._lock:
                if route.doubts == doubts:
                    route.is_running = is_running
                    return route

    def _is_running(self, model: str, qualifier: str, info: VersionInfo) -> bool:
        state = self._states.get(model, qualifier, since_ms=info.named_since_ms(qualifier))
        if state is None:
            return not is_number(qualifier)  # an alias is started by being set
        return state.status is Status.RUNNING

    def _version(self, model: str, qualifier: str) -> VersionInfo:
        if not _is_name(model):
            raise UnknownModel(f"no model is called {model[:100]!r}")
        if not _is_name(qualifier):
            raise UnknownVersion(f"{model} has no version or alias {qualifier[:100]!r}")
        try:
            if is_number(qualifier):
                return self._registry.version(model, qualifier)
            return self._registry.resolve(f"models:/{model}@{qualifier}")
        except RegistryError as error:
            raise self._refusal(model, qualifier, error) from error

    def _refusal(self, model: str, qualifier: str, error: RegistryError) -> ServingError:
        # MLflow refuses for many reasons; only its own list tells that there is no such thing.
        versions = self._registry.versions(model)
        if not versions:
            return UnknownModel(f"the registry has no model {model!r} with a version; see what is registered")
        if any(qualifier in (one.version, *one.aliases) for one in versions):
            return ModelUnavailable(error.message)
        return UnknownVersion(
            f"model {model!r} has no version or alias {qualifier!r}; its newest is {versions[0].version}"
        )

    def _follow_states(self) -> None:
        try:
            for key, route in list(self._routes.items()):
                self._renew_state(key, route)
        except KeeneyeError as error:
            _log.warning("%s; what runs goes on", error.message)
        finally:
            self._pool.unload_idle()

    def _follow_registry(self) -> None:
        for key, route in list(self._routes.items()):
            if route.used < time.monotonic() - self._idle_seconds:
                self._routes.pop(key, None)
                continue
            try:
                self._follow(key, route, self._version(*key))
            except (UnknownModel, UnknownVersion):
                self._routes.pop(key, None)
            except EnvironmentFailed as error:
                _log.warning("%s; what is loaded goes on answering", error.message)
                break
            except Exception:  # one name's trouble must not keep the others from being followed
                _log.warning("%s %s could not be looked up; it goes on answering", *key, exc_info=True)

    def _follow(self, key: Key, route: Route, info: VersionInfo) -> None:
        wanted = route.wanted = _identity(info)
        if wanted == _identity(route.info):
            self._renew_info(key, route, info)
            return

        def switch() -> None:
            if route.wanted == wanted:  # else it was moved on while this version was being loaded
                _log.info("%s takes over from %s", info.uri, route.info.uri)
                self._renew_info(key, route, info)

        self._pool.replace(info, switch)

    def _renew_info(self, key: Key, route: Route, info: VersionInfo) -> None:
        is_reborn = info.named_since_ms(key[1]) != route.info.named_since_ms(key[1])
        route.info = info
        if is_reborn:
            self.doubt_state(key)


def _identity(info: VersionInfo) -> tuple[str, str]:
    return info.version, info.tags.get(BUNDLE_DIGEST_TAG, "")


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MAX_NAME_CHARACTERS and text.isprintable() and not set(text) & _SEPARATORS


def _begun() -> Finding:
    finding: Finding = Future()
    finding.set_running_or_notify_cancel()  # so that no waiter's cancellation reaches the others
    return finding


def _done(refusal: ServingError) -> Finding:
    finding = _begun()
    finding.set_result(refusal)
    return finding
