"""The plain HTTP API below /v1: models, and predictions of images sent as they are or in a form."""

import asyncio
from http import HTTPStatus
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Path, Query
from fastapi.security.http import HTTPBase
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response

from deployments.endpoint.access import told
from deployments.endpoint.http_answers import (
    ModelDocument,
    ModelsDocument,
    PredictionDocument,
    PredictQuery,
    ProblemDocument,
    prediction_document,
)
from deployments.endpoint.keys import Key
from deployments.endpoint.parts import may_use, parts_of, require_right
from deployments.endpoint.problems import PROBLEM_TYPE
from deployments.endpoint.uploads import FORM_OVERHEAD_BYTES, FORM_TYPE, IMAGE_FIELD, image_of_form, is_form
from deployments.endpoint.waiting import in_time
from flows.status import StatusResult

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"type": "object", "required": [IMAGE_FIELD], "properties": {IMAGE_FIELD: _BINARY["schema"]}}
_IMAGE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": _BINARY,
            "image/*": _BINARY,
            FORM_TYPE: {"schema": _FORM},
        },
    }
}


class _WordConvertor(StringConvertor):
    # So that `bolts@production:predict` is never taken for the name of a model.
    regex = "[^/@:]+"


register_url_convertor("word", _WordConvertor())
_documented_basic = HTTPBase(
    scheme="basic",
    scheme_name="HTTPBasic",
    auto_error=False,
    description="Access key's id as user, its secret as password.",
)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return how OpenAPI describes refusals."""
    content = {PROBLEM_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemDocument.__name__}"}}}
    return {status: {"content": content, "description": HTTPStatus(status).phrase} for status in statuses}


async def caller(request: Request, _: Annotated[object, Depends(_documented_basic)]) -> Key | None:
    """Return the key that a request shows; the second argument only tells OpenAPI how.

    Raises:
        AccessRefused: when it shows none that is valid.
    """
    told(request).route = request.scope["route"].path_format
    return parts_of(request).caller(request)


Caller = Annotated[Key | None, Depends(caller)]
Name = Annotated[str, Path(description="Registered model.")]
Qualifier = Annotated[str, Path(description="Alias, or number of a version.")]
router = APIRouter(prefix="/v1", responses=problems(401, 503))


@router.get("/models", responses={200: {"model": ModelsDocument}}, summary="All models that the key may use")
async def models(request: Request, key: Caller) -> Response:
    """Tell all models."""
    parts = parts_of(request)
    found = await in_time(asyncio.to_thread(parts.catalogue.models, lambda name: may_use(key, name)))
    return json_response({"environment": parts.environment, "models": found})


@router.get(
    "/status",
    responses={200: {"model": StatusResult}},
    summary="What stands in staging and production, since when and by whom, and what stood there before",
)
async def status(request: Request, key: Caller) -> Response:
    """Tell what `keeneye status` tells, of the models that the key may use."""
    found = await in_time(asyncio.to_thread(parts_of(request).status, lambda name: may_use(key, name)))
    return json_response(found.model_dump())


@router.get(
    "/models/{name:word}",
    responses={200: {"model": ModelDocument}, **problems(403, 404, 422)},
    summary="One model with its versions, aliases, states and figures",
)
async def model(request: Request, name: Name, key: Caller) -> Response:
    """Tell one model."""
    require_right(key, name)
    return json_response(await in_time(asyncio.to_thread(parts_of(request).catalogue.model, name)))


@router.post(
    "/models/{name:word}@{qualifier:word}:predict",
    responses={200: {"model": PredictionDocument}, **problems(400, 403, 404, 408, 409, 413, 415, 422, 429)},
    openapi_extra=_IMAGE_BODY,
    summary="What a model finds in one image",
)
async def predict(
    request: Request, name: Name, qualifier: Qualifier, key: Caller, query: Annotated[PredictQuery, Query()]
) -> Response:
    """Answer one image."""
    parts, about = parts_of(request), told(request)
    require_right(key, name)
    form = is_form(request.headers)
    max_bytes = parts.max_image_bytes + (FORM_OVERHEAD_BYTES if form else 0)
    async with parts.admitted_body(request, max_bytes, key) as body:
        image = await image_of_form(request.headers, bytes(body)) if form else bytes(body)
        body.clear()  # so that no image is in memory twice while it waits
        answer = await parts.service.predict(name, qualifier, image)
    about.model, about.version = answer.model, answer.version
    return json_response(prediction_document(answer, query.min_confidence, query.max_results))


def json_response(document: object) -> Response:
    """Answer with a document; figures that are no numbers become null."""
    return Response(orjson.dumps(document), media_type="application/json")
