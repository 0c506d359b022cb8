"""Which version the service lets answer, while states change and the registry falls silent."""

import asyncio
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import EnvironmentFailed
from tasks.serving import routes as routes_module
from tasks.serving import service as service_module
from tasks.serving.errors import ModelUnavailable, NotRunning, UnknownModel, UnknownVersion
from tasks.serving.service import PredictionService, ServiceLimits
from tasks.serving.states import Status, VersionStates
from tasks.tracking.registry import Registry
from tests.tasks.serving.made_service import ALL, RED, ask, until


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
