import asyncio
import threading
import time
from dataclasses import replace

import pytest
from mlflow import MlflowClient

from tasks.errors import BundleError, EnvironmentFailed, RequestError
from tasks.serving import service as service_module
from tasks.serving import states as states_module
from tasks.serving import transitions as transitions_module
from tasks.serving.arns import Owner, ProjectArn, VersionArn
from tasks.serving.errors import (
    ModelUnavailable,
    NotRunning,
    ServiceStopping,
    StateConflict,
    UnknownModel,
    UnknownVersion,
)
from tasks.serving.paging import InvalidPageToken
from tasks.serving.projects import DEFAULT_OWNER, Projects
from tasks.serving.service import PredictionService, ServiceLimits
from tasks.serving.states import Status, VersionStates
from tasks.tracking.registry import Registry, VersionInfo
from tests.tasks.serving.made_registry import EXAMPLE, add_version, made_registry, registry_that_is_gone


class Shelf:
    """A service that loads nothing: `outcome` is what each load comes to, once `loading` is set."""

    def __init__(self):
        self.outcome = None
        self.loading = asyncio.Event()
        self.loading.set()
        self.warmed, self.told = [], []

    async def version(self, model, qualifier):
        return VersionInfo(model, qualifier, "", {}, ())

    async def warm(self, model, qualifier):
        self.warmed.append((model, qualifier))
        await self.loading.wait()
        if self.outcome:
            raise self.outcome
        return await self.version(model, qualifier)

    def state_changed(self, model, qualifier):
        self.told.append((model, qualifier))


@pytest.fixture(scope="module")
def made():
    return made_registry()


@pytest.fixture
def runner():
    with asyncio.Runner() as found:
        yield found


@pytest.fixture
def states(tmp_path):
    found = VersionStates(f"sqlite:///{tmp_path / 'states.db'}")
    yield found
    found.close()


@pytest.fixture
def lost_registry(monkeypatch, tmp_path):
    return registry_that_is_gone(monkeypatch, tmp_path)


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
def projects(made, states, shelf):
    return Projects(made.registry, states, shelf)


def everybody(_):
    return True


def project_arn(made, name="bolts"):
    model = next(one for one in made.registry.models() if one.name == name)
    return ProjectArn(DEFAULT_OWNER, name, str(model.created_ms))


def version_arn(info, qualifier=""):
    return VersionArn(DEFAULT_OWNER, info.name, qualifier or info.version, str(info.created_ms))


async def settled(states, model, qualifier, deadline=10):
    """Wait until a version's state is under way no more."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        state = states.get(model, qualifier)
        if state.status not in (Status.STARTING, Status.STOPPING):
            return state
        await asyncio.sleep(0.01)
    raise TimeoutError(state)


def test_projects_are_the_registered_models_whose_names_fit(projects, runner, made):
    page = runner.run(projects.describe_projects(visible=everybody))
    names = [one.arn.name for one in page.items]
    assert names == sorted(names)
    assert {"bolts", "boxes", "foreign"} <= set(names)
    assert "two words" not in names
    assert "two words" in {model.name for model in made.registry.models()}
    bolts = page.items[names.index("bolts")]
    assert bolts.arn == project_arn(made)
    assert int(bolts.arn.digits) == bolts.created_ms


@pytest.mark.parametrize(
    ("names", "visible", "expected"),
    [
        (("boxes", "bolts"), everybody, ["bolts", "boxes"]),
        (("nobody",), everybody, []),
        (("bolts",), lambda name: name == "boxes", []),
        ((), lambda name: name == "boxes", ["boxes"]),
    ],
    ids=["two", "unknown", "not visible", "only visible"],
)
def test_projects_by_name_and_right(names, visible, expected, projects, runner):
    page = runner.run(projects.describe_projects(names=names, visible=visible))
    assert [one.arn.name for one in page.items] == expected


def test_projects_page_by_page(projects, runner):
    async def all_pages():
        token, names = "", []
        while len(names) < 100:
            page = await projects.describe_projects(visible=everybody, token=token, limit=1)
            names += [one.arn.name for one in page.items]
            token = page.next_token
            if not token:
                return names

    everything = runner.run(projects.describe_projects(visible=everybody))
    assert runner.run(all_pages()) == [one.arn.name for one in everything.items]


def test_versions_are_told_the_newest_first(projects, runner, made):
    page = runner.run(projects.describe_versions(project_arn(made)))
    assert [one.arn.qualifier for one in page.items] == ["3", "2", "1"]
    assert [one.status for one in page.items] == [None] * 3
    assert [one.arn for one in page.items] == [version_arn(info) for info in reversed(made.bolts)]
    assert [one.f1 for one in page.items] == [0.75] * 3  # of one run, which all three are of
    assert page.items[0].info.aliases == ("production",)


def test_versions_and_aliases_by_name(projects, runner, made):
    asked = ("production", "1", "nobody", "7")
    page = runner.run(projects.describe_versions(project_arn(made), qualifiers=asked))
    alias, first = page.items
    assert (alias.arn.qualifier, alias.info.version, alias.status) == ("production", "3", Status.RUNNING)
    assert alias.arn.digits == project_arn(made).digits
    assert first.arn.qualifier == "1"


def test_versions_page_by_page(projects, runner, made):
    arn = project_arn(made)
    first = runner.run(projects.describe_versions(arn, limit=2))
    second = runner.run(projects.describe_versions(arn, limit=2, token=first.next_token))
    assert [[one.arn.qualifier for one in page.items] for page in (first, second)] == [["3", "2"], ["1"]]
    assert second.next_token == ""
    other = project_arn(made, "boxes")
    for wrong in (
        projects.describe_versions(other, token=first.next_token),
        projects.describe_versions(arn, token="x"),
    ):
        with pytest.raises(InvalidPageToken):
            runner.run(wrong)


def test_version_without_a_bundle_is_not_told(projects, runner, made):
    assert runner.run(projects.describe_versions(project_arn(made, "foreign"))).items == []


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "nobody"},
        {"digits": "1"},
        {"owner": Owner("eu-west-1", "000000000000")},
        {"owner": Owner("us-east-1", "123456789012")},
        {"owner": Owner("us-east-1", "000000000000", "aws-cn")},
    ],
    ids=["name", "digits", "region", "account", "partition"],
)
def test_project_that_is_not_ours(changed, projects, runner, made):
    with pytest.raises(UnknownModel):
        runner.run(projects.describe_versions(replace(project_arn(made), **changed)))


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "nobody"},
        {"qualifier": "99"},
        {"qualifier": "2147483648"},
        {"qualifier": "01"},
        {"qualifier": "nobody"},
        {"digits": "1"},
        {"owner": Owner("eu-west-1", "000000000000")},
    ],
    ids=lambda changed: " ".join(map(str, changed.values())),
)
def test_version_that_is_not_ours(changed, projects, runner, made, states):
    arn = replace(version_arn(made.bolts[0]), **changed)
    for asked in (projects.start(arn), projects.stop(arn)):
        with pytest.raises((UnknownVersion, UnknownModel)):
            runner.run(asked)
    assert states.all(arn.name) == {}


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


@pytest.mark.parametrize("under_way", [Status.STARTING, Status.STOPPING])
def test_state_is_written_once_the_database_is_back(under_way, made, states, shelf, runner, monkeypatch):
    monkeypatch.setattr(transitions_module, "RETRY_SECONDS", 0.02)
    states.move("bolts", "1", {None}, under_way)
    move, failures = states.move, [EnvironmentFailed("the database is away")] * 3

    def move_later(*args, **kwargs):
        if failures:
            raise failures.pop()
        return move(*args, **kwargs)

    monkeypatch.setattr(states, "move", move_later)

    async def carry_on():
        projects = Projects(made.registry, states, shelf)
        await projects.transitions.resume()
        return await settled(states, "bolts", "1")

    assert runner.run(carry_on()).status is {"STARTING": Status.RUNNING, "STOPPING": Status.STOPPED}[under_way]
    assert not failures


def test_end_does_not_wait_for_the_database(made, states, shelf, runner, monkeypatch):
    states.move("bolts", "1", {None}, Status.STOPPING)

    def move_never(*args, **kwargs):
        raise EnvironmentFailed("the database is away")

    monkeypatch.setattr(states, "move", move_never)

    async def carry_on():
        projects = Projects(made.registry, states, shelf)
        await projects.transitions.resume()
        await asyncio.sleep(0.1)
        await asyncio.wait_for(projects.transitions.aclose(), 20)

    runner.run(carry_on())
    assert states.get("bolts", "1").status is Status.STOPPING


def test_start_is_told_at_once_and_carried_out_behind(projects, runner, made, states, shelf):
    arn = version_arn(made.bolts[0])

    async def start():
        shelf.loading.clear()
        assert await projects.start(arn, min_units=2, max_units=5) is Status.STARTING
        state = states.get("bolts", "1")
        assert (state.status, state.min_units, state.max_units) == (Status.STARTING, 2, 5)
        shelf.loading.set()
        state = await settled(states, "bolts", "1")
        await asyncio.sleep(0.1)  # the service is told after the database
        return state

    state = runner.run(start())
    assert (state.status, state.min_units, state.max_units) == (Status.RUNNING, 2, 5)
    assert shelf.warmed == [("bolts", "1")]
    assert shelf.told == [("bolts", "1")] * 2
    page = runner.run(projects.describe_versions(project_arn(made), qualifiers=["1"]))
    assert (page.items[0].status, page.items[0].state) == (Status.RUNNING, state)


def test_stop_and_start_again(projects, runner, made, states, shelf):
    arn = version_arn(made.bolts[0])

    async def go_round():
        await projects.start(arn)
        await settled(states, "bolts", "1")
        assert await projects.stop(arn) is Status.STOPPING
        assert (await settled(states, "bolts", "1")).status is Status.STOPPED
        assert await projects.start(arn, min_units=3) is Status.STARTING
        return await settled(states, "bolts", "1")

    state = runner.run(go_round())
    assert (state.status, state.min_units) == (Status.RUNNING, 3)


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (BundleError("head.onnx was changed"), "head.onnx was changed"),
        (EnvironmentFailed("MLflow does not answer"), "MLflow does not answer"),
        (MemoryError("secret detail"), "MemoryError; see the server's log"),
    ],
    ids=["damaged", "no registry", "unforeseen"],
)
def test_failed_start_is_told_and_may_be_repeated(failure, said, projects, runner, made, states, shelf):
    arn = version_arn(made.bolts[0])

    async def fail():
        shelf.outcome = failure
        await projects.start(arn)
        return await settled(states, "bolts", "1")

    state = runner.run(fail())
    assert state.status is Status.FAILED
    assert said in state.message
    assert "secret" not in state.message

    async def repeat():
        shelf.outcome = None
        await projects.start(arn)
        return await settled(states, "bolts", "1")

    assert runner.run(repeat()).status is Status.RUNNING


@pytest.mark.parametrize("action", ["start", "stop"])
@pytest.mark.parametrize(
    ("qualifier", "now", "may_start", "may_stop"),
    [
        ("1", None, True, False),
        ("1", Status.STARTING, False, False),
        ("1", Status.RUNNING, False, True),
        ("1", Status.STOPPING, False, False),
        ("1", Status.STOPPED, True, False),
        ("1", Status.FAILED, True, False),
        ("production", None, False, True),
        ("production", Status.RUNNING, False, True),
        ("production", Status.STOPPED, True, False),
        ("production", Status.FAILED, True, False),
    ],
    ids=str,
)
def test_what_a_state_allows(qualifier, now, may_start, may_stop, action, projects, runner, made, states):
    arn = version_arn(made.bolts[0], qualifier)
    if now:
        states.move("bolts", qualifier, {None}, now)
    ask = {"start": projects.start, "stop": projects.stop}[action](arn)
    if {"start": may_start, "stop": may_stop}[action]:
        assert runner.run(ask) in (Status.STARTING, Status.STOPPING)
        runner.run(settled(states, "bolts", qualifier))
        return
    with pytest.raises(StateConflict, match=str(now or "(has not been started|is RUNNING)")):
        runner.run(ask)
    state = states.get("bolts", qualifier)
    assert (state.status if state else None) == now


def test_stopped_alias_starts_again(projects, runner, made, states):
    arn = version_arn(made.bolts[2], "production")

    async def go_round():
        await projects.stop(arn)
        assert (await settled(states, "bolts", "production")).status is Status.STOPPED
        await projects.start(arn)
        return await settled(states, "bolts", "production")

    assert runner.run(go_round()).status is Status.RUNNING
    assert states.get("bolts", "3") is None


def test_units_the_wrong_way_round(projects, runner, made, states):
    with pytest.raises(RequestError, match="below MinInferenceUnits 5"):
        runner.run(projects.start(version_arn(made.bolts[0]), min_units=5, max_units=4))
    assert states.get("bolts", "1") is None


def test_what_a_process_left_under_way_is_carried_on(made, states, shelf, runner):
    arns = [version_arn(info) for info in made.bolts]

    async def leave():
        shelf.loading.clear()
        first = Projects(made.registry, states, shelf)
        await first.start(arns[0])
        states.move("bolts", "2", {None}, Status.STOPPING)
        await first.transitions.aclose()
        with pytest.raises(ServiceStopping):
            await first.start(arns[2])

    runner.run(leave())
    assert (states.get("bolts", "1").status, states.get("bolts", "3")) == (Status.STARTING, None)

    async def carry_on():
        shelf.loading.set()
        second = Projects(made.registry, states, shelf)
        found = await second.transitions.resume()
        assert {(one.model, one.qualifier) for one in found} == {("bolts", "1"), ("bolts", "2")}
        return [(await settled(states, "bolts", number)).status for number in ("1", "2")]

    assert runner.run(carry_on()) == [Status.RUNNING, Status.STOPPED]


def test_whoever_sees_a_start_under_way_carries_it_on_once(projects, runner, made, states, shelf):
    states.move("bolts", "1", {None}, Status.STARTING)  # by a process that died

    async def look():
        shelf.loading.clear()
        for _ in range(3):
            await projects.describe_versions(project_arn(made), qualifiers=["3"])
        shelf.loading.set()
        return await settled(states, "bolts", "1")

    assert runner.run(look()).status is Status.RUNNING
    assert shelf.warmed == [("bolts", "1")]


def test_service_that_stops_leaves_the_start_to_the_next(projects, runner, made, states, shelf):
    async def start():
        shelf.outcome = ServiceStopping("it ends")
        await projects.start(version_arn(made.bolts[0]))
        while not shelf.warmed:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)

    runner.run(start())
    assert states.get("bolts", "1").status is Status.STARTING


def test_one_of_two_endpoints_starts_a_version(made, states, tmp_path, runner):
    shelves = [Shelf(), Shelf()]
    endpoints = [
        Projects(made.registry, VersionStates(f"sqlite:///{tmp_path / 'states.db'}"), shelf) for shelf in shelves
    ]

    async def race():
        arn = version_arn(made.bolts[0])
        outcomes = await asyncio.gather(*(one.start(arn) for one in endpoints), return_exceptions=True)
        await settled(states, "bolts", "1")
        return outcomes

    outcomes = runner.run(race())
    assert sorted(type(one).__name__ for one in outcomes) == ["StateConflict", "Status"]
    assert sum(len(shelf.warmed) for shelf in shelves) == 1


def test_registry_that_is_gone_is_no_unknown_model(states, shelf, runner, made, lost_registry):
    projects = Projects(lost_registry, states, shelf)
    for asked in (
        projects.describe_projects(visible=everybody),
        projects.describe_versions(project_arn(made)),
        projects.start(version_arn(made.bolts[0])),
    ):
        with pytest.raises(EnvironmentFailed):
            runner.run(asked)
    assert states.get("bolts", "1") is None


def test_new_version_is_told_at_once(projects, runner, made):
    first = add_version(made.home, made.bolts[0], "washers")
    assert runner.run(projects.describe_versions(project_arn(made, "washers"))).items[0].arn == version_arn(first)
    second = add_version(made.home, made.bolts[0], "washers")
    page = runner.run(projects.describe_versions(project_arn(made, "washers")))
    assert [one.arn for one in page.items] == [version_arn(second), version_arn(first)]
