"""The one way from image bytes to an answer, for every wire protocol: admitted, routed, decoded, batched.

The event loop only waits. Decoding and framing run in a small pool of threads, each loaded model's network in threads
of its own, and only small framed images wait between them.
"""

import asyncio
import logging
import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tasks.bundle.format import Task
from tasks.bundle.predictor import Prediction, Predictor
from tasks.serving.admission import Admission
from tasks.serving.batching import BatchCounts, Batcher, best_batch_size
from tasks.serving.decoding import BoundedDecoder
from tasks.serving.errors import ImageRefused, ModelUnavailable, NotRunning, ServingError
from tasks.serving.pool import LoadedModel, ModelPool
from tasks.serving.routes import Route, Routes
from tasks.serving.states import VersionStates
from tasks.tracking.registry import BUNDLE_DIGEST_TAG, Registry, VersionInfo

LOOK_UP_SECONDS = 10.0
LOAD_SECONDS = 60.0
"""How long a request waits for the registry, and for its model to be loaded."""

_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """What one version of a model says of an image.

    Attributes:
        model: registered model.
        version: its number; an alias's answer names the version it stood for.
        bundle_digest: SHA-256 of the bundle that answered, hexadecimal.
        task: what kind of answer it is.
        labels: of the model, in the order of the network's outputs.
        thresholds: per label, 0 to 1.
        prediction: confidences 0 to 1, boxes in pixels of the upright image.
        width: of the upright image (pixels).
        height: of the upright image (pixels).
    """

    model: str
    version: str
    bundle_digest: str
    task: Task
    labels: tuple[str, ...]
    thresholds: Mapping[str, float]
    prediction: Prediction
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """What a service may take.

    Memory for images is at most `max_pending` times `max_image_bytes`, and up to 26 bytes for each pixel being decoded
    (measured: PNG with transparency; 14 without), however many threads decode.

    Attributes:
        max_pending: requests admitted at once.
        max_image_bytes: of an image file.
        max_megapixels: of one image, and of all images being decoded together.
        decoders: threads that decode.
        threads: of ONNX Runtime, per model, and calls of its network at once; 0 means one per core.
        batch_size: images per call of a network at most; 0 means what is found best when the model is loaded.
        max_models: loaded at once; one more while an alias moves.
        idle_seconds: after which a model that nobody asks for is unloaded.
        alias_seconds: between two looks at what aliases mean and which versions run.
    """

    max_pending: int = 64
    max_image_bytes: int = 15_000_000
    max_megapixels: float = 100.0
    decoders: int = field(default_factory=lambda: os.cpu_count() or 1)
    threads: int = 0
    batch_size: int = 0
    max_models: int = 4
    idle_seconds: float = 900.0
    alias_seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class ServiceStats:
    """What a service has in hand, and what it has done since its start.

    Attributes:
        pending: requests admitted now.
        models: loaded now, as (model, version), sorted.
        loads: models loaded since the start.
        batches: calls of networks.
        images: in those calls.
        batch_sizes: number of batches by number of images.
    """

    pending: int
    models: tuple[tuple[str, str], ...]
    loads: int
    batches: int
    images: int
    batch_sizes: Mapping[int, int]


@dataclass(slots=True, eq=False)
class _Job:
    """One image on its way; whoever ends the wait for it takes the bytes out."""

    image: bytes
    model: LoadedModel
    prediction: Future[Prediction]
    width: int = 0
    height: int = 0

    def fail(self, error: ServingError) -> None:
        if self.prediction.set_running_or_notify_cancel():
            # Its frames, and those of its cause, would hold the image as long as the job holds the error.
            error.__traceback__ = error.__cause__ = error.__context__ = None
            self.prediction.set_exception(error)


class PredictionService:
    """Answers images with the registry's models; of one event loop.

    >>> with service.admit():                                                        # doctest: +SKIP
    ...     answer = await service.predict("bolts", "production", image)
    """

    def __init__(self, registry: Registry, states: VersionStates, limits: ServiceLimits | None = None) -> None:
        self._registry = registry
        self._limits = limits or ServiceLimits()
        self._counts = BatchCounts()
        self._batch_sizes: dict[tuple[object, ...], int] = {}
        self._admission = Admission(self._limits.max_pending)
        self._decoder = BoundedDecoder(self._limits.max_megapixels)
        self._decoders = ThreadPoolExecutor(self._limits.decoders, thread_name_prefix="keeneye-decoder")
        self._pool = ModelPool(self._load, max_models=self._limits.max_models, idle_seconds=self._limits.idle_seconds)
        self._routes = Routes(
            registry,
            states,
            self._pool,
            follow_seconds=self._limits.alias_seconds,
            idle_seconds=self._limits.idle_seconds,
        )

    def admit(self) -> AbstractContextManager[None]:
        """Hold one of `max_pending` places: enter it before the image is read, so that memory stays bounded.

        Raises:
            Overloaded: on entering, when no place is free.
            ServiceStopping: on entering, once the service is being stopped.
        """
        return self._admission.place()

    async def predict(self, model: str, qualifier: str, image: bytes) -> Answer:
        """Answer one image file; call it within `admit()`.

        Args:
            model: registered model.
            qualifier: number of a version, or an alias.
            image: the file's bytes.

        Raises:
            UnknownModel: when the registry has no such model.
            UnknownVersion: when the model has no such version or alias.
            NotRunning: when it is not started.
            ImageRefused: when the bytes are no usable image or too many.
            ModelUnavailable: when the registry does not answer or the bundle cannot be loaded or run.
            ServiceStopping: when the service has been stopped.
        """
        if len(image) > self._limits.max_image_bytes:
            raise ImageRefused(
                "ERROR_FILE_TOO_LARGE",
                f"the image has {len(image)} bytes, more than {self._limits.max_image_bytes}; send a smaller one",
            )
        info = await self._running(model, qualifier)
        with self._pool.lease(info) as loading:
            loaded = await _outcome(loading, LOAD_SECONDS, f"{info.uri} is still being loaded")
            job = _Job(image, loaded, Future())
            try:
                self._decoders.submit(self._prepare, job)
                prediction = await asyncio.wrap_future(job.prediction)
                return _answer(job, prediction)
            finally:
                job.image = b""  # a job that was given up may still wait for its thread, which finds nothing to do
                del job, image

    async def warm(self, model: str, qualifier: str) -> VersionInfo:
        """Load a version, whether or not it is started; returns it.

        Raises:
            ServingError: as `predict` does, but for the image and for versions that do not run.
        """
        info = await self.version(model, qualifier)
        with self._pool.lease(info) as loading:
            return (await _outcome(loading)).info

    async def version(self, model: str, qualifier: str) -> VersionInfo:
        """Return what a name means, whether or not it is started; raises as `warm` does."""
        return (await self._route(model, qualifier)).info

    def state_changed(self, model: str, qualifier: str) -> None:
        """Have the next request see a state that was just written; without it, it is seen in `alias_seconds`."""
        self._routes.doubt_state((model, qualifier))

    def stats(self) -> ServiceStats:
        """Return what the service has in hand and has done."""
        sizes = self._counts.by_size()
        models = tuple(sorted((info.name, info.version) for info in self._pool.loaded()))
        images = sum(size * count for size, count in sizes.items())
        return ServiceStats(self._admission.pending, models, self._pool.loads, sum(sizes.values()), images, sizes)

    async def aclose(self) -> None:
        """Admit nothing more, finish what is admitted, then let go of all models and threads."""
        self._admission.close()
        try:
            await asyncio.wrap_future(self._admission.drained)
        finally:
            self._routes.stop()
            self._pool.close()
            self._decoders.shutdown(wait=False)

    def _load(self, info: VersionInfo) -> LoadedModel:
        folder = self._registry.cached_bundle(info)
        digest = info.tags[BUNDLE_DIGEST_TAG]
        threads = self._limits.threads or os.cpu_count() or 1
        predictor = Predictor.open(folder, expected_digest=digest, threads=threads)
        narrow = Predictor.open(folder, expected_digest=digest, threads=1) if threads > 1 else predictor
        batch_size = self._limits.batch_size or self._best_batch_size(narrow, folder)
        return LoadedModel(info, predictor, Batcher(predictor, self._counts, batch_size, calls=threads, narrow=narrow))

    def _best_batch_size(self, predictor: Predictor, folder: Path) -> int:
        # A version that takes over from one of its kind need not be tried: under load the trial takes the longest part
        # of a load, and what it measures is the load.
        card = predictor.card
        sizes = tuple((folder / one.file).stat().st_size for one in card.networks.values())
        kind = card.task, card.steps, card.features, sizes
        if kind not in self._batch_sizes:
            self._batch_sizes[kind] = best_batch_size(predictor)
        return self._batch_sizes[kind]

    async def _running(self, model: str, qualifier: str) -> VersionInfo:
        route = await self._route(model, qualifier)
        while not route.is_running:  # perhaps it has been started since
            doubts = route.doubts
            await _outcome(self._routes.ask_state((model, qualifier), route), LOOK_UP_SECONDS, _NO_STATE)
            if not route.is_running and route.doubts == doubts:
                raise NotRunning(f"version {qualifier} of {model} is not running; start it and ask again")
        return route.info

    async def _route(self, model: str, qualifier: str) -> Route:
        key = (model, qualifier)
        route = self._routes.known(key)
        if route:
            return route
        return await _outcome(self._routes.find(key), LOOK_UP_SECONDS, _NO_REGISTRY)

    def _prepare(self, job: _Job) -> None:
        try:
            with self._decoder.decoded(job.image) as pixels:
                prepared = job.model.predictor.prepare(pixels)
            job.width, job.height = prepared.width, prepared.height
            job.model.batcher.submit(prepared, job.prediction)
        except ServingError as error:
            job.fail(error)
        except Exception as error:  # whoever waits must be told, whatever happened
            _log.exception("an image could not be prepared")
            job.fail(
                ModelUnavailable(f"the image could not be prepared: {type(error).__name__}; see the service's log")
            )


_NO_REGISTRY = "the registry has not answered yet"
_NO_STATE = "the database of states has not answered yet"


async def _outcome(future: Future[T | ServingError], seconds: float | None = None, meanwhile: str = "") -> T:
    """Wait for what others may wait for too; `meanwhile` is what is said when it takes longer than `seconds`."""
    if not future.done():
        try:
            async with asyncio.timeout(seconds):
                await asyncio.wrap_future(future)
        except TimeoutError:
            raise ModelUnavailable(f"{meanwhile} after {seconds:g} seconds; try again in a moment") from None
    outcome = future.result()
    if isinstance(outcome, ServingError):
        raise type(outcome)(outcome.message)
    return outcome


def _answer(job: _Job, prediction: Prediction) -> Answer:
    info, card = job.model.info, job.model.predictor.card
    return Answer(
        model=info.name,
        version=info.version,
        bundle_digest=info.tags[BUNDLE_DIGEST_TAG],
        task=card.task,
        labels=card.labels,
        thresholds=card.thresholds,
        prediction=prediction,
        width=job.width,
        height=job.height,
    )
