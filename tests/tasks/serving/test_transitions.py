"""Versions are started and stopped, whatever becomes of the process that began it."""

import asyncio

import pytest

from tasks.errors import BundleError, EnvironmentFailed, RequestError
from tasks.serving import transitions as transitions_module
from tasks.serving.errors import ServiceStopping, StateConflict
from tasks.serving.projects import Projects
from tasks.serving.states import Status, VersionStates
from tests.tasks.serving.made_projects import Shelf, project_arn, settled, version_arn


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
