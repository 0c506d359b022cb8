"""Requests to an S3 store: a client for many of them, and what is repeated, refused or given up.

What a store refuses is told at once. What goes wrong on the way (a connection cut or silent, bytes that are not those
of the object, a store that is busy) is tried again, each time after a longer wait.
"""

import random
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from tasks.errors import EnvironmentFailed, RequestError
from tasks.stores.s3 import make_client, reason_of

if TYPE_CHECKING:
    from botocore.client import BaseClient

THREADS = 16
"""Requests at once: each waits for the store most of the time."""
CONNECT_SECONDS = 5
READ_SECONDS = 20
PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds between attempts; together they outlast a minute, and so the restart of a store on a busy machine."""
_BUSY_CODES = frozenset({"SlowDown", "RequestTimeout", "ServiceUnavailable", "InternalError", "ThrottlingException"})
_OF_HEADERS = {"404": "NoSuchKey", "403": "AccessDenied", "412": "PreconditionFailed"}
"""An answer without a body has no code but its status."""
_OF_ONE_OBJECT = frozenset({"NoSuchKey", "AccessDenied", "InvalidObjectState"})

T = TypeVar("T")


class ObjectRefused(RequestError):
    """One object is not there or may not be read; others may."""


class ObjectReplaced(Exception):
    """An object has no longer the entity tag that was asked for."""


class SpoiledBytes(Exception):
    """What came are not the bytes of the object."""


def transfer_client() -> "BaseClient":
    """Return a client for many objects, with the environment's address and credentials; threads may share it.

    Raises:
        RequestError: when the environment's settings are no such.
    """
    make = partial(
        make_client, connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, max_pool_connections=THREADS
    )
    return answered("the object store", make)


def answered(where: str, call: Callable[[], T]) -> T:
    """Call a store, again when something went wrong on the way.

    Raises:
        ObjectRefused: when there is no such object, or the credentials may not read it.
        ObjectReplaced: when a condition on its entity tag does not hold.
        RequestError: when the store refuses everything: no such bucket, wrong credentials, no address.
        EnvironmentFailed: when it does not answer after all attempts.
    """
    for pause in PAUSES:
        try:
            return call()
        except Exception as error:
            _require_passing(error, where)
        time.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311 - spreads requests, keeps no secret
    try:
        return call()
    except Exception as error:
        why = _require_passing(error, where)
        raise EnvironmentFailed(f"{where} cannot be reached: {why}; see that the store runs and try again") from None


def is_of_object_store(error: Exception) -> bool:
    """Whether an exception comes from a client of an object store; MLflow has one of its own for artifacts."""
    return type(error).__module__.partition(".")[0] in {"boto3", "botocore", "s3transfer"}


def _require_passing(error: Exception, where: str) -> str:
    """Return why a call may succeed when it is repeated; raise what the error means when it may not."""
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        ConnectionError,
        FlexibleChecksumError,
        HTTPClientError,
        IncompleteReadError,
    )

    if isinstance(error, ConnectionError | HTTPClientError | IncompleteReadError):
        return f"the store does not answer ({type(error).__name__})"
    if isinstance(error, FlexibleChecksumError | SpoiledBytes):
        return f"its bytes came spoiled ({error})"
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status >= 500 or status == 429 or code in _BUSY_CODES:
            return f"the store is busy (it answers {code})"
        raise _refusal(where, _OF_HEADERS.get(code, code)) from None
    if isinstance(error, BotoCoreError | ValueError):  # no credentials, a name that cannot be one, a bad address
        raise RequestError(f"{where} cannot be reached: {reason_of(error)}") from None
    raise error


def _refusal(where: str, code: str) -> Exception:
    if code == "PreconditionFailed":
        return ObjectReplaced(where)
    kind = ObjectRefused if code in _OF_ONE_OBJECT else RequestError
    return kind(f"{where} cannot be used: {reason_of(code)}")
