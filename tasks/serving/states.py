"""Whether versions are started: a table in SQLite or PostgreSQL that outlives the process and is shared by several.

A row changes only from a state that the changer expected (compare and swap, one SQL statement), so of several that
want the same change exactly one makes it.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Integer, MetaData, Row, String, Table, Text, select, update

from tasks.errors import RequestError
from tasks.stores.database import MAX_NAME_CHARACTERS, Database, insert_into, is_storable

MAX_MESSAGE_CHARACTERS = 2000


class Status(StrEnum):
    """The states of a version that was started at least once."""

    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class VersionState:
    """The state of one qualifier (version number or alias) of a model.

    `min_units` and `max_units` are the inference units it was started with; `changed_ms` is in ms since 1970, UTC.
    """

    model: str
    qualifier: str
    status: Status
    message: str
    min_units: int | None
    max_units: int | None
    changed_ms: int


_TABLE = Table(
    "keeneye_version_states",
    MetaData(),
    Column("model", String(MAX_NAME_CHARACTERS), primary_key=True),
    Column("qualifier", String(MAX_NAME_CHARACTERS), primary_key=True),
    Column("status", String(16), nullable=False),
    Column("message", Text, nullable=False),
    Column("min_units", Integer),
    Column("max_units", Integer),
    Column("changed_ms", BigInteger, nullable=False),
)


class VersionStates:
    """The states of all versions, for threads and processes alike.

    >>> states = VersionStates("sqlite:///states.db")                                # doctest: +SKIP
    >>> states.move("bolts", "3", {None, Status.STOPPED}, Status.STARTING)            # doctest: +SKIP
    True
    """

    def __init__(self, url: str) -> None:
        """Connect, and make the table if need be.

        Args:
            url: `sqlite:///FILE` or `postgresql://USER@HOST/DATABASE`.

        Raises:
            RequestError: when the address is of another kind.
            EnvironmentFailed: when the database does not answer.
        """
        self._database = Database(url, _TABLE, keeps="states")

    def get(self, model: str, qualifier: str, *, since_ms: int = 0) -> VersionState | None:
        """Return a state, or None when the qualifier was never started or stopped.

        Args:
            model: registered model.
            qualifier: version number or alias.
            since_ms: since when the name means what it means (ms since 1970); an older state is of another version.

        Raises:
            EnvironmentFailed: when the database does not answer.
        """
        if not (is_storable(model) and is_storable(qualifier)):
            return None
        found = self._rows(select(_TABLE).where(_TABLE.c.model == model, _TABLE.c.qualifier == qualifier))
        return found[0] if found and found[0].changed_ms >= since_ms else None

    def all(self, model: str) -> dict[str, VersionState]:
        """Return the states of a model by qualifier.

        Raises:
            EnvironmentFailed: when the database does not answer.
        """
        if not is_storable(model):
            return {}
        return {state.qualifier: state for state in self._rows(select(_TABLE).where(_TABLE.c.model == model))}

    def having(self, statuses: Collection[Status]) -> list[VersionState]:
        """Return the states of all models that are one of `statuses`.

        Raises:
            EnvironmentFailed: when the database does not answer.
        """
        return self._rows(select(_TABLE).where(_TABLE.c.status.in_(statuses)))

    def move(
        self,
        model: str,
        qualifier: str,
        expected: Collection[Status | None],
        to: Status,
        *,
        message: str = "",
        units: tuple[int, int | None] | None = None,
        since_ms: int = 0,
    ) -> bool:
        """Change a state if it is still one of those expected; tell whether it was changed here.

        Args:
            model: registered model.
            qualifier: version number or alias.
            expected: states to leave; None stands for no state yet.
            to: state to enter.
            message: why, for people; cut to `MAX_MESSAGE_CHARACTERS`.
            units: smallest and largest number of inference units; None leaves them as they are.
            since_ms: as in `get`; an older state counts as none, and the new one is not older.

        Raises:
            RequestError: when the database cannot hold such names.
            EnvironmentFailed: when the database does not answer.
        """
        if not (is_storable(model) and is_storable(qualifier)):
            raise RequestError(f"no state can be kept of {model[:100]!r} {qualifier[:100]!r}: use shorter, plain names")
        values: dict[str, Any] = {
            "status": to,
            "message": message.replace("\0", "")[:MAX_MESSAGE_CHARACTERS],
            # The registry's clock, which told `since_ms`, may be ahead of this one.
            "changed_ms": max(time.time_ns() // 1_000_000, since_ms),
        }
        if units:
            values["min_units"], values["max_units"] = units
        with self._database.writing() as connection:
            return _swap(connection, {"model": model, "qualifier": qualifier}, expected, values, since_ms)

    def close(self) -> None:
        """Let go of all connections."""
        self._database.close()

    def _rows(self, query: Any) -> list[VersionState]:  # noqa: ANN401 - a typed Select names every column
        with self._database.reading() as connection:
            return [_state(row) for row in connection.execute(query)]


def _swap(
    connection: Connection,
    key: dict[str, str],
    expected: Collection[Status | None],
    values: dict[str, Any],
    since_ms: int,
) -> bool:
    is_old = _TABLE.c.changed_ms < since_ms
    is_expected = _TABLE.c.status.in_([status for status in expected if status is not None]) & ~is_old
    if None not in expected:
        change = update(_TABLE).where(_TABLE.c.model == key["model"], _TABLE.c.qualifier == key["qualifier"])
        return (
            connection.execute(change.where(is_expected).values(values).returning(_TABLE.c.status)).first() is not None
        )
    upsert = insert_into(connection, _TABLE).values(key | values)
    upsert = upsert.on_conflict_do_update(index_elements=list(key), set_=values, where=is_expected | is_old)
    return connection.execute(upsert.returning(_TABLE.c.status)).first() is not None


def _state(row: Row[Any]) -> VersionState:
    fields = row._asdict()
    return VersionState(**(fields | {"status": Status(fields["status"])}))
