"""What tests of the service and of its projects share: versions, their states, and the service itself."""

import asyncio

import pytest

from tasks.serving.projects import Projects
from tasks.serving.service import PredictionService, ServiceLimits
from tasks.serving.states import Status, VersionStates
from tasks.tracking.registry import Registry
from tests.tasks.serving.made_classifier import write_classifier
from tests.tasks.serving.made_projects import Shelf
from tests.tasks.serving.made_registry import made_registry, register
from tests.tasks.serving.made_service import ALL, NEW, OLD, Registered, add_bundle


@pytest.fixture(scope="session")
def registered(tmp_path_factory):
    """Made once: a second time its versions would have other numbers."""
    folder = tmp_path_factory.mktemp("registry")
    made = made_registry()
    old = register(made.home, "colours", "old", write_classifier(folder / "old", OLD))
    return Registered(made.home, old, add_bundle(old, made.home, folder / "new", NEW), made.boxes)


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
    """Set the state of a version: `running(model, qualifier)`."""

    def start(model, qualifier, to=Status.RUNNING):
        assert states.move(model, qualifier, ALL, to)

    return start


@pytest.fixture(scope="session")
def made():
    return made_registry()


@pytest.fixture
def runner():
    """One loop for all that a test asks: what is carried out behind goes on in it."""
    with asyncio.Runner() as found:
        yield found


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
def projects(made, states, shelf):
    return Projects(made.registry, states, shelf)
