"""Whether the registry answers, asked at most once at a time: a probe must not add to a registry's trouble."""

import asyncio
import logging
import time
from collections.abc import Callable

from tasks.errors import KeeneyeError

ANSWER_SECONDS = 5.0
VALID_SECONDS = 1.0
NOT_ANSWERING = "the registry does not answer; the endpoint's log says why"

_log = logging.getLogger(__name__)


class Readiness:
    """What the registry said last, asked anew after `VALID_SECONDS`; of one event loop."""

    def __init__(self, ask: Callable[[], object]) -> None:
        self._ask = ask
        self._asking: asyncio.Task[str] | None = None
        self._asked = -VALID_SECONDS
        self._told = ""

    async def trouble(self) -> str:
        """Return that the registry cannot be used; empty when it answers.

        Everybody may ask: why, and where the registry is, is told in the log only, once for each reason.
        """
        if self._asking is None or (self._asking.done() and time.monotonic() > self._asked + VALID_SECONDS):
            self._asking = asyncio.create_task(self._answer())
        try:
            # Shielded: others wait for the same answer, and a thread cannot be stopped anyhow.
            return await asyncio.wait_for(asyncio.shield(self._asking), ANSWER_SECONDS)
        except TimeoutError:
            return f"the registry has not answered for {ANSWER_SECONDS:g} seconds"

    async def _answer(self) -> str:
        reason = ""
        try:
            await asyncio.to_thread(self._ask)
        except KeeneyeError as error:
            reason = error.message
        finally:
            self._asked = time.monotonic()
        if reason and reason != self._told:
            _log.error("%s", reason)
        self._told = reason
        return reason and NOT_ANSWERING
