import shutil
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Column, MetaData, String, Table, inspect, select, text
from sqlalchemy.engine import make_url

from tasks.errors import EnvironmentFailed, RequestError
from tasks.stores.database import MAX_NAME_CHARACTERS, Database, insert_into, is_storable

THINGS = Table("keeneye_things", MetaData(), Column("name", String(MAX_NAME_CHARACTERS), primary_key=True))


@pytest.fixture
def database(database_url):
    found = Database(database_url, THINGS, keeps="things")
    yield found
    found.close()


def add(database, name):
    with database.writing() as connection:
        connection.execute(insert_into(connection, THINGS).values(name=name).on_conflict_do_nothing())


def names(database):
    with database.reading() as connection:
        return sorted(connection.execute(select(THINGS.c.name)).scalars())


def test_rows_outlive_the_database_that_wrote_them(database, database_url):
    add(database, "bolt")
    database.close()
    another = Database(database_url, THINGS, keeps="things")
    add(another, "nut")
    assert names(another) == ["bolt", "nut"]
    another.close()


def test_conflict_is_said_in_the_dialect_of_the_connection(database):
    add(database, "bolt")
    add(database, "bolt")
    assert names(database) == ["bolt"]


def test_exception_leaves_nothing(database):
    with pytest.raises(ZeroDivisionError), database.writing() as connection:
        connection.execute(insert_into(connection, THINGS).values(name="bolt"))
        1 / 0  # noqa: B018
    assert names(database) == []


def test_refusal_by_the_database_is_said_and_leaves_nothing(database):
    add(database, "bolt")
    said = r"the database of things at .* does not answer: .*(?i:unique)"
    with pytest.raises(EnvironmentFailed, match=said), database.writing() as connection:
        connection.execute(insert_into(connection, THINGS).values(name="nut"))
        connection.execute(insert_into(connection, THINGS).values(name="bolt"))
    assert names(database) == ["bolt"]


def test_error_without_text_is_told_by_its_kind(database):
    with pytest.raises(EnvironmentFailed, match="does not answer: OSError; check"), database.reading():
        raise OSError


def test_several_may_make_the_table(database_url):
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: Database(database_url, THINGS, keeps="things"), range(8)))
    for number, database in enumerate(opened):
        add(database, str(number))
    assert names(opened[0]) == [str(number) for number in range(8)]
    for database in opened:
        database.close()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bolts", True),
        ("Schräubchen 5/7 (neu)", True),
        ("x" * MAX_NAME_CHARACTERS, True),
        ("x" * (MAX_NAME_CHARACTERS + 1), False),
        ("", False),
        ("a\0b", False),
        ("a\nb", False),
        ("\ud800", False),
    ],
)
def test_names_that_can_be_kept(name, expected, database):
    assert is_storable(name) is expected
    if expected:
        add(database, name)
        assert names(database) == [name]


@pytest.mark.parametrize(
    ("told", "expected"), [("", "10s"), ("?options=-c%20statement_timeout%3D7s", "7s")], ids=["ours", "the user's"]
)
def test_statement_does_not_last_for_ever(told, expected, postgres):
    separator = "&" if "?" in postgres and told else told[:1]
    database = Database(postgres + separator + told[1:], THINGS, keeps="things")
    with database.reading() as connection:
        assert connection.execute(text("SHOW statement_timeout")).scalar() == expected
    database.close()


def test_postgresql_is_really_used(postgres):
    database = Database(postgres, THINGS, keeps="things")
    assert database.engine.dialect.name == "postgresql"
    assert inspect(database.engine).has_table("keeneye_things")
    database.close()


def test_sqlite_writes_ahead(tmp_path):
    Database(f"sqlite:///{tmp_path / 'things.db'}", THINGS, keeps="things").close()
    assert sqlite3.connect(tmp_path / "things.db").execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("mysql://root@127.0.0.1/x", "things cannot be kept in mysql; write sqlite:///FILE or postgresql://"),
        ("sqlite://", "things kept in memory would not outlive the process"),
        ("sqlite:///:memory:", "things kept in memory would not outlive the process"),
        ("things.db", "address cannot be read"),
        ("", "address cannot be read"),
    ],
)
def test_other_databases_are_refused(address, said):
    with pytest.raises(RequestError, match=said):
        Database(address, THINGS, keeps="things")


def test_unreachable_database_is_said_without_its_password():
    with pytest.raises(EnvironmentFailed) as caught:
        Database("postgresql://someone:s3cret@127.0.0.1:9/x?password=s3cret", THINGS, keeps="things")
    assert "127.0.0.1:9" in caught.value.message
    assert "s3cret" not in caught.value.message


@pytest.mark.parametrize(("patience", "least", "most"), [(0, 0, 30), (1.5, 1.5, 60)])
def test_connection_is_tried_again_for_a_while(patience, least, most):
    began = time.monotonic()
    with pytest.raises(EnvironmentFailed, match="does not answer"):
        Database("postgresql://someone@127.0.0.1:9/x", THINGS, keeps="things", patience_seconds=patience)
    assert least <= time.monotonic() - began < most


def test_what_postgresql_refuses_is_not_asked_again(postgres):
    began = time.monotonic()
    with pytest.raises(EnvironmentFailed, match="does not exist"):
        Database(
            make_url(postgres).set(database="nowhere").render_as_string(hide_password=False),
            THINGS,
            keeps="things",
            patience_seconds=600,
        )
    assert time.monotonic() - began < 60


def test_file_that_is_no_database(tmp_path):
    (tmp_path / "things.db").write_bytes(b"no database" * 1000)
    with pytest.raises(EnvironmentFailed, match="not a database"):
        Database(f"sqlite:///{tmp_path / 'things.db'}", THINGS, keeps="things")


def test_database_that_goes_away_is_said(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'things.db'}", THINGS, keeps="things")
    database.close()
    shutil.move(tmp_path / "things.db", tmp_path / "elsewhere.db")
    with pytest.raises(EnvironmentFailed, match="does not answer: no such table"):
        names(database)
