"""Around every request: one line on stderr, one count in the figures; never a body, a query or a secret."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.endpoint.metrics import Metrics

CLIENT_GONE = 499
"""What nginx writes for a client that left before its answer."""
FAULT = 500
MAX_PATH_CHARACTERS = 200
_SCOPE_KEY = "keeneye.told"


@dataclass(slots=True)
class Told:
    """What a handler tells of a request, for the log and the figures.

    Attributes:
        route: which of the endpoint's routes it took.
        operation: of the service's protocol, if it is one that is served.
        model: that answered; empty when none did.
        version: that answered.
        code: of the error, if it has one.
    """

    route: str = "other"
    operation: str = ""
    model: str = ""
    version: str = ""
    code: str = ""


def told(request: Request) -> Told:
    """Return where a handler tells of its request."""
    found: Told = request.scope[_SCOPE_KEY]
    return found


class AccessLog:
    """ASGI middleware that times, counts and logs."""

    def __init__(self, app: ASGIApp, metrics: Metrics, write: Callable[[str], object]) -> None:
        self._app, self._metrics, self._write = app, metrics, write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and tell of it when it is answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        about = scope[_SCOPE_KEY] = Told()
        status = CLIENT_GONE

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = time.perf_counter()
        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            status = CLIENT_GONE
        except Exception:
            status = FAULT
            raise
        finally:
            seconds = time.perf_counter() - started
            self._metrics.in_flight.dec()
            self._metrics.count(about.operation or about.route, about.model, status, seconds)
            self._write(line(scope, about, status, seconds))


def line(scope: Scope, about: Told, status: int, seconds: float) -> str:
    """Write a request in one line: method, path, operation, status, time, model and version."""
    path = scope["path"][:MAX_PATH_CHARACTERS]
    # What a client sent must not forge lines, nor speak to the terminal that shows them.
    shown = path if path.isprintable() else ascii(path)[1:-1]
    words = [scope["method"], shown, about.operation, str(status), about.code]
    answered = f"{about.model}/{about.version}" if about.model else ""
    return " ".join(word for word in (*words, f"{seconds * 1000:.1f}ms", answered) if word) + "\n"
