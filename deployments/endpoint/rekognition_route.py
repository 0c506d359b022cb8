"""POST /: the calls of Rekognition Custom Labels, their signatures verified before anything is done."""

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from deployments.endpoint.access import told
from deployments.endpoint.keys import Key
from deployments.endpoint.limits import BodyTooLarge, BodyTooSlow
from deployments.endpoint.parts import Parts, parts_of
from deployments.endpoint.rekognition.errors import (
    IMAGE_TOO_LARGE,
    LIMIT_EXCEEDED,
    TOO_LARGE,
    VALIDATION,
    wire_error,
)
from deployments.endpoint.rekognition.operations import Context
from deployments.endpoint.rekognition.protocol import MAX_BODY_BYTES, WireAnswer, answer, error_answer
from deployments.endpoint.shares import ShareUsedUp
from deployments.endpoint.sigv4 import Claim, SignatureRefused, SignedRequest, verify_body, verify_head
from deployments.endpoint.waiting import of_body
from tasks.errors import KeeneyeError
from tasks.serving.errors import ServingError

TIMEOUT = "RequestTimeoutException"
HASHED_IN_A_THREAD_BYTES = 262_144
"""Hashing more than this takes longer than a change of threads, and others wait meanwhile."""


async def call(request: Request) -> Response:
    """Answer one call; refusals too are in the service's own form."""
    parts = parts_of(request)
    try:
        # Before a place or memory is taken: who shows no key must not keep those out who have one.
        claim = _claim(request, parts)
        async with parts.admitted_body(request, MAX_BODY_BYTES, claim.key if claim else None) as body:
            key = await _signer(claim, body)
            wire = await answer(request.headers, body, _context(parts, key))
    except SignatureRefused as error:
        wire = error_answer(error.code, error.message)
    except (BodyTooLarge, BodyTooSlow, ServingError, ShareUsedUp) as error:
        wire = _refusal(error, request.headers.get("x-amz-target", ""))
    about = told(request)
    about.route, about.operation, about.code = "/", wire.operation, wire.code
    about.model, about.version = wire.model, wire.version
    return Response(wire.body, wire.status, wire.headers)


def _context(parts: Parts, key: Key | None) -> Context:
    return Context(
        projects=parts.projects,
        service=parts.service,
        key=key,
        read_object=parts.read_object,
        reserved=parts.bodies.reserved,
        max_image_bytes=parts.max_image_bytes,
    )


def _claim(request: Request, parts: Parts) -> Claim | None:
    if parts.keys is None:
        return None
    scope = request.scope
    signed = SignedRequest(
        method=scope["method"],
        path=scope["raw_path"].decode("latin-1"),
        query=scope["query_string"].decode("latin-1"),
        headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]],
    )
    return verify_head(signed, parts.keys, region=parts.region, now=datetime.now(UTC))


async def _signer(claim: Claim | None, body: bytearray) -> Key | None:
    if claim is None:
        return None
    if len(body) > HASHED_IN_A_THREAD_BYTES:
        return await of_body(lambda: verify_body(claim, body))
    return verify_body(claim, body)


def _refusal(error: KeeneyeError, target: str) -> WireAnswer:
    if isinstance(error, ShareUsedUp):
        return error_answer(LIMIT_EXCEEDED, error.message)
    if isinstance(error, BodyTooLarge) and target.endswith(".DetectCustomLabels"):
        return error_answer(IMAGE_TOO_LARGE, f"{TOO_LARGE} The request may have {MAX_BODY_BYTES} bytes.")
    if isinstance(error, BodyTooLarge):
        return error_answer(VALIDATION, f"The request may have {MAX_BODY_BYTES} bytes.")
    if isinstance(error, BodyTooSlow):
        return error_answer(TIMEOUT, error.message)
    told_as = wire_error(error)
    return error_answer(told_as.code, told_as.message)
