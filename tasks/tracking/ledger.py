"""The ledger of moves: which version stands in which environment, since when, by whom and why; append-only SQL.

Every model has its own sequence of entries, 1, 2, 3, without gaps. (model, sequence) is unique, so of several that
append after the same last entry exactly one does it (compare and swap). No row is ever changed or removed.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Column, Integer, MetaData, Select, String, Table, Text, select

from tasks.errors import KeeneyeError, RegistryError, RequestError
from tasks.stores.database import MAX_NAME_CHARACTERS, RESTART_SECONDS, Database, insert_into, is_storable
from tasks.tracking.environment_names import EnvironmentName

MAX_WHY_CHARACTERS = 2000


class EntryKind(StrEnum):
    """What an entry says of its move."""

    BEGUN = "begun"
    DONE = "done"
    REVERTED = "reverted"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEntry:
    """What is told to the ledger.

    Attributes:
        model: registered model.
        kind: what this entry says of its move.
        action: "promote", "rollback", or "repair" when a later command ended what another had left.
        environment: where the move goes.
        from_version: version that stood there; "" when none did.
        to_version: version that is to stand there.
        who: person or process that answers for it.
        why: for people; kept without NUL and half surrogates, up to `MAX_WHY_CHARACTERS`.
        bundle_digest: SHA-256 of the bundle of `to_version`; "" when it has none.
        evidence: any JSON object: gate, comparison, approval, tests.
        begins: sequence of the BEGUN entry that this one ends; 0 for a BEGUN entry, which then holds its own.
    """

    model: str
    kind: EntryKind
    action: str
    environment: EnvironmentName
    from_version: str
    to_version: str
    who: str
    why: str = ""
    bundle_digest: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    begins: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry(NewEntry):
    """One row of the ledger.

    Attributes:
        sequence: from 1, without gaps, per model.
        at_ms: when it was appended, in ms since 1970, UTC; never decreasing per model.
        lease_until_ms: until when nobody else may act on a BEGUN move, in ms since 1970, UTC; else 0.
    """

    sequence: int
    at_ms: int
    lease_until_ms: int

    def __str__(self) -> str:
        """Who did what, where and when, in words."""
        when = datetime.fromtimestamp(self.at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        did = f"{_VERBS[self.kind]} version {self.to_version} of {self.model} to {self.environment}"
        return f"{self.who} {did} at {when}"


_VERBS = {
    EntryKind.BEGUN: "began to move",
    EntryKind.DONE: "moved",
    EntryKind.REVERTED: "took back the move of",
}


class LedgerConflict(KeeneyeError):
    """Somebody else was first; `winner` is the entry that stands in the way."""

    def __init__(self, winner: LedgerEntry) -> None:
        super().__init__(f"{winner}, so this move stops; `keeneye status` shows what stands where")
        self.winner = winner

    def __reduce__(self) -> tuple[type["LedgerConflict"], tuple[LedgerEntry]]:
        """Travel between processes with the winner."""
        return type(self), (self.winner,)


_NAMES = ("model", "kind", "action", "environment", "from_version", "to_version", "who", "bundle_digest")
_REQUIRED_NAMES = ("model", "action", "environment", "to_version", "who")
_TABLE = Table(
    "keeneye_ledger",
    MetaData(),
    Column("model", String(MAX_NAME_CHARACTERS), primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    *(Column(name, String(MAX_NAME_CHARACTERS), nullable=False) for name in _NAMES[1:]),
    Column("why", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("begins", Integer, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("lease_until_ms", BigInteger, nullable=False),
)
_TOLD = select(*(column for column in _TABLE.c if column.name != "evidence"))


class Ledger:
    """The entries of all models, for threads and processes alike.

    >>> ledger = Ledger("sqlite:///ledger.db")                                       # doctest: +SKIP
    >>> standing(ledger.entries("bolts"))["production"].to_version                   # doctest: +SKIP
    '3'
    """

    def __init__(self, url: str, *, patience_seconds: float = RESTART_SECONDS) -> None:
        """Connect, and make the table if need be.

        Args:
            url: `sqlite:///FILE` or `postgresql://USER@HOST/DATABASE`.
            patience_seconds: for a PostgreSQL that takes no connection; 0 where somebody waits for an answer.

        Raises:
            RequestError: when the address is of another kind.
            EnvironmentFailed: when the database does not answer.
        """
        self._database = Database(url, _TABLE, keeps="the ledger", patience_seconds=patience_seconds)

    def entries(self, model: str) -> list[LedgerEntry]:
        """Return a model's entries, ascending; none of a model that was never moved.

        Raises:
            EnvironmentFailed: when the database does not answer.
        """
        if not is_storable(model):
            return []
        return self._rows(select(_TABLE).where(_TABLE.c.model == model).order_by(_TABLE.c.sequence))

    def recent(self, model: str, environments: Sequence[str], count: int) -> list[LedgerEntry]:
        """Return the last entries of some environments, ascending and without their evidence.

        Besides the last `count` of them all, the last DONE entry of each environment is among them: what stands there.

        Raises:
            EnvironmentFailed: when the database does not answer.
        """
        if not is_storable(model):
            return []
        last = _TOLD.where(_TABLE.c.model == model).order_by(_TABLE.c.sequence.desc())
        found = self._rows(last.where(_TABLE.c.environment.in_(environments)).limit(count))
        done = last.where(_TABLE.c.kind == EntryKind.DONE.value).limit(1)
        for environment in environments:
            found += self._rows(done.where(_TABLE.c.environment == environment))
        return [one for _, one in sorted({one.sequence: one for one in found}.items())]

    def models(self) -> list[str]:
        """Return the models that have entries, by name.

        Raises:
            EnvironmentFailed: when the database does not answer.
        """
        with self._database.reading() as connection:
            # Sorted here: databases order letters each in its own way.
            return sorted(connection.execute(select(_TABLE.c.model).distinct()).scalars())

    def append(self, entry: NewEntry, *, expected_sequence: int, lease_seconds: float = 0.0) -> LedgerEntry:
        """Append an entry after the one that the caller has read last, if that is still the last.

        Args:
            entry: what to append.
            expected_sequence: of the last entry that the caller has read; 0 for none.
            lease_seconds: for how long from now nobody else may act on it.

        Raises:
            LedgerConflict: when others have appended meanwhile; it names the first of theirs.
            RegistryError: when the ledger ends before `expected_sequence`, so is not the one that was read.
            RequestError: when the database cannot hold a name or the evidence.
            EnvironmentFailed: when the database does not answer.
        """
        values = _checked(entry) | {"sequence": expected_sequence + 1}
        last = self._at(entry.model, expected_sequence)
        if last is None and expected_sequence != 0:
            raise RegistryError(
                f"the ledger has no entry {expected_sequence} of {entry.model}; it is not the one that was read: "
                "look whether it was replaced"
            )
        now_ms = time.time_ns() // 1_000_000
        values["at_ms"] = max(now_ms, last.at_ms if last else 0)  # clocks differ, and are set back
        values["lease_until_ms"] = now_ms + round(1000 * lease_seconds) if lease_seconds else 0
        values["begins"] = entry.begins or values["sequence"]
        if self._insert(values):
            return _entry(values)
        winner = self._at(entry.model, expected_sequence + 1)
        if winner is None:
            raise RegistryError(f"the ledger of {entry.model} takes no entry; look whether somebody removes its rows")
        raise LedgerConflict(winner)

    def close(self) -> None:
        """Let go of all connections."""
        self._database.close()

    def _insert(self, values: Mapping[str, Any]) -> bool:
        with self._database.writing() as connection:
            insert = insert_into(connection, _TABLE).values(values).on_conflict_do_nothing()
            return connection.execute(insert.returning(_TABLE.c.sequence)).first() is not None

    def _at(self, model: str, sequence: int) -> LedgerEntry | None:
        found = self._rows(select(_TABLE).where(_TABLE.c.model == model, _TABLE.c.sequence == sequence))
        return found[0] if found else None

    def _rows(self, query: Select[Any]) -> list[LedgerEntry]:
        with self._database.reading() as connection:
            return [_entry(row._asdict()) for row in connection.execute(query)]


def standing(entries: Sequence[LedgerEntry]) -> dict[str, LedgerEntry]:
    """Return, per environment, the DONE entry whose `to_version` stands there.

    Args:
        entries: of one model, ascending.
    """
    return {entry.environment: entry for entry in entries if entry.kind is EntryKind.DONE}


def open_move(entries: Sequence[LedgerEntry]) -> LedgerEntry | None:
    """Return the BEGUN entry that has no end yet, or None; a model has one at most.

    Args:
        entries: of one model, ascending.
    """
    ended = {one.begins for one in entries if one.kind is not EntryKind.BEGUN}
    begun = (one for one in reversed(entries) if one.kind is EntryKind.BEGUN)
    return next((one for one in begun if one.sequence not in ended), None)


def end_of(entries: Sequence[LedgerEntry], begun: LedgerEntry) -> LedgerEntry | None:
    """Return the entry that ended a move, or None while it is open."""
    ends = (one for one in entries if one.kind is not EntryKind.BEGUN and one.begins == begun.sequence)
    return next(ends, None)


def ending(begun: LedgerEntry, kind: EntryKind, why: str, evidence: Mapping[str, Any]) -> NewEntry:
    """Return the end of a move, not yet appended."""
    return NewEntry(
        model=begun.model,
        kind=kind,
        action=begun.action,
        environment=begun.environment,
        from_version=begun.from_version,
        to_version=begun.to_version,
        who=begun.who,
        why=why,
        bundle_digest=begun.bundle_digest,
        evidence=evidence,
        begins=begun.sequence,
    )


def history(entries: Sequence[LedgerEntry], environment: str) -> list[LedgerEntry]:
    """Return the DONE entries of an environment, the newest first.

    Args:
        entries: of one model, ascending.
        environment: "staging" or "production".
    """
    return [one for one in reversed(entries) if one.kind is EntryKind.DONE and one.environment == environment]


def _checked(entry: NewEntry) -> dict[str, Any]:
    values = {one.name: getattr(entry, one.name) for one in fields(NewEntry)}
    for name in _NAMES:
        if not is_storable(values[name]) and (values[name] or name in _REQUIRED_NAMES):
            raise RequestError(f"the ledger cannot keep {name} {values[name][:100]!r}: give a shorter, plain name")
    values |= {"kind": entry.kind.value, "why": _plain(entry.why)}
    try:
        values["evidence"] = json.dumps(dict(entry.evidence), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RequestError(f"the evidence of a move is no JSON object: {error}; give finite numbers and text") from None
    return values


def _plain(text: str) -> str:
    # Made of other programs' messages at times, and must never be what stops a move from being taken back.
    return text.encode(errors="replace").decode().replace("\0", "")[:MAX_WHY_CHARACTERS]


def _entry(row: Mapping[str, Any]) -> LedgerEntry:
    evidence = json.loads(row.get("evidence", "{}"))
    return LedgerEntry(**{**row, "kind": EntryKind(row["kind"]), "evidence": evidence})
