"""Whether versions are started: a table in SQLite or PostgreSQL that outlives the process and is shared by several.

A row changes only from a state that the changer expected (compare and swap, one SQL statement), so of several that
want the same change exactly one makes it.
"""

import re
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    create_engine,
    event,
    inspect,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.schema import CreateTable

from tasks.errors import EnvironmentFailed, RequestError

MAX_NAME_CHARACTERS = 255
MAX_MESSAGE_CHARACTERS = 2000
WAIT_SECONDS = 10
"""For a connection, for a statement, or for another process that writes to the same SQLite file."""
_PATIENCE = {
    "connect_timeout": WAIT_SECONDS,
    "tcp_user_timeout": 1000
    * WAIT_SECONDS,  # ms; else a network that falls silent is waited for for a quarter of an hour
    "options": f"-c statement_timeout={1000 * WAIT_SECONDS}",
}
"""How libpq is told; what the address says itself goes before."""
_DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}


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
        address = _supported(url)
        self._shown = re.sub(r"[?].*", "", address.render_as_string(hide_password=True))
        with self._answered():
            self._engine = _connected(address)
            _make_table(self._engine)

    def get(self, model: str, qualifier: str, *, since_ms: int = 0) -> VersionState | None:
        """Return a state, or None when the qualifier was never started or stopped.

        Args:
            model: registered model.
            qualifier: version number or alias.
            since_ms: since when the name means what it means (ms since 1970); an older state is of another version.

        Raises:
            EnvironmentFailed: when the database does not answer.
        """
        if not (_storable(model) and _storable(qualifier)):
            return None
        found = self._rows(select(_TABLE).where(_TABLE.c.model == model, _TABLE.c.qualifier == qualifier))
        return found[0] if found and found[0].changed_ms >= since_ms else None

    def all(self, model: str) -> dict[str, VersionState]:
        """Return the states of a model by qualifier.

        Raises:
            EnvironmentFailed: when the database does not answer.
        """
        if not _storable(model):
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
        if not (_storable(model) and _storable(qualifier)):
            raise RequestError(f"no state can be kept of {model[:100]!r} {qualifier[:100]!r}: use shorter, plain names")
        values: dict[str, Any] = {
            "status": to,
            "message": message.replace("\0", "")[:MAX_MESSAGE_CHARACTERS],
            # The registry's clock, which told `since_ms`, may be ahead of this one.
            "changed_ms": max(time.time_ns() // 1_000_000, since_ms),
        }
        if units:
            values["min_units"], values["max_units"] = units
        with self._answered(), self._engine.begin() as connection:
            return _swap(connection, {"model": model, "qualifier": qualifier}, expected, values, since_ms)

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    def _rows(self, query: Any) -> list[VersionState]:  # noqa: ANN401 - a typed Select names every column
        with self._answered(), self._engine.connect() as connection:
            return [_state(row) for row in connection.execute(query)]

    @contextmanager
    def _answered(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            why = str(getattr(error, "orig", None) or error).partition("\n")[0] or type(error).__name__
            raise EnvironmentFailed(
                f"the database of states at {self._shown} does not answer: {why}; check that it runs and try again"
            ) from None


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
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    upsert = insert(_TABLE).values(key | values)
    upsert = upsert.on_conflict_do_update(index_elements=list(key), set_=values, where=is_expected | is_old)
    return connection.execute(upsert.returning(_TABLE.c.status)).first() is not None


def _state(row: Row[Any]) -> VersionState:
    fields = row._asdict()
    return VersionState(**(fields | {"status": Status(fields["status"])}))


def _supported(url: str) -> URL:
    try:
        address = make_url(url)
    except ArgumentError:
        raise RequestError("the database's address cannot be read; write sqlite:///FILE or postgresql://...") from None
    driver = _DRIVERS.get(address.drivername)
    if driver is None:
        raise RequestError(
            f"states cannot be kept in {address.drivername}; write sqlite:///FILE or postgresql://USER@HOST/DATABASE"
        )
    if driver == "sqlite" and address.database in {None, "", ":memory:"}:
        raise RequestError("states kept in memory would not outlive the process; write sqlite:///FILE")
    return address.set(drivername=driver)


def _connected(address: URL) -> Engine:
    if address.drivername != "sqlite":
        # A server that was restarted has closed what the pool holds: ask before use.
        patience = {name: value for name, value in _PATIENCE.items() if name not in address.query}
        return create_engine(address, pool_pre_ping=True, pool_timeout=WAIT_SECONDS, connect_args=patience)
    Path(str(address.database)).absolute().parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(address, connect_args={"timeout": WAIT_SECONDS})
    event.listen(engine, "connect", _write_ahead)
    return engine


def _write_ahead(connection: Any, _: object) -> None:  # noqa: ANN401 - whatever the driver's connection is
    connection.execute("PRAGMA journal_mode=WAL")  # readers then never wait for a writer


def _make_table(engine: Engine) -> None:
    try:
        with engine.begin() as connection:
            connection.execute(CreateTable(_TABLE, if_not_exists=True))
    except SQLAlchemyError:
        # Two processes that start at once may both find no table; the loser finds it now.
        if not inspect(engine).has_table(_TABLE.name):
            raise


def _storable(name: str) -> bool:
    # PostgreSQL refuses NUL, no driver encodes half a surrogate pair, and neither is printable.
    return 0 < len(name) <= MAX_NAME_CHARACTERS and name.isprintable()
