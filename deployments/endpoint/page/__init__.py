"""The pages, served from this folder and from no other host: a place to try an image, and what stands where."""

from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deployments.endpoint.access import told
from deployments.endpoint.parts import parts_of

FOLDER = Path(__file__).parent
PAGES = {"/": "page.html", "/status": "status.html"}
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
LOADED = ("page.css", "status.css", "common.js", "page.js", "status.js", "icon.svg")
"""What the pages load."""
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def page_routes() -> list[Route]:
    """Return the pages, for whoever has a key, and what they load, for everybody."""
    pages = [Route(path, _answer_file(name, is_open=False), methods=["GET"]) for path, name in PAGES.items()]
    return [*pages, *(Route(f"/page/{name}", _answer_file(name, is_open=True), methods=["GET"]) for name in LOADED)]


def _answer_file(name: str, *, is_open: bool) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        told(request).route = "/page"
        if not is_open:
            parts_of(request).caller(request)
        return _file(name)

    return answer


def _file(name: str) -> Response:
    return Response(_content(name), headers=HEADERS, media_type=TYPES[Path(name).suffix])


@cache
def _content(name: str) -> bytes:
    return (FOLDER / name).read_bytes()
