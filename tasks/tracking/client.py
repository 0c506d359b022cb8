"""The way to MLflow: both addresses set, absolute, quiet. Nothing else in Keeneye configures MLflow."""

import logging
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# Its client repeats what gets no answer seven times: so within two minutes, and not long after a server has come back.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
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

ATTEMPTS_VARIABLE = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
"""How often MLflow's client repeats a request that nobody answers: 7 times within two minutes, if not set."""
PAUSES_SECONDS = (1.0, 4.0, 15.0, 40.0)
"""Between attempts to make something; together they outlast a minute."""
T = TypeVar("T")
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
        if _has_no_answer(error, OSError, SQLAlchemyError):
            raise _not_answering(home, error.message) from None
        raise RegistryError(f"MLflow refuses: {_without_passwords(error.message)}") from None
    except Exception as error:
        if not isinstance(error, OSError | ImportError | SQLAlchemyError) and not is_of_object_store(error):
            raise
        raise _not_answering(home, f"{type(error).__name__}: {error}") from None


def _has_no_answer(error: MlflowException, *causes: type[Exception]) -> bool:
    # INTERNAL_ERROR is also what MLflow says of any refusal without a code of its own.
    failed_outside = isinstance(error, RestException) or isinstance(error.__context__, causes)
    return failed_outside and error.error_code in _UNREACHABLE


def asked_once(make: Callable[[], T], find: Callable[[], T | None]) -> T:
    """Have MLflow make something that must not be there twice, although its answer may get lost.

    MLflow's client repeats whatever gets no answer. This is asked once, and looked for before it is asked again, unless
    the environment wants nothing to be repeated.

    Args:
        make: the request.
        find: what an earlier request has made, or None.
    """
    for pause in PAUSES_SECONDS if os.environ.get(ATTEMPTS_VARIABLE) != "0" else ():
        try:
            with _without_retries(os.environ):
                return make()
        except MlflowException as error:
            if not _has_no_answer(error, OSError):
                raise
        time.sleep(pause)
        made = find()
        if made is not None:
            return made
    with _without_retries(os.environ):
        return make()


@contextmanager
def _without_retries(environment: MutableMapping[str, str]) -> Iterator[None]:
    # MLflow reads it at each request; nothing else of this process makes one meanwhile that would need patience.
    before = environment.get(ATTEMPTS_VARIABLE)
    environment[ATTEMPTS_VARIABLE] = "0"
    try:
        yield
    finally:
        environment.pop(ATTEMPTS_VARIABLE)
        if before is not None:
            environment[ATTEMPTS_VARIABLE] = before


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
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                environment.pop(name, None)
            else:
                environment[name] = value
