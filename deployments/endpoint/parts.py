"""What the endpoint's routes work with, put together once at its start."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.requests import Request

from deployments.endpoint.catalogue import Catalogue
from deployments.endpoint.keys import Key, Keys, verify_basic
from deployments.endpoint.limits import BodyReader
from deployments.endpoint.metrics import Metrics
from deployments.endpoint.problems import Forbidden
from deployments.endpoint.readiness import Readiness
from deployments.endpoint.rekognition.operations import ReadObject
from deployments.endpoint.shares import Shares
from deployments.endpoint.waiting import keep_registry_apart
from flows.status import StatusResult
from tasks.errors import KeeneyeError
from tasks.serving.projects import Projects
from tasks.serving.service import PredictionService

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """The endpoint's parts.

    Attributes:
        service: answers images.
        projects: rules of projects and versions.
        catalogue: tells what there is.
        bodies: reads request bodies.
        metrics: counts.
        readiness: whether the registry answers.
        keys: of the clients; None answers everybody.
        region: that clients sign for.
        max_image_bytes: of an image file.
        read_object: reads images that lie in an S3 store.
        status: tells of the models whose names are wanted what stands where, and how it came there; blocks.
        environment: that alone is answered for; empty answers for every alias.
        shares: of the keys.
    """

    service: PredictionService
    projects: Projects
    catalogue: Catalogue
    bodies: BodyReader
    metrics: Metrics
    readiness: Readiness
    keys: Keys | None
    region: str
    max_image_bytes: int
    read_object: ReadObject
    status: Callable[[Callable[[str], bool]], StatusResult]
    environment: str = ""
    shares: Shares = field(default_factory=Shares)

    def caller(self, request: Request) -> Key | None:
        """Return the key that a request shows by HTTP Basic; None when everybody is answered.

        Raises:
            AccessRefused: when it shows none that is valid.
        """
        return verify_basic(request.headers.get("authorization"), self.keys) if self.keys is not None else None

    @asynccontextmanager
    async def admitted_body(self, request: Request, max_bytes: int, key: Key | None) -> AsyncIterator[bytearray]:
        """Take a place, then read the body; both are held until the end of the block.

        Args:
            request: whose body it is.
            max_bytes: that it may have.
            key: whose share the place is of, before the body can prove it: who only knows a key's id is bounded too.

        Raises:
            ShareUsedUp: when the key has no place left.
            Overloaded: when there is no place, or no memory.
            ServiceStopping: when the service is being stopped.
            BodyTooLarge: when the body has more than `max_bytes`.
            BodyTooSlow: when it does not arrive in time.
        """
        with self.shares.place(key), self.service.admit():
            async with self.bodies.body(request.headers, request.receive, max_bytes) as body:
                yield body

    async def start(self) -> None:
        """Begin, within the event loop: carry on starts and stops that an earlier process left under way."""
        keep_registry_apart()
        try:
            await self.projects.transitions.resume()
        except KeeneyeError as error:
            _log.warning("%s; what was being started is left as it is", error.message)

    async def aclose(self) -> None:
        """End: finish what is admitted, let go of all models."""
        await self.projects.transitions.aclose()
        await self.service.aclose()


def parts_of(request: Request) -> Parts:
    """Return the parts that a request's application was made with."""
    parts: Parts = request.app.state.parts
    return parts


def may_use(key: Key | None, model: str) -> bool:
    """Whether the holder of a key may see and use a model; None is everybody."""
    return key is None or key.may_use(model)


def require_right(key: Key | None, model: str) -> None:
    """Refuse a model that a key is not for, whether or not there is such a model.

    Raises:
        Forbidden: when the key is for other models.
    """
    if not may_use(key, model):
        raise Forbidden(f"this key is not for the model {model[:100]!r}; GET /v1/models lists those it is for")
