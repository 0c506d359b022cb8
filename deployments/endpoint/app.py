"""The ASGI application: the service's calls at POST /, the plain API below /v1, the page, probes and figures."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deployments.endpoint import metrics
from deployments.endpoint.access import AccessLog, told
from deployments.endpoint.http_answers import ProblemDocument
from deployments.endpoint.http_api import json_response, router
from deployments.endpoint.page import page_routes
from deployments.endpoint.parts import Parts, parts_of
from deployments.endpoint.problems import REFUSALS, Forbidden, problem, refusal
from deployments.endpoint.rekognition_route import call
from tasks.errors import KeeneyeError

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]", "::1")
DESCRIPTION = (
    "Images in, labels and boxes out. A model is addressed as NAME@ALIAS or NAME@VERSION; an alias follows the "
    "registry. The calls of Rekognition Custom Labels are answered at POST /, signed with the same keys."
)


def make_app(
    parts: Parts, *, write: Callable[[str], object] = sys.stderr.write, hosts: tuple[str, ...] = ()
) -> FastAPI:
    """Put the application together.

    Args:
        parts: what its routes work with; closed with the application.
        write: takes the line that tells of a request.
        hosts: names that the endpoint answers to; empty answers to every name.
    """
    app = FastAPI(title="Keeneye", openapi_url=None, docs_url=None, redoc_url=None, lifespan=_lifespan)
    app.state.parts = parts
    app.include_router(router)
    app.router.routes += [
        Route("/", call, methods=["POST"]),
        *page_routes(),
        *(Route(path, answer, methods=["GET"]) for path, answer in _PLAIN.items()),
    ]
    for kind in REFUSALS:
        app.add_exception_handler(kind, _refused)
    app.add_exception_handler(HTTPException, _not_routed)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(Exception, _failed)
    if hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    app.add_middleware(AccessLog, metrics=parts.metrics, write=write)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    parts: Parts = app.state.parts
    await parts.start()
    yield
    await parts.aclose()


async def health(request: Request) -> Response:
    """Tell that the process answers."""
    told(request).route = "/healthz"
    return json_response({"status": "alive"})


async def ready(request: Request) -> Response:
    """Tell whether the registry answers."""
    told(request).route = "/readyz"
    trouble = await parts_of(request).readiness.trouble()
    return problem(503, trouble) if trouble else json_response({"status": "ready"})


async def figures(request: Request) -> Response:
    """Tell Prometheus; the names of all models are in it, so only a key for all may ask."""
    told(request).route = "/metrics"
    parts = parts_of(request)
    key = parts.caller(request)
    if key is not None and key.projects != "*":
        raise Forbidden("the figures tell of all models, and this key is not for all; use another")
    return Response(parts.metrics.page(), media_type=metrics.CONTENT_TYPE)


async def openapi(request: Request) -> Response:
    """Tell what the plain API takes and gives."""
    told(request).route = "/openapi.json"
    parts_of(request).caller(request)
    return json_response(openapi_document(request.app))


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Describe the plain API as OpenAPI 3.1."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version="1", description=DESCRIPTION, routes=router.routes)
        document["components"]["schemas"][ProblemDocument.__name__] = ProblemDocument.model_json_schema()
        if app.state.parts.keys is None:  # who needs no key shall not be asked for one
            for operation in (one for path in document["paths"].values() for one in path.values()):
                operation.pop("security", None)
        app.openapi_schema = document
    return app.openapi_schema


_PLAIN = {"/healthz": health, "/readyz": ready, "/metrics": figures, "/openapi.json": openapi}


def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, KeeneyeError)  # noqa: S101 - for the type checker; it is registered for these only
    return refusal(error)


def _not_routed(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    return problem(error.status_code, f"{error.detail}; GET /openapi.json tells what is served", error.headers)


def _not_valid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return problem(422, f"{place} is not accepted: {first['msg']}")


def _failed(_: Request, __: Exception) -> Response:
    return problem(500, "the endpoint failed to answer; its log says why")
