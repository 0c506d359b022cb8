"""Starting and stopping: told at once, carried out behind.

Whoever meets a state that is still under way (this process after a restart, or another one on the same database)
carries it on, so no version stays STARTING because a process died.
"""

import asyncio
import logging
from collections.abc import Collection, Iterable
from functools import partial
from typing import Protocol

from tasks.errors import EnvironmentFailed, KeeneyeError
from tasks.serving.errors import ServiceStopping
from tasks.serving.states import Status, VersionState, VersionStates
from tasks.tracking.registry import VersionInfo

RETRY_SECONDS = 0.5
MAX_RETRY_SECONDS = 30.0
"""A state that the database did not take is written again after so long at first, doubling up to so long."""
MESSAGES = {
    Status.STARTING: "The model is being loaded.",
    Status.RUNNING: "The model is running.",
    Status.STOPPING: "The model is being stopped.",
    Status.STOPPED: "The model is stopped; it can be started again.",
}
_UNDER_WAY = (Status.STARTING, Status.STOPPING)
_log = logging.getLogger(__name__)


class ModelService(Protocol):
    """What the rules of projects need of the service that answers images."""

    async def version(self, model: str, qualifier: str) -> VersionInfo:
        """Return what a name means; raises ServingError when there is none, or the registry does not answer."""

    async def warm(self, model: str, qualifier: str) -> VersionInfo:
        """Load a model, whatever its state, and return it; raises KeeneyeError when it cannot be loaded."""

    def state_changed(self, model: str, qualifier: str) -> None:
        """Look at a state anew before the next answer."""


class Transitions:
    """The starts and stops of one process; of one event loop."""

    def __init__(self, states: VersionStates, service: ModelService) -> None:
        self._states, self._service = states, service
        self._tasks: dict[asyncio.Task[None], tuple[str, str]] = {}
        self._is_closed = False

    async def begin(
        self,
        model: str,
        qualifier: str,
        expected: Collection[Status | None],
        to: Status,
        *,
        units: tuple[int, int | None] | None = None,
        since_ms: int = 0,
    ) -> bool:
        """Enter STARTING or STOPPING from one of the expected states; tell whether that was done here.

        The arguments are those of `VersionStates.move`.

        Raises:
            ServiceStopping: once it is closed.
            EnvironmentFailed: when the database does not answer.
        """
        if self._is_closed:
            raise ServiceStopping("the service is being stopped and changes no states; try again in a moment")
        moved = await self._move(model, qualifier, expected, to, MESSAGES[to], units, since_ms)
        if moved:
            self._carry(model, qualifier, to, since_ms)
        return moved

    async def resume(self) -> list[VersionState]:
        """Carry on what processes left under way when they ended, and return it.

        Raises:
            EnvironmentFailed: when the database does not answer.
        """
        found = await asyncio.to_thread(self._states.having, _UNDER_WAY)
        self.carry_on(found)
        return found

    def carry_on(self, states: Iterable[VersionState]) -> None:
        """Carry on those states that are under way and not in hand."""
        for state in states:
            if state.status in _UNDER_WAY and (state.model, state.qualifier) not in self._tasks.values():
                self._carry(state.model, state.qualifier, state.status, state.changed_ms)

    async def aclose(self) -> None:
        """Leave what is under way to the next process, which carries it on."""
        self._is_closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _carry(self, model: str, qualifier: str, status: Status, since_ms: int) -> None:
        if self._is_closed:
            return
        finish = self._finish_start if status is Status.STARTING else self._finish_stop
        task = asyncio.create_task(finish(model, qualifier, since_ms))
        self._tasks[task] = (model, qualifier)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        model, qualifier = self._tasks.pop(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("the state of %s %s could not be written", model, qualifier, exc_info=error)

    async def _finish_start(self, model: str, qualifier: str, since_ms: int) -> None:
        to, message = Status.RUNNING, MESSAGES[Status.RUNNING]
        try:
            info = await self._service.warm(model, qualifier)
            # The start may be of a version that was deleted, and registered again under its name.
            since_ms = max(since_ms, info.named_since_ms(qualifier))
        except ServiceStopping:
            return  # the next process carries it on
        except KeeneyeError as error:
            to, message = Status.FAILED, f"The model cannot be loaded: {error.message}"
        except Exception as error:
            _log.exception("loading %s %s failed in an unforeseen way", model, qualifier)
            to, message = Status.FAILED, f"The model cannot be loaded: {type(error).__name__}; see the server's log."
        await self._finish(model, qualifier, Status.STARTING, to, message, since_ms)

    async def _finish_stop(self, model: str, qualifier: str, since_ms: int) -> None:
        message = MESSAGES[Status.STOPPED]
        await self._finish(model, qualifier, Status.STOPPING, Status.STOPPED, message, since_ms)

    async def _finish(
        self, model: str, qualifier: str, under_way: Status, to: Status, message: str, since_ms: int
    ) -> None:
        seconds = RETRY_SECONDS
        while True:  # until the database answers, or `aclose` cancels this and the next process carries it on
            try:
                await self._move(model, qualifier, {under_way}, to, message, since_ms=since_ms)
            except EnvironmentFailed as error:
                _log.warning("%s of %s is not yet %s: %s", qualifier, model, to, error.message)
            else:
                return
            await asyncio.sleep(seconds)
            seconds = min(2 * seconds, MAX_RETRY_SECONDS)

    async def _move(
        self,
        model: str,
        qualifier: str,
        expected: Collection[Status | None],
        to: Status,
        message: str,
        units: tuple[int, int | None] | None = None,
        since_ms: int = 0,
    ) -> bool:
        move = partial(self._states.move, message=message, units=units, since_ms=since_ms)
        moved = await asyncio.to_thread(move, model, qualifier, expected, to)
        self._service.state_changed(model, qualifier)
        return moved
