import pickle
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import EnvironmentFailed, RegistryError, RequestError
from tasks.tracking.ledger import (
    MAX_WHY_CHARACTERS,
    EntryKind,
    Ledger,
    LedgerConflict,
    LedgerEntry,
    NewEntry,
    end_of,
    ending,
    history,
    open_move,
    standing,
)
from tests.tasks.tracking import movers

BEGUN, DONE, REVERTED = EntryKind
NEW = NewEntry(
    model="bolts",
    kind=BEGUN,
    action="promote",
    environment="staging",
    from_version="3",
    to_version="4",
    who="ana",
    why="it is better",
    bundle_digest="d" * 64,
    evidence={"gate": {"macro_f1": 0.875, "passed": True, "reasons": []}},
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def ledger(database_url):
    found = Ledger(database_url)
    yield found
    found.close()


def test_empty_ledger(ledger):
    assert ledger.entries("bolts") == []
    assert ledger.models() == []


def test_last_entries_come_without_their_evidence(ledger):
    def append(environment, kind):
        entry = replace(NEW, environment=environment, kind=kind)
        return ledger.append(entry, expected_sequence=len(ledger.entries("bolts")))

    append("production", BEGUN)
    stands = append("production", DONE)
    last = [append("staging", kind) for kind in (BEGUN, REVERTED, BEGUN)]
    kept = [replace(one, evidence={}) for one in (stands, *last[1:])]
    assert ledger.recent("bolts", ("staging", "production"), 2) == kept
    assert ledger.recent("bolts", ("staging",), 1) == kept[-1:]
    assert ledger.recent("bolts", ("production",), 1) == kept[:1]
    assert ledger.recent("nobody", ("staging",), 2) == ledger.recent("a\0", ("staging",), 2) == []


def test_entry_holds_what_was_said(ledger):
    before = time.time_ns() // 1_000_000
    made = ledger.append(NEW, expected_sequence=0, lease_seconds=600)
    after = time.time_ns() // 1_000_000
    assert {name: getattr(made, name) for name in NewEntry.__dataclass_fields__} == {
        **{name: getattr(NEW, name) for name in NewEntry.__dataclass_fields__},
        "begins": 1,
    }
    assert made.sequence == 1
    assert before <= made.at_ms <= after
    assert made.lease_until_ms - made.at_ms == 600_000
    assert ledger.entries("bolts") == [made]
    end = ledger.append(ending(made, REVERTED, "it is worse", {"failed": 3}), expected_sequence=1)
    assert (end.sequence, end.begins, end.kind, end.lease_until_ms) == (2, 1, REVERTED, 0)
    assert (end.from_version, end.to_version, end.who, end.action) == ("3", "4", "ana", "promote")
    assert (end.why, end.evidence, end.bundle_digest) == ("it is worse", {"failed": 3}, "d" * 64)
    assert ledger.entries("bolts") == [made, end]


def test_every_model_has_its_own_sequence(ledger):
    for model in ("nuts", "bolts", "Äpfel"):
        for number in range(12):
            assert ledger.append(replace(NEW, model=model), expected_sequence=number).sequence == number + 1
    assert [one.sequence for one in ledger.entries("nuts")] == list(range(1, 13))
    assert {one.model for one in ledger.entries("nuts")} == {"nuts"}
    assert ledger.models() == ["bolts", "nuts", "Äpfel"]


def test_entries_outlive_the_process_that_wrote_them(ledger, database_url):
    made = ledger.append(NEW, expected_sequence=0)
    ledger.close()
    another = Ledger(database_url)
    assert another.entries("bolts") == [made]
    another.close()


@pytest.mark.parametrize("expected_sequence", [0, 1])
def test_who_has_not_read_all_is_told_who_was_first(expected_sequence, ledger):
    for number, who in enumerate(("ana", "bo", "cy")):
        ledger.append(replace(NEW, who=who, to_version=str(number + 5)), expected_sequence=number)
    before = ledger.entries("bolts")
    with pytest.raises(LedgerConflict) as caught:
        ledger.append(replace(NEW, who="dan"), expected_sequence=expected_sequence)
    assert caught.value.winner == before[expected_sequence]
    who = before[expected_sequence].who
    assert f"{who} began to move version {expected_sequence + 5} of bolts to staging at 20" in caught.value.message
    assert caught.value.exit_code == 1
    assert ledger.entries("bolts") == before


def test_conflict_travels_between_processes(ledger):
    winner = ledger.append(NEW, expected_sequence=0)
    travelled = pickle.loads(pickle.dumps(LedgerConflict(winner)))
    assert travelled.winner == winner
    assert str(travelled) == travelled.message == LedgerConflict(winner).message


@pytest.mark.parametrize("expected_sequence", [2, 100, -1])
def test_nothing_is_appended_after_what_is_not_there(expected_sequence, ledger):
    ledger.append(NEW, expected_sequence=0)
    with pytest.raises(RegistryError, match=f"no entry {expected_sequence} of bolts"):
        ledger.append(NEW, expected_sequence=expected_sequence)
    assert len(ledger.entries("bolts")) == 1


def test_one_of_several_processes_wins_every_round(database_url, tmp_path):
    rounds = 6
    answers = movers.all_at_once(movers.append_in_rounds, tmp_path / "race", database_url, rounds)
    ledger = Ledger(database_url)
    winners = [one.who for one in ledger.entries("bolts")]
    assert len(winners) == rounds
    for number, answer in enumerate(answers):  # every loser knows the winner, and only the winner takes itself for it
        assert answer == [(who == f"contender {number}", who) for who in winners]
    ledger.close()


def test_time_never_goes_back(ledger, monkeypatch):
    first = ledger.append(NEW, expected_sequence=0)
    hour_ago = time.time_ns() - 3_600_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: hour_ago)
    second = ledger.append(NEW, expected_sequence=1, lease_seconds=60)
    assert second.at_ms == first.at_ms
    assert second.lease_until_ms == hour_ago // 1_000_000 + 60_000  # by the clock that will be asked
    assert ledger.append(replace(NEW, model="nuts"), expected_sequence=0).at_ms == hour_ago // 1_000_000


@pytest.mark.parametrize("value", ["a\0b", "\ud800", "x" * 300, "a\nb"], ids=["NUL", "surrogate", "300", "line"])
@pytest.mark.parametrize(
    "name", ["model", "action", "environment", "from_version", "to_version", "who", "bundle_digest"]
)
def test_a_name_that_cannot_be_kept_is_refused(name, value, tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    with pytest.raises(RequestError, match=f"the ledger cannot keep {name} "):
        ledger.append(replace(NEW, **{name: value}), expected_sequence=0)
    assert ledger.models() == []
    assert ledger.entries(value) == []
    ledger.close()


@pytest.mark.parametrize(
    ("name", "is_refused"),
    [("model", True), ("who", True), ("to_version", True), ("from_version", False), ("bundle_digest", False)],
)
def test_empty_names(name, is_refused, ledger):
    if is_refused:
        with pytest.raises(RequestError, match=f"the ledger cannot keep {name} ''"):
            ledger.append(replace(NEW, **{name: ""}), expected_sequence=0)
    else:
        assert getattr(ledger.append(replace(NEW, **{name: ""}), expected_sequence=0), name) == ""


@pytest.mark.parametrize(
    "evidence",
    [{"f1": float("nan")}, {"f1": float("inf")}, {"labels": {"a", "b"}}, {"image": b"x"}, 5],
    ids=["NaN", "infinity", "set", "bytes", "no object"],
)
def test_evidence_that_is_no_json_is_refused(evidence, ledger):
    with pytest.raises(RequestError, match=r"no JSON object: .*; give finite numbers and text"):
        ledger.append(replace(NEW, evidence=evidence), expected_sequence=0)
    assert ledger.entries("bolts") == []


def test_any_evidence_and_reason_is_kept(ledger):
    @settings(max_examples=25, deadline=None)
    @given(evidence=st.dictionaries(st.text(), JSON, max_size=4), why=st.text(max_size=50))
    def keep(evidence, why):
        entries = ledger.entries("bolts")
        made = ledger.append(replace(NEW, evidence=evidence, why=why), expected_sequence=len(entries))
        assert made.evidence == evidence
        assert made.why == why.replace("\0", "")
        assert ledger.entries("bolts") == [*entries, made]

    keep()


def test_a_reason_of_any_size_and_content_is_kept(ledger):
    why = "'; DROP TABLE x; -- \0\ud800 é\n" + "y" * 10_000
    made = ledger.append(replace(NEW, why=why), expected_sequence=0)
    assert made.why.startswith("'; DROP TABLE x; -- ? é\nyyy")
    assert len(made.why) == MAX_WHY_CHARACTERS
    assert ledger.entries("bolts") == [made]


def test_any_model_is_looked_up_without_harm(ledger):
    @settings(max_examples=30, deadline=None)
    @given(model=st.text(max_size=300))
    def look_up(model):
        assert ledger.entries(model) == []

    look_up()


def test_rows_are_never_changed(ledger):
    said = movers.statements_of(ledger._database.engine)
    begun = ledger.append(NEW, expected_sequence=0)
    ledger.append(ending(begun, DONE, "", {}), expected_sequence=1)
    with pytest.raises(LedgerConflict):
        ledger.append(NEW, expected_sequence=1)
    ledger.entries("bolts"), ledger.models()
    assert {statement.split()[0] for statement in said} == {"SELECT", "INSERT"}
    assert not [statement for statement in said if "DO UPDATE" in statement]


def test_ledger_that_goes_away_is_said(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.close()
    for path in tmp_path.glob("ledger.db*"):
        path.unlink()
    with pytest.raises(EnvironmentFailed, match=r"the database of the ledger at .*ledger.db does not answer"):
        ledger.entries("bolts")


def made(*told):
    """Make entries of one model: (kind, environment, from, to[, sequence of the beginning])."""
    entries = []
    for number, (kind, environment, from_version, to_version, *begins) in enumerate(told, 1):
        entry = replace(NEW, kind=kind, environment=environment, from_version=from_version, to_version=to_version)
        fields = {name: getattr(entry, name) for name in NewEntry.__dataclass_fields__}
        fields["begins"] = begins[0] if begins else number
        entries.append(LedgerEntry(**fields, sequence=number, at_ms=1000 * number, lease_until_ms=0))
    return entries


S, P = "staging", "production"
STORIES = {
    "nothing": ([], {}, None, [], []),
    "begun": ([(BEGUN, S, "", "1")], {}, 1, [], []),
    "done": ([(BEGUN, S, "", "1"), (DONE, S, "", "1", 1)], {S: 2}, None, [2], []),
    "reverted": ([(BEGUN, S, "", "1"), (REVERTED, S, "", "1", 1)], {}, None, [], []),
    "second begun": (
        [(BEGUN, S, "", "1"), (DONE, S, "", "1", 1), (BEGUN, S, "1", "2")],
        {S: 2},
        3,
        [2],
        [],
    ),
    "second reverted": (
        [(BEGUN, S, "", "1"), (DONE, S, "", "1", 1), (BEGUN, S, "1", "2"), (REVERTED, S, "1", "2", 3)],
        {S: 2},
        None,
        [2],
        [],
    ),
    "second done": (
        [(BEGUN, S, "", "1"), (DONE, S, "", "1", 1), (BEGUN, S, "1", "2"), (DONE, S, "1", "2", 3)],
        {S: 4},
        None,
        [4, 2],
        [],
    ),
    "both environments": (
        [
            *((BEGUN, S, "", "1"), (DONE, S, "", "1", 1), (BEGUN, P, "", "1"), (DONE, P, "", "1", 3)),
            *((BEGUN, S, "1", "2"), (DONE, S, "1", "2", 5), (BEGUN, P, "1", "2")),
        ],
        {S: 6, P: 4},
        7,
        [6, 2],
        [4],
    ),
}


@pytest.mark.parametrize(("told", "stands", "is_open", "staged", "produced"), STORIES.values(), ids=STORIES)
def test_what_entries_say(told, stands, is_open, staged, produced):
    entries = made(*told)
    assert {name: one.sequence for name, one in standing(entries).items()} == stands
    begun = open_move(entries)
    assert (begun.sequence if begun else None) == is_open
    assert [one.sequence for one in history(entries, S)] == staged
    assert [one.sequence for one in history(entries, P)] == produced
    for entry in entries:
        if entry.kind is BEGUN:
            end = end_of(entries, entry)
            assert (end is None) is (entry.sequence == is_open)
            assert end is None or (end.begins, end.sequence) == (entry.sequence, entry.sequence + 1)


@pytest.mark.parametrize(
    ("kind", "said"), [(BEGUN, "began to move"), (DONE, "moved"), (REVERTED, "took back the move of")]
)
def test_entry_says_who_did_what(kind, said):
    [entry] = made((kind, "production", "", "7"))
    assert str(entry) == f"ana {said} version 7 of bolts to production at 1970-01-01 00:00:01 UTC"
