"""POST /: the calls of Rekognition Custom Labels, their signatures verified before anything is done."""

import asyncio
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from deployments.endpoint.access import told
from deployments.endpoint.keys import Key, Keys
from deployments.endpoint.limits import BodyTooLarge, BodyTooSlow
from deployments.endpoint.parts import Parts, parts_of
from deployments.endpoint.rekognition.errors import IMAGE_TOO_LARGE, TOO_LARGE, VALIDATION, wire_error
from deployments.endpoint.rekognition.operations import Context
from deployments.endpoint.rekognition.protocol import MAX_BODY_BYTES, WireAnswer, answer, error_answer
from deployments.endpoint.sigv4 import SignatureRefused, SignedRequest, verify
from tasks.errors import KeeneyeError
from tasks.serving.errors import ServingError

TIMEOUT = "RequestTimeoutException"
HASHED_IN_A_THREAD_BYTES = 262_144
"""Hashing more than this takes longer than a change of threads, and others wait meanwhile."""


async def call(request: Request) -> Response:
    """Answer one call; refusals too are in the service's own form."""
    parts = parts_of(request)
    try:
        async with parts.admitted_body(request, MAX_BODY_BYTES) as body:
            wire = await _answer(request, body, parts)
    except (BodyTooLarge, BodyTooSlow, ServingError) as error:
        wire = _refusal(error, request.headers.get("x-amz-target", ""))
    about = told(request)
    about.route, about.operation, about.code = "/", wire.operation, wire.code
    about.model, about.version = wire.model, wire.version
    return Response(wire.body, wire.status, wire.headers)


async def _answer(request: Request, body: bytes, parts: Parts) -> WireAnswer:
    try:
        key = await _signer(request, body, parts.keys, parts.region) if parts.keys is not None else None
    except SignatureRefused as error:
        return error_answer(error.code, error.message)
    return await answer(request.headers, body, Context(parts.projects, parts.service, key, parts.read_object))


async def _signer(request: Request, body: bytes, keys: Keys, region: str) -> Key:
    scope = request.scope
    signed = SignedRequest(
        method=scope["method"],
        path=scope["raw_path"].decode("latin-1"),
        query=scope["query_string"].decode("latin-1"),
        headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]],
        body=body,
    )
    now = datetime.now(UTC)
    if len(body) > HASHED_IN_A_THREAD_BYTES:
        return await asyncio.to_thread(verify, signed, keys, region=region, now=now)
    return verify(signed, keys, region=region, now=now)


def _refusal(error: KeeneyeError, target: str) -> WireAnswer:
    if isinstance(error, BodyTooLarge) and target.endswith(".DetectCustomLabels"):
        return error_answer(IMAGE_TOO_LARGE, f"{TOO_LARGE} The request may have {MAX_BODY_BYTES} bytes.")
    if isinstance(error, BodyTooLarge):
        return error_answer(VALIDATION, f"The request may have {MAX_BODY_BYTES} bytes.")
    if isinstance(error, BodyTooSlow):
        return error_answer(TIMEOUT, error.message)
    told_as = wire_error(error)
    return error_answer(told_as.code, told_as.message)
