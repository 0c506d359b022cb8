"""JSON 1.1 over POST: a request's headers and body to the status, headers and body of its answer."""

import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from deployments.endpoint.rekognition.errors import (
    INTERNAL,
    SERIALIZATION,
    SERVICE_ISSUE,
    UNKNOWN_OPERATION,
    WireError,
    http_status,
    wire_error,
)
from deployments.endpoint.rekognition.operations import OPERATIONS, Context, Outcome
from deployments.endpoint.rekognition.shapes import read_input
from deployments.endpoint.waiting import of_body
from tasks.errors import KeeneyeError

TARGET_PREFIX = "RekognitionService."
CONTENT_TYPE = "application/x-amz-json-1.1"
MAX_BODY_BYTES = 8 * 1024**2
"""The largest image that a request may hold is 5 MiB, or 6.7 MiB as base64; the rest is names."""

READ_IN_A_THREAD_BYTES = 200_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WireAnswer:
    """An answer, ready to be sent, and what a log says of it.

    Attributes:
        status: of HTTP.
        headers: to send.
        body: JSON.
        operation: that was asked for; empty when it is none of those served.
        model: the project that it is about; empty when there is none.
        version: the number of the version that answered an image, else the qualifier that was named.
        code: the error's; empty when there is none.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    operation: str = ""
    model: str = ""
    version: str = ""
    code: str = ""


async def answer(headers: Mapping[str, str], body: bytearray, context: Context) -> WireAnswer:
    """Answer a request that was admitted; never raises.

    Args:
        headers: of the request; names in any case.
        body: whole; cleared when it has been read, so that no image is in memory twice.
        context: what to answer with.
    """
    operation = ""
    try:
        operation = _operation(headers)
        outcome = await OPERATIONS[operation](await _members(operation, body), context)
    except WireError as error:
        return error_answer(error.code, error.message, operation)
    except KeeneyeError as error:
        told = wire_error(error)
        if http_status(told.code) >= 500:
            _log.error("%s: %s", operation, error.message)
        return error_answer(told.code, told.message, operation)
    except Exception:
        _log.exception("%s failed in an unforeseen way", operation)
        return error_answer(INTERNAL, SERVICE_ISSUE, operation)
    return _success(outcome, operation)


def error_answer(code: str, message: str, operation: str = "") -> WireAnswer:
    """Write an error as the service does; also for what is refused before an operation is known."""
    request_id = str(uuid.uuid4())
    members = {"__type": code, "Code": code, "Logref": request_id, "Message": message}
    return WireAnswer(http_status(code), _headers(request_id), orjson.dumps(members), operation, code=code)


async def _members(operation: str, body: bytearray) -> dict[str, Any]:
    if len(body) > READ_IN_A_THREAD_BYTES:
        members = await of_body(lambda: read_input(operation, body))
    else:
        members = read_input(operation, body)
    body.clear()
    return members


def _success(outcome: Outcome, operation: str) -> WireAnswer:
    body, headers = orjson.dumps(outcome.members), _headers(str(uuid.uuid4()))
    return WireAnswer(200, headers, body, operation, outcome.model, outcome.version)


def _headers(request_id: str) -> dict[str, str]:
    return {"content-type": CONTENT_TYPE, "x-amzn-requestid": request_id}


def _operation(headers: Mapping[str, str]) -> str:
    given = {name.lower(): value for name, value in headers.items()}
    target = given.get("x-amz-target", "")
    operation = target.removeprefix(TARGET_PREFIX)
    if not target.startswith(TARGET_PREFIX) or operation not in OPERATIONS:
        shown = f"X-Amz-Target {target[:100]!r}" if target else "a request without X-Amz-Target"
        served = ", ".join(OPERATIONS)
        raise WireError(UNKNOWN_OPERATION, f"{shown} is not served here. Served are: {served}.")
    content_type = given.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != CONTENT_TYPE:
        raise WireError(SERIALIZATION, f"Content-Type {content_type[:100]!r} is not read; send {CONTENT_TYPE}.")
    return operation
