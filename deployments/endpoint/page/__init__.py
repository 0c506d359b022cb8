"""The page: models and a place to try an image, served from this folder and from no other host."""

from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deployments.endpoint.access import told
from deployments.endpoint.parts import parts_of

FOLDER = Path(__file__).parent
TYPES = {"page.html": "text/html", "page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def page_routes() -> list[Route]:
    """Return GET / and what its page loads."""
    files = [Route(f"/page/{name}", _answer_file(name), methods=["GET"]) for name in TYPES if name != "page.html"]
    return [Route("/", page, methods=["GET"]), *files]


async def page(request: Request) -> Response:
    """Show the page to whoever has a key."""
    told(request).route = "/page"
    parts_of(request).caller(request)
    return _file("page.html")


def _answer_file(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        told(request).route = "/page"
        return _file(name)

    return answer


def _file(name: str) -> Response:
    return Response(_content(name), headers=HEADERS, media_type=TYPES[name])


@cache
def _content(name: str) -> bytes:
    return (FOLDER / name).read_bytes()
