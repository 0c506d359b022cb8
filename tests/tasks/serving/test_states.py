import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import EnvironmentFailed, RequestError
from tasks.serving.states import MAX_MESSAGE_CHARACTERS, Status, VersionStates

STARTABLE = {None, Status.STOPPED, Status.FAILED}


@pytest.fixture
def states(database_url):
    found = VersionStates(database_url)
    yield found
    found.close()


def test_unknown_version_has_no_state(states):
    assert states.get("bolts", "1") is None
    assert states.all("bolts") == {}
    assert states.having(set(Status)) == []


def test_state_holds_what_was_said(states):
    before = time.time() * 1000
    assert states.move("bolts", "3", {None}, Status.STARTING, message="it comes", units=(1, 4))
    found = states.get("bolts", "3")
    assert (found.model, found.qualifier, found.status) == ("bolts", "3", Status.STARTING)
    assert (found.message, found.min_units, found.max_units) == ("it comes", 1, 4)
    assert before - 1 <= found.changed_ms <= time.time() * 1000
    assert states.move("bolts", "3", {Status.STARTING}, Status.RUNNING, message="it is there")
    found = states.get("bolts", "3")
    assert (found.status, found.message, found.min_units, found.max_units) == ("RUNNING", "it is there", 1, 4)
    assert states.move("bolts", "3", {Status.RUNNING, None}, Status.STOPPED, units=(2, None))
    found = states.get("bolts", "3")
    assert (found.status, found.message, found.min_units, found.max_units) == ("STOPPED", "", 2, None)


@pytest.mark.parametrize(
    ("now", "expected", "moves"),
    [
        (None, [None], True),
        (None, [Status.STOPPED, None], True),
        (None, [Status.STOPPED], False),
        (None, [], False),
        (Status.RUNNING, [Status.RUNNING], True),
        (Status.RUNNING, [Status.RUNNING, None], True),
        (Status.RUNNING, [None], False),
        (Status.RUNNING, [None, Status.STOPPED], False),
        (Status.RUNNING, [one for one in Status if one != Status.RUNNING], False),
        (Status.RUNNING, [], False),
    ],
    ids=str,
)
def test_only_an_expected_state_is_left(now, expected, moves, states):
    if now:
        states.move("bolts", "1", {None}, now)
    assert states.move("bolts", "1", {*expected}, Status.FAILED, message="new") is moves
    found = states.get("bolts", "1")
    assert (found.status if found else None) == (Status.FAILED if moves else now)


def test_state_from_before_the_version_counts_as_none(states):
    states.move("bolts", "1", {None}, Status.RUNNING)
    since = states.get("bolts", "1").changed_ms + 60_000  # by another clock, which is ahead
    assert states.get("bolts", "1", since_ms=since - 60_000).status is Status.RUNNING
    assert states.get("bolts", "1", since_ms=since) is None
    assert not states.move("bolts", "1", {Status.RUNNING}, Status.STOPPING, since_ms=since)
    assert states.move("bolts", "1", {None}, Status.STARTING, since_ms=since)
    assert states.get("bolts", "1", since_ms=since).status is Status.STARTING
    assert not states.move("bolts", "1", {None}, Status.STOPPED, since_ms=since)
    assert states.move("bolts", "1", {Status.STARTING}, Status.RUNNING, since_ms=since)


def test_a_move_touches_no_other_version(states):
    for model, qualifier in (("bolts", "1"), ("bolts", "2"), ("nuts", "1")):
        states.move(model, qualifier, {None}, Status.RUNNING)
    states.move("bolts", "1", {Status.RUNNING}, Status.STOPPING)
    assert {name: one.status for name, one in states.all("bolts").items()} == {"1": "STOPPING", "2": "RUNNING"}
    assert states.get("nuts", "1").status is Status.RUNNING
    assert [(one.model, one.qualifier) for one in states.having({Status.STOPPING})] == [("bolts", "1")]
    assert len(states.having({Status.STOPPING, Status.RUNNING})) == 3


def test_states_outlive_the_process_that_wrote_them(database_url):
    first = VersionStates(database_url)
    first.move("bolts", "production", {None}, Status.STOPPED, message="for the night")
    first.close()
    second = VersionStates(database_url)
    assert second.get("bolts", "production").message == "for the night"
    second.close()


_RACE = """
import sys, time
from tasks.serving.states import Status, VersionStates
url, start, startable = sys.argv[1], float(sys.argv[2]), {None, Status.STOPPED}
states = VersionStates(url)
time.sleep(max(0.0, start - time.time()))
won = [f"{n}" for n in range(15) if states.move("bolts", f"{n}", startable, Status.STARTING)]
won += [f"again {n}" for n in range(15) if states.move("nuts", f"{n}", startable, Status.STARTING)]
print(",".join(won))
"""


def test_one_of_several_processes_wins(database_url):
    states = VersionStates(database_url)
    for number in range(15):  # half of the races are for a row that is there, half for one that is not
        states.move("nuts", str(number), {None}, Status.STOPPED)
    states.close()
    command = [sys.executable, "-c", _RACE, database_url, str(time.time() + 2)]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [racer.communicate(timeout=60)[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * 3
    winners = [name for output in outputs for name in output.strip().split(",") if name]
    assert sorted(winners) == sorted([*(str(n) for n in range(15)), *(f"again {n}" for n in range(15))])


def test_one_of_many_threads_wins(states):
    for number in range(10):
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda _, n=number: states.move("bolts", str(n), STARTABLE, Status.STARTING), range(8)))
        assert won.count(True) == 1


def test_any_names_are_looked_up_without_harm(states):
    @settings(max_examples=40, deadline=None)
    @given(name=st.text(max_size=300), qualifier=st.text(max_size=300))
    def look_up(name, qualifier):
        assert states.get(name, qualifier) is None
        assert states.all(name) == {}

    look_up()


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 256, ""])
def test_a_name_that_cannot_be_kept_is_refused(name, states):
    with pytest.raises(RequestError, match="no state can be kept"):
        states.move(name, "1", {None}, Status.RUNNING)


def test_a_message_of_any_size_and_content_is_kept(states):
    states.move("bolts", "1", {None}, Status.FAILED, message="'; DROP TABLE x; -- \0 é" + "y" * 10_000)
    message = states.get("bolts", "1").message
    assert message.startswith("'; DROP TABLE x; --  éyyy")
    assert len(message) == MAX_MESSAGE_CHARACTERS


def test_database_that_goes_away_is_said(tmp_path):
    states = VersionStates(f"sqlite:///{tmp_path / 'states.db'}")
    states.close()
    shutil.move(tmp_path / "states.db", tmp_path / "elsewhere.db")
    with pytest.raises(EnvironmentFailed, match=r"the database of states at .* does not answer"):
        states.get("bolts", "1")
