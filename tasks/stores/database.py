"""A table in SQLite or PostgreSQL that outlives the process and is shared by several: connecting, waiting, errors."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError
from sqlalchemy.schema import CreateTable

from tasks.errors import EnvironmentFailed, RequestError

MAX_NAME_CHARACTERS = 255
RESTART_SECONDS = 60.0
"""For a PostgreSQL that is started again, where nobody waits for an answer at once."""
_PAUSE_SECONDS = 0.5
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


class Database:
    """One table at an address, for threads and processes alike.

    >>> database = Database("sqlite:///states.db", table, keeps="states")            # doctest: +SKIP
    >>> with database.writing() as connection:                                       # doctest: +SKIP
    ...     connection.execute(insert_into(connection, table).values(model="bolts"))
    """

    def __init__(self, url: str, table: Table, *, keeps: str, patience_seconds: float = 0.0) -> None:
        """Connect, and make the table if need be.

        Args:
            url: `sqlite:///FILE` or `postgresql://USER@HOST/DATABASE`.
            table: is made when it is not there.
            keeps: what the table holds, for error messages: "states".
            patience_seconds: for how long a connection is tried again that PostgreSQL does not take. A statement is
                never: whether it was carried out may be unknown.

        Raises:
            RequestError: when the address is of another kind.
            EnvironmentFailed: when the database does not answer.
        """
        address = _supported(url, keeps)
        self._keeps, self._patience_seconds = keeps, 0.0 if address.drivername == "sqlite" else patience_seconds
        self._shown = re.sub(r"[?].*", "", address.render_as_string(hide_password=True))
        with self._answered():
            self.engine = _connected(address)
            self._connection().close()
            _make_table(self.engine, table)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection for queries.

        Raises:
            EnvironmentFailed: when the database does not answer, also to what is asked of the connection.
        """
        with self._answered(), self._connection() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection in a transaction that is committed at the end, or rolled back by an exception.

        Raises:
            EnvironmentFailed: when the database does not answer, also to what is asked of the connection.
        """
        with self._answered(), self._connection() as connection, connection.begin():
            yield connection

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()

    def _connection(self) -> Connection:
        until = time.monotonic() + self._patience_seconds
        while True:
            try:
                return self.engine.connect()
            except OperationalError as error:
                if time.monotonic() > until or _is_refusal(error):
                    raise
            time.sleep(_PAUSE_SECONDS)

    @contextmanager
    def _answered(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            why = str(getattr(error, "orig", None) or error).partition("\n")[0] or type(error).__name__
            raise EnvironmentFailed(
                f"the database of {self._keeps} at {self._shown} does not answer: {why}; check that it runs and "
                "try again"
            ) from None


def insert_into(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return an INSERT of the connection's own dialect, which can say what happens on conflict."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def is_storable(name: str) -> bool:
    """Tell whether both databases can keep a name: 1 to `MAX_NAME_CHARACTERS` printable characters."""
    # PostgreSQL refuses NUL, no driver encodes half a surrogate pair, and neither is printable.
    return 0 < len(name) <= MAX_NAME_CHARACTERS and name.isprintable()


def _is_refusal(error: OperationalError) -> bool:
    # Only a server that is there knows who may come in, and which databases it has.
    return bool(re.search(r"authentication failed|does not exist|no pg_hba", str(error.orig)))


def _supported(url: str, keeps: str) -> URL:
    try:
        address = make_url(url)
    except ArgumentError:
        raise RequestError("the database's address cannot be read; write sqlite:///FILE or postgresql://...") from None
    driver = _DRIVERS.get(address.drivername)
    if driver is None:
        raise RequestError(
            f"{keeps} cannot be kept in {address.drivername}; write sqlite:///FILE or postgresql://USER@HOST/DATABASE"
        )
    if driver == "sqlite" and address.database in {None, "", ":memory:"}:
        raise RequestError(f"{keeps} kept in memory would not outlive the process; write sqlite:///FILE")
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


def _make_table(engine: Engine, table: Table) -> None:
    try:
        with engine.begin() as connection:
            connection.execute(CreateTable(table, if_not_exists=True))
    except SQLAlchemyError:
        # Two processes that start at once may both find no table; the loser finds it now.
        if not inspect(engine).has_table(table.name):
            raise
