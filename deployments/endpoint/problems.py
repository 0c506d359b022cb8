"""Refusals of the plain HTTP API: `application/problem+json`, the form of RFC 9457."""

import logging
from collections.abc import Mapping
from http import HTTPStatus

import orjson
from starlette.responses import Response

from deployments.endpoint.keys import AccessRefused
from deployments.endpoint.limits import BodyTooLarge, BodyTooSlow
from deployments.endpoint.shares import ShareUsedUp
from tasks.errors import EnvironmentFailed, KeeneyeError, RegistryError
from tasks.serving.errors import (
    ImageRefused,
    ModelUnavailable,
    NotRunning,
    Overloaded,
    ServiceStopping,
    StateConflict,
    UnknownModel,
    UnknownVersion,
)

PROBLEM_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = "1"
_CHALLENGE = {"www-authenticate": 'Basic realm="keeneye", charset="UTF-8"'}
_RETRY = {"retry-after": RETRY_AFTER_SECONDS}
_log = logging.getLogger(__name__)


class Forbidden(KeeneyeError):
    """The key is valid, but not for this model."""


class UnsupportedContent(KeeneyeError):
    """The body is of a kind that cannot hold an image."""


class MalformedUpload(KeeneyeError):
    """A form without the one image that it should hold."""


_STATUS: dict[type[KeeneyeError], tuple[HTTPStatus, Mapping[str, str]]] = {
    AccessRefused: (HTTPStatus.UNAUTHORIZED, _CHALLENGE),
    Forbidden: (HTTPStatus.FORBIDDEN, {}),
    MalformedUpload: (HTTPStatus.BAD_REQUEST, {}),
    ImageRefused: (HTTPStatus.BAD_REQUEST, {}),
    UnknownModel: (HTTPStatus.NOT_FOUND, {}),
    UnknownVersion: (HTTPStatus.NOT_FOUND, {}),
    BodyTooSlow: (HTTPStatus.REQUEST_TIMEOUT, {"connection": "close"}),
    NotRunning: (HTTPStatus.CONFLICT, {}),
    StateConflict: (HTTPStatus.CONFLICT, {}),
    BodyTooLarge: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {}),
    UnsupportedContent: (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, {}),
    ShareUsedUp: (HTTPStatus.TOO_MANY_REQUESTS, _RETRY),
    Overloaded: (HTTPStatus.TOO_MANY_REQUESTS, _RETRY),
    ModelUnavailable: (HTTPStatus.SERVICE_UNAVAILABLE, _RETRY),
    ServiceStopping: (HTTPStatus.SERVICE_UNAVAILABLE, _RETRY),
    EnvironmentFailed: (HTTPStatus.SERVICE_UNAVAILABLE, _RETRY),
    RegistryError: (HTTPStatus.SERVICE_UNAVAILABLE, _RETRY),
}
_OUTSIDE = (ModelUnavailable, EnvironmentFailed, RegistryError)
_OUT_OF_REACH = "the model, the registry or the states' database does not answer; try again in a moment"
REFUSALS = tuple(_STATUS)
"""What a request is refused with; anything else is a fault of the endpoint."""


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None, **members: object) -> Response:
    """Answer with a problem: `type`, `title` (the status's own phrase), `status`, `detail` and further members."""
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return Response(orjson.dumps(document | members), status, headers, PROBLEM_TYPE)


def refusal(error: KeeneyeError) -> Response:
    """Answer an error of `REFUSALS` or below; a bad image's problem has its finding as `code`.

    What is no fault of the caller's may name the server's paths and addresses: that is told in the log only.
    """
    kind = next(one for one in type(error).__mro__ if one in _STATUS)
    status, headers = _STATUS[kind]
    members = {"code": error.code} if isinstance(error, ImageRefused) else {}
    if isinstance(error, _OUTSIDE):
        _log.error("%s", error.message)
        return problem(status, _OUT_OF_REACH, headers)
    return problem(status, error.message, headers, **members)
