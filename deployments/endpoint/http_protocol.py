"""HTTP/1.1 with the bounds that uvicorn leaves to a proxy: on heads, on their time, and on what is read to no end."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 65_536
"""Of a request's line and headers, and of whatever else comes between the bytes of bodies."""
MAX_FRAMING = 8
"""Bytes received for each byte of a body: chunks of one byte take six."""
HEAD_SECONDS = 20.0
"""For a head to arrive, and between a refusal and the end of the body that was refused."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection of the endpoint."""

    _received = 0
    _body = 0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a head, but not for ever."""
        super().connection_made(transport)
        self._within(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._done()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless the head, or what is around a body, has become too much: the parser would keep all of it."""
        self._received += len(data)
        super().data_received(data)
        if self._received > MAX_HEAD_BYTES + MAX_FRAMING * self._body and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        """Count anew, and give the head its time."""
        super().on_message_begin()
        self._received = self._body = 0
        self._within(HEAD_SECONDS)

    def on_headers_complete(self) -> None:
        """Answer; the body has a limit of its own."""
        self._done()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._body += len(body)
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Go on with the connection; the rest of a body that was refused is read, so that its sender sees why."""
        if self.cycle.more_body:
            self._within(HEAD_SECONDS)
        super().on_response_complete()

    def on_message_complete(self) -> None:
        """Note the end of a body."""
        self._done()
        super().on_message_complete()

    def _within(self, seconds: float) -> None:
        self._done()
        self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def _done(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None
