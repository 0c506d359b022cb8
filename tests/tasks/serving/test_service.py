"""The service over a real registry with real small bundles."""

import asyncio
import contextlib
import gc
import shutil
import sys
import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient

from tasks.bundle.format import bundle_digest
from tasks.bundle.predictor import Predictor
from tasks.errors import EnvironmentFailed
from tasks.serving import pool as pool_module
from tasks.serving import routes as routes_module
from tasks.serving import service as service_module
from tasks.serving.errors import (
    ImageRefused,
    ModelUnavailable,
    NotRunning,
    Overloaded,
    ServiceStopping,
    UnknownModel,
    UnknownVersion,
)
from tasks.serving.service import PredictionService, ServiceLimits
from tasks.serving.states import Status, VersionStates
from tasks.stores.home import Home
from tasks.tracking.registry import BUNDLE_DIGEST_TAG, Registry, VersionInfo
from tests.makers import paint_shape, png_bytes
from tests.tasks.serving.made_classifier import coloured, write_classifier
from tests.tasks.serving.made_registry import made_registry, register
from tests.tasks.serving.test_decoding import bomb

OLD, NEW = ("red", "green", "blue"), ("rouge", "vert", "bleu")
RED = coloured(250, 10, 10)
ALL = {None, *Status}


@dataclass(frozen=True)
class Registered:
    """A model of two versions with labels of their own, and a detector."""

    home: Home
    old: VersionInfo
    new: VersionInfo
    boxes: VersionInfo


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("registry")
    made = made_registry()
    old = register(made.home, "colours", "old", write_classifier(folder / "old", OLD))
    return Registered(made.home, old, add_bundle(old, made.home, folder / "new", NEW), made.boxes)


def add_bundle(like, home, folder, labels, threshold=0.5):
    """Add a version with a bundle of its own; the files are all it needs, so nothing is logged."""
    bundle = write_classifier(folder / "artifacts" / "bundle", labels, threshold)
    (folder / "MLmodel").write_text("flavors: {}\n", encoding="utf-8")
    tags = {BUNDLE_DIGEST_TAG: bundle_digest(bundle)}
    client = MlflowClient(home.tracking_uri, home.registry_uri)
    created = client.create_model_version(like.name, folder.as_uri(), like.run_id, tags=tags)
    return Registry(home).version(like.name, str(created.version))


@pytest.fixture
def states(tmp_path):
    made = VersionStates(f"sqlite:///{tmp_path / 'states.db'}")
    yield made
    made.close()


@pytest.fixture
def serve(registered, states):
    """Run a scenario with a service of its own: `serve(scenario, **limits)`."""

    def run(scenario, registry=None, **limits):
        async def main():
            service = PredictionService(registry or Registry(registered.home), states, ServiceLimits(**limits))
            try:
                return await scenario(service)
            finally:
                await service.aclose()

        return asyncio.run(asyncio.wait_for(main(), 60))

    return run


@pytest.fixture
def production(registered):
    """`colours@production` is the old version when a test begins."""
    registry = Registry(registered.home)
    registry.set_alias(registered.old, "production")
    return registry


@pytest.fixture
def running(states):
    def start(model, qualifier, to=Status.RUNNING):
        assert states.move(model, qualifier, ALL, to)

    return start


async def ask(service, image=RED, model="colours", qualifier="production"):
    with service.admit():
        return await service.predict(model, qualifier, image)


async def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


# What is answered


def test_answer_is_the_predictors(serve, production, registered):
    rng = np.random.default_rng(0)
    images = [coloured(*rng.integers(0, 255, 3).tolist(), width=20 + n, height=30 + n) for n in range(40)]

    async def scenario(service):
        return await asyncio.gather(*(ask(service, image) for image in images)), service.stats()

    answers, stats = serve(scenario, batch_size=4)
    expected = Predictor.open(production.cached_bundle(registered.old)).predict_bytes(images)
    for place, (answer, prediction) in enumerate(zip(answers, expected, strict=True)):
        assert answer.prediction.labels == prediction.labels
        assert answer.prediction.confidences == pytest.approx(prediction.confidences, abs=1e-6)
        assert (answer.width, answer.height) == (20 + place, 30 + place)
        assert (answer.model, answer.version, answer.task) == ("colours", "1", "classification")
        assert answer.bundle_digest == registered.old.tags[BUNDLE_DIGEST_TAG]
        assert (answer.labels, dict(answer.thresholds)) == (OLD, dict.fromkeys(OLD, 0.5))
    assert len({prediction.top_label for prediction in expected}) == 3
    assert stats.images == 40
    assert stats.images == sum(size * count for size, count in stats.batch_sizes.items())
    assert (stats.models, stats.loads, stats.pending) == ((("colours", "1"),), 1, 0)


def test_detector_answers_in_pixels_of_each_image(serve, registered, running):
    running("boxes", "1")
    images = [png_bytes(paint_shape("round", side)) for side in (64, 128, 256, 96)]

    async def scenario(service):
        return await asyncio.gather(*(ask(service, image, "boxes", "1") for image in images))

    answers = serve(scenario)
    expected = Predictor.open(Registry(registered.home).cached_bundle(registered.boxes)).predict_bytes(images)
    assert [answer.prediction.boxes for answer in answers] == [prediction.boxes for prediction in expected]
    assert answers[1].prediction.boxes[0].left == pytest.approx(48)
    assert {answer.task for answer in answers} == {"detection"}


@pytest.mark.parametrize(
    ("image", "code"),
    [
        pytest.param(b"", "ERROR_EMPTY_FILE", id="empty"),
        pytest.param(b"<html>", "ERROR_INVALID_IMAGE", id="no image"),
        pytest.param(png_bytes(paint_shape("ring", 64))[:-900], "ERROR_TRUNCATED_IMAGE", id="truncated"),
        pytest.param(bomb(100_000, 100_000), "ERROR_INVALID_IMAGE_DIMENSION", id="bomb"),
        pytest.param(b"\x89PNG" * 50_000, "ERROR_FILE_TOO_LARGE", id="too many bytes"),
    ],
)
def test_bad_image_is_refused_among_good_ones(image, code, serve, production):
    async def scenario(service):
        images = [RED, image, RED, image, RED]
        return await asyncio.gather(*(ask(service, one) for one in images), return_exceptions=True)

    answers = serve(scenario, max_image_bytes=150_000)
    assert [type(one) for one in answers[1::2]] == [ImageRefused] * 2
    assert {one.code for one in answers[1::2]} == {code}
    assert [one.prediction.top_label for one in answers[::2]] == ["red"] * 3


@pytest.mark.parametrize("image", [RED, RED[:-30], b"x" * 5000, bomb(9, 9)], ids=["good", "cut", "text", "no pixels"])
def test_image_is_let_go_of_at_once(image, serve, production):
    """What still holds the bytes after the answer would hold them until the collector of cycles comes by."""

    async def scenario(service):
        await ask(service)
        mine = bytes(bytearray(image))
        gc.collect()
        before = sys.getrefcount(mine)
        gc.disable()
        try:
            for _ in range(3):
                with contextlib.suppress(ImageRefused):
                    await ask(service, mine)
            await asyncio.sleep(0.05)
            return before, sys.getrefcount(mine)
        finally:
            gc.enable()

    before, after = serve(scenario)
    assert after == before


# Which version answers


@pytest.mark.parametrize(
    ("model", "qualifier", "expected"),
    [
        pytest.param("nobody", "production", UnknownModel, id="model"),
        pytest.param("nobody", "1", UnknownModel, id="model of a number"),
        pytest.param("", "1", UnknownModel, id="no name"),
        pytest.param("it's", "1", UnknownModel, id="quote"),
        pytest.param("colours/1", "1", UnknownModel, id="path"),
        pytest.param("colours@production", "x", UnknownModel, id="address"),
        pytest.param("colours\\", "1", UnknownModel, id="backslash"),
        pytest.param("colours", "99", UnknownVersion, id="version"),
        pytest.param("colours", "nowhere", UnknownVersion, id="alias"),
        pytest.param("colours", "", UnknownVersion, id="no alias"),
        pytest.param("colours", "9" * 5000, UnknownVersion, id="long number"),
        pytest.param("colours", "\ud800", UnknownVersion, id="half a character"),
        pytest.param("colours", "2", NotRunning, id="not started"),
    ],
)
def test_what_is_not_there_is_named(model, qualifier, expected, serve, registered):
    with pytest.raises(expected) as caught:
        serve(lambda service: ask(service, model=model, qualifier=qualifier))
    assert len(caught.value.message.split()) > 3


def test_any_name_gets_an_error_of_its_own(serve, production):
    async def scenario(service):
        loop = asyncio.get_running_loop()

        @given(st.text(max_size=20), st.text(max_size=20))
        @settings(max_examples=50, deadline=None)
        def try_names(model, qualifier):
            asked = asyncio.run_coroutine_threadsafe(ask(service, RED, model, qualifier), loop)
            with pytest.raises((UnknownModel, UnknownVersion)):
                asked.result(20)

        await asyncio.to_thread(try_names)

    serve(scenario)


def test_states_decide(serve, production, states):
    async def scenario(service):
        with pytest.raises(NotRunning):
            await ask(service, qualifier="1")
        states.move("colours", "1", {None}, Status.STARTING)
        with pytest.raises(NotRunning):
            await ask(service, qualifier="1")
        states.move("colours", "1", ALL, Status.RUNNING)
        assert (await ask(service, qualifier="1")).version == "1"  # a start is seen at once
        states.move("colours", "1", ALL, Status.STOPPED)
        service.state_changed("colours", "1")
        with pytest.raises(NotRunning):
            await ask(service, qualifier="1")

    serve(scenario, alias_seconds=60.0)


def test_stopped_alias_does_not_answer(serve, production, states):
    async def scenario(service):
        await ask(service)
        states.move("colours", "production", ALL, Status.STOPPED)  # by another process
        await asyncio.sleep(0.4)
        with pytest.raises(NotRunning):
            await ask(service)
        states.move("colours", "production", ALL, Status.RUNNING)
        assert (await ask(service)).version == "1"

    serve(scenario, alias_seconds=0.1)


def test_warm_loads_what_does_not_run_yet(serve, registered):
    async def scenario(service):
        assert (await service.warm("colours", "2")).version == "2"
        return service.stats()

    assert serve(scenario).models == (("colours", "2"),)


def test_new_alias_is_seen_within_a_second(serve, registered):
    registry = Registry(registered.home)

    async def scenario(service):
        with pytest.raises(UnknownVersion):
            await ask(service, qualifier="canary")
        registry.set_alias(registered.new, "canary")
        await asyncio.sleep(routes_module.REFUSAL_SECONDS + 0.05)
        assert (await ask(service, qualifier="canary")).version == "2"

    try:
        serve(scenario)
    finally:
        registry.remove_alias(registered.new, "canary")


def test_removed_alias_stops_answering(serve, registered):
    registry = Registry(registered.home)
    registry.set_alias(registered.old, "leaving")

    async def scenario(service):
        await ask(service, qualifier="leaving")
        registry.remove_alias(registered.old, "leaving")
        await asyncio.sleep(1.0)
        with pytest.raises(UnknownVersion):
            await ask(service, qualifier="leaving")

    serve(scenario, alias_seconds=0.1)


def test_refusals_are_kept_in_bounds(serve, registered, monkeypatch):
    monkeypatch.setattr(routes_module, "MAX_REFUSALS", 3)

    async def scenario(service):
        for number in range(6):
            with pytest.raises(UnknownModel):
                await ask(service, model=f"nobody-{number}")
        return len(service._routes._refusals)

    assert serve(scenario) == 3


class CountingRegistry(Registry):
    """The real registry; it counts what it is asked, and may be made to fall silent."""

    asked = 0
    failure = None

    def resolve(self, model_uri):
        self.asked += 1
        if self.failure:
            raise self.failure
        return super().resolve(model_uri)


def test_refusal_is_asked_for_once_and_told_to_all(serve, registered):
    registry = CountingRegistry(registered.home)

    async def scenario(service):
        asked = (ask(service, qualifier="nowhere") for _ in range(20))
        return [*await asyncio.gather(*asked, return_exceptions=True)]

    errors = serve(scenario, registry)
    assert {type(error) for error in errors} == {UnknownVersion}
    assert len({id(error) for error in errors}) == 20
    assert registry.asked == 1


def test_registry_is_not_asked_per_request(serve, production, registered):
    registry = CountingRegistry(registered.home)

    async def scenario(service):
        for _ in range(50):
            await ask(service)

    serve(scenario, registry, alias_seconds=60.0)
    assert registry.asked == 1


@pytest.mark.parametrize("failure", [EnvironmentFailed("MLflow does not answer"), RuntimeError("whatever")])
def test_silent_registry_stops_nothing_that_is_loaded(failure, serve, production, registered):
    registry = CountingRegistry(registered.home)

    async def scenario(service):
        assert (await ask(service)).version == "1"
        registry.failure = failure
        asked = registry.asked
        await until(lambda: registry.asked > asked + 2)
        assert (await ask(service)).version == "1"
        with pytest.raises(ModelUnavailable):
            await ask(service, qualifier="staging")
        registry.failure = None
        registry.set_alias(registered.new, "production")
        await until(lambda: ("colours", "2") in service.stats().models)
        assert (await ask(service)).version == "2"

    serve(scenario, registry, alias_seconds=0.05)


def test_hanging_registry_is_not_waited_for_for_ever(serve, production, registered, monkeypatch):
    monkeypatch.setattr(service_module, "LOOK_UP_SECONDS", 0.3)

    over = threading.Event()

    class Hanging(CountingRegistry):
        def resolve(self, model_uri):
            if model_uri.endswith("@hangs"):
                over.wait(60)
            return super().resolve(model_uri)

    async def scenario(service):
        try:
            await ask(service)
            with pytest.raises(ModelUnavailable, match="has not answered"):
                await ask(service, qualifier="hangs")
            assert (await ask(service)).version == "1"
        finally:
            over.set()

    serve(scenario, Hanging(registered.home))


class SlowStates(VersionStates):
    """The real states; a look-up may be held up between reading and telling."""

    def __init__(self, url):
        super().__init__(url)
        self.has_read, self.may_tell = threading.Event(), threading.Event()
        self.may_tell.set()

    def get(self, model, qualifier, *, since_ms=0):
        found = super().get(model, qualifier, since_ms=since_ms)
        self.has_read.set()
        self.may_tell.wait(10)
        return found


def test_look_up_begun_before_a_change_does_not_undo_it(production, tmp_path):
    states = SlowStates(f"sqlite:///{tmp_path / 'slow.db'}")
    states.move("colours", "1", {None}, Status.RUNNING)

    async def main():
        service = PredictionService(production, states, ServiceLimits(alias_seconds=60.0))
        await ask(service, qualifier="1")
        states.has_read.clear()
        states.may_tell.clear()
        renewal = asyncio.create_task(asyncio.to_thread(service._routes._follow_states))
        await until(states.has_read.is_set)  # that it runs
        states.move("colours", "1", ALL, Status.STOPPED)
        service.state_changed("colours", "1")
        states.may_tell.set()
        await renewal
        try:
            with pytest.raises(NotRunning):
                await ask(service, qualifier="1")
        finally:
            await service.aclose()

    asyncio.run(asyncio.wait_for(main(), 30))
    states.close()


def test_idle_models_are_unloaded_while_the_states_are_away(serve, production, states, monkeypatch):
    async def scenario(service):
        await ask(service)
        monkeypatch.setattr(states, "get", lambda *_, **__: 1 / 0)
        deadline = time.monotonic() + 10
        while service.stats().models:
            assert time.monotonic() < deadline
            await service.version("colours", "production")  # the name stays in use, the model does not
            await asyncio.sleep(0.05)

    serve(scenario, idle_seconds=0.3, alias_seconds=0.05)


# An alias moves


def test_alias_moves_under_load(serve, production, registered):
    answers = []

    async def client(service, deadline):
        while time.monotonic() < deadline[0]:
            asked = time.monotonic()
            answers.append((asked, await ask(service)))

    async def scenario(service):
        await ask(service)
        deadline = [time.monotonic() + 30]
        clients = [asyncio.create_task(client(service, deadline)) for _ in range(8)]
        await asyncio.sleep(0.3)
        await asyncio.to_thread(production.set_alias, registered.new, "production")
        moved = time.monotonic()
        await until(lambda: answers[-1][1].version == "2")
        deadline[0] = time.monotonic() + 0.3
        await asyncio.gather(*clients)
        return moved, service.stats()

    moved, stats = serve(scenario)
    digests = {"1": registered.old.tags[BUNDLE_DIGEST_TAG], "2": registered.new.tags[BUNDLE_DIGEST_TAG]}
    labels = {"1": OLD, "2": NEW}
    for _, answer in answers:
        assert answer.bundle_digest == digests[answer.version]
        assert answer.labels == labels[answer.version]
        assert set(answer.prediction.confidences) == set(answer.labels)
        assert answer.prediction.top_label == answer.labels[0]
    assert {answer.version for _, answer in answers} == {"1", "2"}
    first_new = min(asked for asked, answer in answers if answer.version == "2")
    assert first_new - moved < 2.0
    assert all(answer.version == "2" for asked, answer in answers if asked > first_new + 0.05)
    assert stats.loads == 2


def test_alias_moves_where_only_one_model_may_be_loaded(serve, production, registered):
    async def scenario(service):
        await ask(service)
        production.set_alias(registered.new, "production")
        versions = []
        await until(lambda: service.stats().models == (("colours", "2"),))
        for _ in range(3):
            versions.append((await ask(service)).version)
        return versions, service.stats()

    versions, stats = serve(scenario, max_models=1, alias_seconds=0.05)
    assert versions == ["2"] * 3
    assert stats.loads == 2


def test_alias_that_moves_to_a_damaged_version_stays(serve, production, registered, tmp_path):
    damaged = add_bundle(registered.old, registered.home, tmp_path / "damaged", NEW, threshold=0.25)
    (tmp_path / "damaged" / "artifacts" / "bundle" / "head.onnx").write_bytes(b"no network")

    async def scenario(service):
        await ask(service)
        production.set_alias(damaged, "production")
        await asyncio.sleep(1.0)
        assert (await ask(service)).version == "1"
        production.set_alias(registered.new, "production")
        await until(lambda: ("colours", "2") in service.stats().models)
        assert (await ask(service)).version == "2"

    serve(scenario, alias_seconds=0.1)


# Loading and unloading


def test_model_is_loaded_once_on_demand(serve, production):
    async def scenario(service):
        assert service.stats().models == ()
        answers = await asyncio.gather(*(ask(service) for _ in range(16)))
        return answers, service.stats()

    answers, stats = serve(scenario)
    assert {answer.version for answer in answers} == {"1"}
    assert (stats.loads, stats.images) == (1, 16)


def test_damaged_bundle_is_told_and_harms_no_other(serve, production, registered, running, monkeypatch, tmp_path):
    monkeypatch.setattr(pool_module, "RETRY_SECONDS", 0.3)
    other = add_bundle(registered.old, registered.home, tmp_path / "other", NEW, threshold=0.125)
    running("colours", other.version)
    network = tmp_path / "other" / "artifacts" / "bundle" / "head.onnx"
    whole = network.read_bytes()

    async def scenario(service):
        await ask(service)
        network.write_bytes(whole[:-1] + b"!")
        asked = (ask(service, qualifier=other.version) for _ in range(4))
        errors = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(error) for error in errors} == {ModelUnavailable}
        assert "head.onnx" in errors[0].message
        assert (await ask(service)).version == "1"
        network.write_bytes(whole)
        await asyncio.sleep(0.4)
        assert (await ask(service, qualifier=other.version)).version == other.version

    serve(scenario)


def test_damaged_kept_bundle_is_fetched_anew(serve, production, registered):
    (production.cached_bundle(registered.old) / "head.onnx").write_bytes(b"no network")
    assert serve(ask).version == "1"


def test_version_without_a_bundle_is_told(serve, registered, running):
    running("foreign", "1")
    with pytest.raises(ModelUnavailable, match="holds no Keeneye bundle"):
        serve(lambda service: ask(service, model="foreign", qualifier="1"))


def test_bundle_is_fetched_when_it_is_not_kept(serve, production, registered):
    shutil.rmtree(production.cached_bundle(registered.old))
    assert serve(ask).version == "1"


def test_idle_model_unloads_and_comes_back(serve, production):
    async def scenario(service):
        await ask(service)
        await until(lambda: service.stats().models == ())
        assert service._routes.known(("colours", "production")) is None or service.stats().pending == 0
        assert (await ask(service)).version == "1"
        return service.stats().loads

    assert serve(scenario, idle_seconds=0.2, alias_seconds=0.05) == 2


# Limits and the end


def test_places_are_bounded(serve, production):
    async def scenario(service):
        with service.admit(), service.admit():
            with pytest.raises(Overloaded):
                await ask(service)
            assert service.stats().pending == 2
        assert (await ask(service)).version == "1"
        return service.stats().pending

    assert serve(scenario, max_pending=2) == 0


def test_cancelled_client_frees_its_place(serve, production):
    slow = png_bytes(np.zeros((3000, 3000, 3), np.uint8))

    async def scenario(service):
        await ask(service)
        clients = [asyncio.create_task(ask(service, slow)) for _ in range(4)]
        await asyncio.sleep(0.01)
        with pytest.raises(Overloaded):
            await ask(service)
        for client in clients:
            client.cancel()
        assert {type(one) for one in await asyncio.gather(*clients, return_exceptions=True)} == {asyncio.CancelledError}
        assert service.stats().pending == 0
        assert (await ask(service)).version == "1"
        return service.stats().images

    assert serve(scenario, max_pending=4, decoders=1) <= 3  # and what waited for a decoder was not worked on


def test_cancelled_image_is_let_go_of_before_its_turn(serve, production):
    slow = png_bytes(np.zeros((5000, 5000, 3), np.uint8))

    async def scenario(service):
        await ask(service)
        first = asyncio.create_task(ask(service, slow))
        await asyncio.sleep(0.01)
        mine = bytes(bytearray(RED))
        before = sys.getrefcount(mine)
        second = asyncio.create_task(ask(service, mine))
        await asyncio.sleep(0.01)
        second.cancel()
        await asyncio.wait([second])
        del second
        after = sys.getrefcount(mine)
        assert not first.done()
        await first
        return before, after

    before, after = serve(scenario, decoders=1)
    assert after == before


def test_one_cancelled_client_leaves_the_others_their_model(serve, production):
    async def scenario(service):
        clients = [asyncio.create_task(ask(service)) for _ in range(6)]
        await asyncio.sleep(0)
        clients[0].cancel()
        clients[3].cancel()
        answers = await asyncio.gather(*clients, return_exceptions=True)
        return [type(one).__name__ for one in answers]

    assert serve(scenario) == ["CancelledError", "Answer", "Answer", "CancelledError", "Answer", "Answer"]


def test_end_waits_for_what_is_admitted(serve, production):
    async def scenario(service):
        clients = [asyncio.create_task(ask(service)) for _ in range(12)]
        await asyncio.sleep(0)
        ending = asyncio.create_task(service.aclose())
        await asyncio.sleep(0)
        with pytest.raises(ServiceStopping):
            service.admit().__enter__()
        answers = await asyncio.gather(*clients)
        await ending
        with pytest.raises(ServiceStopping):
            await service.predict("colours", "production", RED)
        return {answer.version for answer in answers}, service.stats()

    versions, stats = serve(scenario)
    assert versions == {"1"}
    assert (stats.models, stats.pending) == ((), 0)
