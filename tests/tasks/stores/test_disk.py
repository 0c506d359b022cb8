import errno
import sqlite3

import pytest

from tasks.errors import EnvironmentFailed
from tasks.stores.disk import full_disk, is_nearly_full


def raised(cause, shown=None):
    """What is caught where `cause` was turned into another error, as libraries do."""
    try:
        try:
            raise cause
        except Exception:
            raise shown or cause from None
    except Exception as error:
        return error


@pytest.mark.parametrize(
    ("error", "place"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/data/store/x"), "/data/store/x"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "/home/of/keeneye"),
        (sqlite3.OperationalError("database or disk is full"), "/home/of/keeneye"),
        (RuntimeError("write failed: No space left on device"), "/home/of/keeneye"),
    ],
)
def test_full_disk_is_one_sentence_that_names_the_place(tmp_path, error, place):
    for caught in (raised(error), raised(error, EnvironmentFailed("MLflow does not answer"))):
        full = full_disk(caught, "/home/of/keeneye")
        assert full.exit_code == 3
        assert full.message == (
            f"no space is left on the disk of {place}: make room and start the same again; it goes on where it was"
        )


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "Permission denied"), ValueError("no such label")])
def test_other_failures_are_not_of_the_disk(tmp_path, error):
    assert full_disk(raised(error), tmp_path) is None


def test_room_is_seen(tmp_path):
    assert not is_nearly_full(tmp_path)
    assert not is_nearly_full(tmp_path / "not there")
