"""The way to MLflow: an embedded database is whole or not there."""

import os
import signal
import subprocess
import sys

import pytest

from tasks.errors import EnvironmentFailed
from tasks.stores.home import Home
from tasks.tracking.client import connect

KILLED_AT_TABLE = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from tasks.stores.home import Home
from tasks.tracking.client import connect

tables = []

@event.listens_for(Engine, "after_cursor_execute")
def count(connection, cursor, statement, *rest):
    if "CREATE TABLE" in statement:
        tables.append(statement)
        if len(tables) == int(sys.argv[1]):
            connection.connection.commit()
            os.kill(os.getpid(), signal.SIGKILL)

connect(Home.from_environment())
"""


@pytest.mark.parametrize("table", [25, 40])
def test_an_embedded_database_killed_while_it_is_made_is_made_anew(tmp_path, table):
    environment = {**os.environ, "KEENEYE_HOME": str(tmp_path), "MLFLOW_TRACKING_URI": "", "MLFLOW_REGISTRY_URI": ""}
    killed = subprocess.run([sys.executable, "-c", KILLED_AT_TABLE, str(table)], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "mlflow.db").exists()
    assert (tmp_path / "mlflow.db.draft").exists()

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = connect(Home(tmp_path, uri, uri))

    assert [experiment.name for experiment in client.search_experiments()] == ["Default"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["locks", "mlflow.db"]


@pytest.mark.parametrize("before", [None, "sqlite:////elsewhere.db"])
def test_mlflow_that_does_not_answer_leaves_no_address_behind(tmp_path, monkeypatch, before):
    """The next home of the process would report there."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
        if before:
            monkeypatch.setenv(name, before)
    with pytest.raises(EnvironmentFailed):
        connect(Home(tmp_path, "http://127.0.0.1:9", "http://127.0.0.1:9"))
    assert [os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")] == [before, before]
