"""Request bodies in bounded memory and time: what is too large is refused unread, what is too slow is given up."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from tasks.errors import KeeneyeError
from tasks.serving.errors import Overloaded

BODY_SECONDS = 60.0
"""For a whole body to arrive: 15 MB at 2 Mbit/s."""


class BodyTooLarge(KeeneyeError):
    """A body has more bytes than its kind may have."""


class BodyTooSlow(KeeneyeError):
    """A body did not arrive in time."""


class BodyReader:
    """Reads bodies; they, and what else is reserved here, together take no more than `max_bytes` of memory."""

    def __init__(self, max_bytes: int, *, max_seconds: float = BODY_SECONDS) -> None:
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._held = 0

    @property
    def held_bytes(self) -> int:
        """Bytes of memory that bodies have or were promised."""
        return self._held

    @asynccontextmanager
    async def body(self, headers: Headers, receive: Receive, max_bytes: int) -> AsyncIterator[bytearray]:
        """Read a body of at most `max_bytes`, and count it as held until the end of the block.

        Whoever has read it may clear it: nobody else looks at it.

        Its memory is reserved before anything is read: what it declares, or `max_bytes` when it declares nothing.

        Raises:
            BodyTooLarge: when it is declared or found to be larger.
            BodyTooSlow: when it does not arrive in time.
            Overloaded: when the bodies in hand leave no memory for it.
            ClientDisconnect: when the client has gone.
        """
        with self.reserved(_declared_bytes(headers, max_bytes)) as hold:
            body = await self._read(receive, max_bytes)
            hold(len(body))
            yield body

    @contextmanager
    def reserved(self, size: int) -> Iterator[Callable[[int], None]]:
        """Reserve memory until the end of the block; yields what tells how many bytes it came to be.

        Raises:
            Overloaded: when there is not so much left.
        """
        if self._held + size > self._max_bytes:
            raise Overloaded("the images in hand leave no memory for another; try again in a moment")
        self._held += size
        held = size

        def hold(size: int) -> None:
            nonlocal held
            self._held += size - held
            held = size

        try:
            yield hold
        finally:
            self._held -= held

    async def _read(self, receive: Receive, max_bytes: int) -> bytearray:
        # Not a list of chunks: many chunks of one byte would take forty times their size.
        body = bytearray()
        try:
            async with asyncio.timeout(self._max_seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    body += message.get("body", b"")
                    if len(body) > max_bytes:
                        raise _too_large(f"more than {max_bytes} bytes", max_bytes)
                    more = message.get("more_body", False)
        except TimeoutError:
            raise BodyTooSlow(
                f"{len(body)} bytes arrived in {self._max_seconds:g} seconds, and not the rest; send the body faster"
            ) from None
        return body


def _declared_bytes(headers: Headers, max_bytes: int) -> int:
    declared = headers.get("content-length", "")
    if not (declared.isascii() and declared.isdigit()):
        return max_bytes
    size = int(declared[:20])
    if size > max_bytes:
        raise _too_large(f"{size} bytes", max_bytes)
    return size


def _too_large(found: str, max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body has {found}, and {max_bytes} are accepted; send a smaller image")
