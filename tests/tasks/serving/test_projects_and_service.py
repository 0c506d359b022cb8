"""Projects before a real service: which versions are let pass, and whose states a version has."""

import asyncio
import threading
import time
from dataclasses import replace

import pytest
from mlflow import MlflowClient

from tasks.errors import EnvironmentFailed
from tasks.serving import service as service_module
from tasks.serving import states as states_module
from tasks.serving.arns import Owner
from tasks.serving.errors import ModelUnavailable, NotRunning, StateConflict, UnknownModel, UnknownVersion
from tasks.serving.projects import Projects
from tasks.serving.service import PredictionService, ServiceLimits
from tasks.serving.states import Status
from tasks.tracking.registry import Registry
from tests.tasks.serving.made_projects import project_arn, settled, version_arn
from tests.tasks.serving.made_registry import EXAMPLE, add_version


@pytest.fixture
def served(states):
    """Run a scenario with a real service: `served(registry, scenario)`; the scenario gets both."""

    def run(registry, scenario, alias_seconds=0.05):
        async def main():
            service = PredictionService(registry, states, ServiceLimits(alias_seconds=alias_seconds))
            projects = Projects(registry, states, service)
            try:
                return await scenario(projects, service)
            finally:
                await projects.transitions.aclose()
                await service.aclose()

        return asyncio.run(asyncio.wait_for(main(), 60))

    return run


def test_only_versions_of_ours_are_let_pass(made, served):
    arn = version_arn(made.bolts[0])

    async def scenario(projects, _):
        await projects.require(arn)
        await projects.require(replace(arn, qualifier="production", digits="5"))  # the service resolves it
        for wrong in (replace(arn, digits="5"), replace(arn, qualifier="9"), replace(arn, name="nobody")):
            with pytest.raises(UnknownVersion):
                await projects.require(wrong)
        with pytest.raises(UnknownModel, match="start with arn:aws:rekognition:us-east-1:000000000000"):
            await projects.require(replace(arn, owner=Owner("eu-west-1", "000000000000")))

    served(made.registry, scenario)


class FickleRegistry(Registry):
    """The real registry, until its `failure` is set or `is_hanging`."""

    failure = None
    hang = None
    asked = 0

    def version(self, name, version):
        self.asked += 1
        if self.hang:
            self.hang.wait(20)
        if self.failure:
            raise self.failure
        return super().version(name, version)

    def resolve(self, model_uri):
        if self.failure:
            raise self.failure
        return super().resolve(model_uri)


def test_known_version_needs_no_registry(made, served):
    registry = FickleRegistry(made.home)
    arn = version_arn(made.bolts[0])

    async def scenario(projects, service):
        await projects.start(arn)
        while (await projects.describe_versions(project_arn(made))).items[2].status is not Status.RUNNING:
            await asyncio.sleep(0.01)
        registry.failure = EnvironmentFailed("MLflow does not answer")
        asked = registry.asked
        while registry.asked < asked + 3:  # it is followed meanwhile
            await asyncio.sleep(0.01)
        await projects.require(arn)
        with pytest.raises(ModelUnavailable):
            await projects.require(version_arn(made.bolts[1]))
        with service.admit():
            assert (await service.predict("bolts", "1", EXAMPLE)).version == "1"

    served(registry, scenario)


def test_hanging_registry_is_asked_once_and_not_waited_for_for_ever(made, served, monkeypatch):
    monkeypatch.setattr(service_module, "LOOK_UP_SECONDS", 0.3)
    registry = FickleRegistry(made.home)

    async def scenario(projects, _):
        registry.hang = threading.Event()
        asked = (projects.require(version_arn(made.bolts[0])) for _ in range(20))
        try:
            errors = await asyncio.gather(*asked, return_exceptions=True)
        finally:
            registry.hang.set()
        assert {type(error) for error in errors} == {ModelUnavailable}
        assert registry.asked == 1

    start = time.monotonic()
    served(registry, scenario)
    assert time.monotonic() - start < 30


def registered_anew(made, name):
    """Delete a model and register it again; return its first version."""
    client = MlflowClient(made.home.tracking_uri, made.home.registry_uri)
    client.delete_registered_model(name)
    info = add_version(made.home, made.bolts[0], name)
    client.set_registered_model_alias(name, "production", info.version)
    return Registry(made.home).version(name, info.version)


def test_states_of_a_deleted_model_are_not_those_of_its_successor(made, served, states):
    first = add_version(made.home, made.bolts[0], "reborn")
    names = (first.version, "production")

    async def scenario(projects, service):
        states.move("reborn", "1", {None}, Status.RUNNING)
        await projects.require(version_arn(first))
        with service.admit():
            await service.predict("reborn", "1", EXAMPLE)
        states.move("reborn", "production", {None}, Status.STOPPED)
        await asyncio.sleep(0.01)
        registered_anew(made, "reborn")
        await asyncio.to_thread(service._routes._follow_registry)
        with pytest.raises(NotRunning), service.admit():
            await service.predict("reborn", "1", EXAMPLE)
        with service.admit():
            await service.predict("reborn", "production", EXAMPLE)
        with pytest.raises(UnknownVersion):
            await projects.require(version_arn(first))
        page = await projects.describe_versions(project_arn(made, "reborn"), qualifiers=names)
        assert [one.status for one in page.items] == [None, Status.RUNNING]
        arns = [one.arn for one in page.items]
        with pytest.raises(StateConflict, match="has not been started"):
            await projects.stop(arns[0])
        await projects.start(arns[0])
        await projects.stop(arns[1])
        assert (await settled(states, "reborn", "1")).status is Status.RUNNING
        assert (await settled(states, "reborn", "production")).status is Status.STOPPED
        with service.admit():
            await service.predict("reborn", "1", EXAMPLE)

    served(made.registry, scenario, alias_seconds=60.0)


def test_start_of_a_deleted_version_does_not_start_its_successor(made, served, states):
    add_version(made.home, made.bolts[0], "reborn-starting")
    states.move("reborn-starting", "1", {None}, Status.STARTING)
    registered_anew(made, "reborn-starting")

    async def scenario(projects, service):
        assert len(await projects.transitions.resume()) == 1
        while not service.stats().loads:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        page = await projects.describe_versions(project_arn(made, "reborn-starting"))
        assert page.items[0].status is None

    served(made.registry, scenario)


def test_clock_of_the_registry_may_be_ahead(made, served, states, monkeypatch):
    monkeypatch.setattr(states_module.time, "time_ns", lambda: (made.bolts[0].created_ms - 60_000) * 1_000_000)

    async def scenario(projects, service):
        await projects.start(version_arn(made.bolts[0]))
        assert (await settled(states, "bolts", "1")).status is Status.RUNNING
        with service.admit():
            await service.predict("bolts", "1", EXAMPLE)
        arn = version_arn(made.bolts[2], "production")
        await projects.stop(arn)
        assert (await settled(states, "bolts", "production")).status is Status.STOPPED
        with pytest.raises(NotRunning), service.admit():
            await service.predict("bolts", "production", EXAMPLE)

    served(made.registry, scenario)
