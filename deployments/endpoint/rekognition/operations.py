"""The operations that are served, each from its checked input to the members of its answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from deployments.endpoint.keys import Key
from deployments.endpoint.rekognition.answers import custom_label, project_description, version_description
from deployments.endpoint.rekognition.errors import (
    ACCESS_DENIED,
    BAD_IMAGE,
    INVALID_FORMAT,
    WireError,
    invalid_parameter,
)
from deployments.endpoint.waiting import in_time, of_store
from tasks.serving.arns import VersionArn, parse_project_arn, parse_version_arn
from tasks.serving.projects import Projects
from tasks.serving.selection import select
from tasks.serving.service import PredictionService
from tasks.stores.s3 import ObjectUnreadable

MAX_OBJECT_BYTES = 15 * 1024**2
"""Of an image in S3, as the service's guide says; the bytes of a request are limited by their shape."""
OBJECT_SECONDS = 30.0
"""For an object in S3 to be read; what a store sends later is dropped, and `STORE_THREADS` bound how much."""
PAGE_ITEMS = 100
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")

Members = Mapping[str, Any]


class ReadObject(Protocol):
    """Reads an object of an S3 store: `tasks.stores.s3.read_object`."""

    def __call__(self, bucket: str, key: str, version: str | None = None, *, max_bytes: int) -> bytes:
        """Return its bytes; raises ObjectUnreadable."""


@dataclass(frozen=True, slots=True)
class Context:
    """What an operation works with.

    Attributes:
        projects: what there is and what runs.
        service: answers images.
        key: of the caller; None lets everybody use everything.
        read_object: reads images that lie in an S3 store.
        reserved: holds memory for what is read there, or raises Overloaded; yields what takes its size in the end.
        max_image_bytes: of an image file.
    """

    projects: Projects
    service: PredictionService
    key: Key | None
    read_object: ReadObject
    reserved: Callable[[int], AbstractContextManager[Callable[[int], None]]]
    max_image_bytes: int

    def may_use(self, project: str) -> bool:
        """Whether the caller may see and use a project."""
        return self.key is None or self.key.may_use(project)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The members of an answer, and the model and version that it is about, for the log."""

    members: dict[str, Any]
    model: str = ""
    version: str = ""


async def detect_custom_labels(members: Members, context: Context) -> Outcome:
    """Tell what a model finds in an image.

    PNG and JPEG only, as the service; unlike in training, sides and aspect are not limited, since every image is
    framed to the network's own size. `MaxResults` 0 is taken for absent.
    """
    arn = _version_arn(members, context)
    _require_one_image(members["Image"])
    await in_time(context.projects.require(arn))
    async with _image(members["Image"], context) as image:
        if not image.startswith(_SIGNATURES):
            raise WireError(INVALID_FORMAT, f"{BAD_IMAGE} Send a PNG or JPEG file.")
        answer = await context.service.predict(arn.name, arn.qualifier, image)
    found = select(answer, min_confidence=members.get("MinConfidence"), max_results=members.get("MaxResults") or None)
    return Outcome({"CustomLabels": [custom_label(one) for one in found]}, answer.model, answer.version)


async def describe_projects(members: Members, context: Context) -> Outcome:
    """List the projects that the caller may use; unknown names are left out."""
    if "CUSTOM_LABELS" not in members.get("Features", ["CUSTOM_LABELS"]):
        return Outcome({"ProjectDescriptions": []})
    names = members.get("ProjectNames", ())
    page = await in_time(context.projects.describe_projects(names=names, visible=context.may_use, **_paging(members)))
    return Outcome(_page("ProjectDescriptions", [project_description(one) for one in page.items], page.next_token))


async def describe_project_versions(members: Members, context: Context) -> Outcome:
    """List a project's versions, the newest first; aliases when they are asked for by name."""
    try:
        arn = parse_project_arn(members["ProjectArn"])
    except ValueError as error:
        raise invalid_parameter(f"{error}.") from None
    _require_right(arn.name, context)
    qualifiers = members.get("VersionNames", ())
    page = await in_time(context.projects.describe_versions(arn, qualifiers=qualifiers, **_paging(members)))
    described = [version_description(one) for one in page.items]
    return Outcome(_page("ProjectVersionDescriptions", described, page.next_token), arn.name)


async def start_project_version(members: Members, context: Context) -> Outcome:
    """Start a version; it is loaded behind."""
    arn = _version_arn(members, context)
    units = {"min_units": members["MinInferenceUnits"], "max_units": members.get("MaxInferenceUnits")}
    return Outcome({"Status": await in_time(context.projects.start(arn, **units))}, arn.name, arn.qualifier)


async def stop_project_version(members: Members, context: Context) -> Outcome:
    """Stop a version."""
    arn = _version_arn(members, context)
    return Outcome({"Status": await in_time(context.projects.stop(arn))}, arn.name, arn.qualifier)


OPERATIONS: dict[str, Callable[[Members, Context], Awaitable[Outcome]]] = {
    "DetectCustomLabels": detect_custom_labels,
    "DescribeProjects": describe_projects,
    "DescribeProjectVersions": describe_project_versions,
    "StartProjectVersion": start_project_version,
    "StopProjectVersion": stop_project_version,
}


def _version_arn(members: Members, context: Context) -> VersionArn:
    try:
        arn = parse_version_arn(members["ProjectVersionArn"])
    except ValueError as error:
        raise invalid_parameter(f"{error}.") from None
    _require_right(arn.name, context)
    return arn


def _require_right(project: str, context: Context) -> None:
    # Before anything is looked up: who has no right shall not learn what there is.
    if not context.may_use(project):
        raise WireError(ACCESS_DENIED, f"You are not authorized to perform the action: project {project} is not yours.")


def _require_one_image(image: Members) -> None:
    if ("Bytes" in image) == ("S3Object" in image):
        raise invalid_parameter("Image must hold either Bytes or S3Object.")
    if "S3Object" in image and not {"Bucket", "Name"} <= image["S3Object"].keys():
        raise invalid_parameter("S3Object must hold Bucket and Name.")


@asynccontextmanager
async def _image(image: Members, context: Context) -> AsyncIterator[bytes]:
    if "Bytes" in image:  # which the memory of the request's body is reserved for
        yield image["Bytes"]
        return
    max_bytes = min(MAX_OBJECT_BYTES, context.max_image_bytes)
    with context.reserved(max_bytes) as hold:
        read = await _object(image["S3Object"], context.read_object, max_bytes)
        hold(len(read))
        yield read


async def _object(place: Members, read_object: ReadObject, max_bytes: int) -> bytes:
    bucket, key, version = place["Bucket"], place["Name"], place.get("Version")
    try:
        async with asyncio.timeout(OBJECT_SECONDS):
            return await of_store(lambda: read_object(bucket, key, version, max_bytes=max_bytes))
    except TimeoutError:
        raise ObjectUnreadable(f"s3://{bucket}/{key} was not read in {OBJECT_SECONDS:g} seconds; try again") from None


def _paging(members: Members) -> dict[str, Any]:
    return {"token": members.get("NextToken", ""), "limit": members.get("MaxResults", PAGE_ITEMS)}


def _page(name: str, items: list[dict[str, Any]], next_token: str) -> dict[str, Any]:
    return {name: items} | ({"NextToken": next_token} if next_token else {})
