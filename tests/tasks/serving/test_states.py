import shutil
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, inspect, make_url, text
from sqlalchemy.pool import NullPool

from tasks.errors import EnvironmentFailed, RequestError
from tasks.serving.states import MAX_MESSAGE_CHARACTERS, Status, VersionStates

STARTABLE = {None, Status.STOPPED, Status.FAILED}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'below' / 'states.db'}"
        return
    address = request.getfixturevalue("postgres")
    yield address
    with administered(address).begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS keeneye_version_states"))


def administered(address):
    return create_engine(make_url(address).set(drivername="postgresql+psycopg"), poolclass=NullPool)


@pytest.fixture
def states(url):
    found = VersionStates(url)
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


def test_error_without_text_is_told_by_its_kind(states, monkeypatch):
    def fail():
        raise OSError

    monkeypatch.setattr(states._database.engine, "connect", fail)
    with pytest.raises(EnvironmentFailed, match="does not answer: OSError;"):
        states.get("bolts", "1")


@pytest.mark.parametrize(
    ("told", "expected"), [("", "10s"), ("?options=-c%20statement_timeout%3D7s", "7s")], ids=["ours", "the user's"]
)
def test_statement_does_not_last_for_ever(told, expected, postgres):
    separator = "&" if "?" in postgres and told else told[:1]
    states = VersionStates(postgres + separator + told[1:])
    with states._database.engine.connect() as connection:
        assert connection.execute(text("SHOW statement_timeout")).scalar() == expected
    states.close()


def test_a_move_touches_no_other_version(states):
    for model, qualifier in (("bolts", "1"), ("bolts", "2"), ("nuts", "1")):
        states.move(model, qualifier, {None}, Status.RUNNING)
    states.move("bolts", "1", {Status.RUNNING}, Status.STOPPING)
    assert {name: one.status for name, one in states.all("bolts").items()} == {"1": "STOPPING", "2": "RUNNING"}
    assert states.get("nuts", "1").status is Status.RUNNING
    assert [(one.model, one.qualifier) for one in states.having({Status.STOPPING})] == [("bolts", "1")]
    assert len(states.having({Status.STOPPING, Status.RUNNING})) == 3


def test_states_outlive_the_process_that_wrote_them(url):
    first = VersionStates(url)
    first.move("bolts", "production", {None}, Status.STOPPED, message="for the night")
    first.close()
    second = VersionStates(url)
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


def test_one_of_several_processes_wins(url):
    states = VersionStates(url)
    for number in range(15):  # half of the races are for a row that is there, half for one that is not
        states.move("nuts", str(number), {None}, Status.STOPPED)
    states.close()
    command = [sys.executable, "-c", _RACE, url, str(time.time() + 2)]
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


def test_several_processes_may_make_the_table(url):
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: VersionStates(url), range(8)))
    assert opened[0].move("bolts", "1", {None}, Status.RUNNING)
    assert all(states.get("bolts", "1").status is Status.RUNNING for states in opened)
    for states in opened:
        states.close()


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


def test_sqlite_writes_ahead(tmp_path):
    VersionStates(f"sqlite:///{tmp_path / 'states.db'}").close()
    assert sqlite3.connect(tmp_path / "states.db").execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_postgresql_is_really_used(postgres):
    VersionStates(postgres).close()
    assert inspect(administered(postgres)).has_table("keeneye_version_states")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("mysql://root@127.0.0.1/x", "cannot be kept in mysql"),
        ("sqlite://", "memory"),
        ("sqlite:///:memory:", "memory"),
        ("states.db", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_other_databases_are_refused(address, said):
    with pytest.raises(RequestError, match=said):
        VersionStates(address)


def test_unreachable_database_is_said_without_its_password():
    with pytest.raises(EnvironmentFailed) as caught:
        VersionStates("postgresql://someone:s3cret@127.0.0.1:9/states?password=s3cret")
    assert "127.0.0.1:9" in caught.value.message
    assert "s3cret" not in caught.value.message


def test_file_that_is_no_database(tmp_path):
    (tmp_path / "states.db").write_bytes(b"no database" * 1000)
    with pytest.raises(EnvironmentFailed, match="not a database"):
        VersionStates(f"sqlite:///{tmp_path / 'states.db'}")


def test_database_that_goes_away_is_said(tmp_path):
    states = VersionStates(f"sqlite:///{tmp_path / 'states.db'}")
    states.close()
    shutil.move(tmp_path / "states.db", tmp_path / "elsewhere.db")
    with pytest.raises(EnvironmentFailed, match="does not answer"):
        states.get("bolts", "1")
