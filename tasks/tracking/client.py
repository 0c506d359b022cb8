"""The way to MLflow: both addresses set, absolute, quiet. Nothing else in Keeneye configures MLflow."""

import logging
import os
import re
import sqlite3
from collections.abc import Iterator, MutableMapping
from contextlib import closing, contextmanager
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# stdout is for the result alone; of a run on a server MLflow would write its address there.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# Else MLflow puts the working folder's pyproject.toml and uv.lock, whosever they are, into every model.
os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")
os.environ.setdefault("MLFLOW_LOG_UV_FILES", "false")

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, TEMPORARILY_UNAVAILABLE, ErrorCode
from sqlalchemy.exc import SQLAlchemyError

from tasks.errors import EnvironmentFailed, RegistryError
from tasks.stores.home import REGISTRY_VARIABLE, TRACKING_VARIABLE, Home
from tasks.stores.s3_requests import is_of_object_store

_UNREACHABLE = {ErrorCode.Name(INTERNAL_ERROR), ErrorCode.Name(TEMPORARILY_UNAVAILABLE)}


def connect(home: Home) -> MlflowClient:
    """Return a client of the home's MLflow, making its folders.

    Both addresses are set also globally: with only one set, MLflow guesses the other from the working directory,
    and its background threads may deadlock while they guess.

    Raises:
        EnvironmentFailed: when the store does not answer.
    """
    home.root.mkdir(parents=True, exist_ok=True)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Two processes that make the embedded database at once break each other's migrations.
    with home.lock("mlflow"), answered(home), _unchanged(os.environ):
        for uri in dict.fromkeys((home.tracking_uri, home.registry_uri)):
            _make_database(uri)
        mlflow.set_tracking_uri(home.tracking_uri)
        mlflow.set_registry_uri(home.registry_uri)
        client = MlflowClient(home.tracking_uri, home.registry_uri)
        client.search_experiments(max_results=1)
    return client


def _make_database(uri: str) -> None:
    # MLflow makes its tables by a chain of migrations that cannot go on where a kill broke it: the chain runs on a
    # draft, which becomes the database by a rename.
    scheme, _, path = uri.partition(":///")
    database = Path(path)
    if scheme != "sqlite" or not path or database.exists():
        return
    draft, whole = (database.with_name(f"{database.name}.{suffix}") for suffix in ("draft", "whole"))
    for leftover in (draft, whole):
        leftover.unlink(missing_ok=True)
    MlflowClient(f"sqlite:///{draft}", f"sqlite:///{draft}").search_experiments(max_results=1)
    with closing(sqlite3.connect(draft)) as source, closing(sqlite3.connect(whole)) as target:
        source.backup(target)
    whole.replace(database)
    draft.unlink()


@contextmanager
def answered(home: Home) -> Iterator[None]:
    """Turn MLflow's exceptions into Keeneye's.

    Raises:
        EnvironmentFailed: when the store does not answer.
        RegistryError: when it answers no.
    """
    try:
        yield
    except MlflowException as error:
        # INTERNAL_ERROR is also what MLflow says of any refusal without a code of its own.
        failed_outside = isinstance(error, RestException) or isinstance(error.__context__, OSError | SQLAlchemyError)
        if error.error_code in _UNREACHABLE and failed_outside:
            raise _not_answering(home, error.message) from None
        raise RegistryError(f"MLflow refuses: {_without_passwords(error.message)}") from None
    except Exception as error:
        if not isinstance(error, OSError | ImportError | SQLAlchemyError) and not is_of_object_store(error):
            raise
        raise _not_answering(home, f"{type(error).__name__}: {error}") from None


def _not_answering(home: Home, why: str) -> EnvironmentFailed:
    addresses = " and ".join(dict.fromkeys((home.tracking_uri, home.registry_uri)))
    return EnvironmentFailed(
        _without_passwords(f"MLflow at {addresses} does not answer: {why}; check that it runs and try again")
    )


def _without_passwords(text: str) -> str:
    return re.sub(r"://[^/\s]*@", "://", text)


@contextmanager
def _unchanged(environment: MutableMapping[str, str]) -> Iterator[None]:
    # MLflow writes its addresses into the environment, from where the next home of this process would take them.
    before = {name: environment.get(name) for name in (TRACKING_VARIABLE, REGISTRY_VARIABLE)}
    yield
    for name, value in before.items():
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value
