"""Objects of an S3 store, read whole and bounded; credentials and address are the environment's own.

`AWS_ENDPOINT_URL_S3` names any store that speaks S3; without it, it is the managed one.
"""

from contextlib import closing
from functools import cache
from typing import TYPE_CHECKING

from tasks.errors import KeeneyeError

if TYPE_CHECKING:
    from botocore.client import BaseClient
    from botocore.loaders import Loader

REGION = "us-east-1"
"""Where a store of one's own is said to be."""
CONNECT_SECONDS = 2
READ_SECONDS = 5
_CHUNK_BYTES = 1 << 18

_REASONS = {
    "NoSuchBucket": "there is no such bucket; check its name",
    "NoSuchKey": "there is no such object; check its key",
    "NoSuchVersion": "there is no such version of the object; check the version id",
    "AccessDenied": "the credentials do not allow it; grant them s3:GetObject, s3:ListBucket or s3:PutObject",
    "InvalidAccessKeyId": "the store does not know the access key; check the credentials",
    "SignatureDoesNotMatch": "the store refuses the secret key; check the credentials",
}


class ObjectUnreadable(KeeneyeError):
    """An object could not be read; the message names bucket and key, and no credentials."""


class ObjectTooLarge(ObjectUnreadable):
    """An object is larger than the reader takes; nothing of it was kept."""


def s3_client() -> "BaseClient":
    """Return a client with the environment's address and credentials; safe to share between threads."""
    return make_client(connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS)


def make_client(endpoint: str | None = None, keys: tuple[str, str] | None = None, **settings: float) -> "BaseClient":
    """Return a client that tries nothing twice, for callers know better what to try.

    Args:
        endpoint: address of the store; None takes the environment's.
        keys: access key and its secret; None takes the environment's.
        settings: of botocore's.
    """
    from botocore.config import Config
    from botocore.session import Session

    session = Session()
    # It holds megabytes of descriptions of services: read once, a client takes 10 ms, else 60 (measured).
    session.register_component("data_loader", _descriptions())
    if keys:
        session.set_credentials(*keys)
    config = Config(retries={"total_max_attempts": 1}, **settings)
    return session.create_client("s3", REGION if keys else None, endpoint_url=endpoint, config=config)


@cache
def _descriptions() -> "Loader":
    from botocore.loaders import create_loader

    return create_loader()


def read_object(
    bucket: str, key: str, version: str | None = None, *, max_bytes: int, client: "BaseClient | None" = None
) -> bytes:
    """Return the bytes of one object.

    Args:
        bucket: name of the bucket.
        key: of the object.
        version: id of one version of it; None means the newest.
        max_bytes: a larger object is refused by the size its answer's header tells, before its body is read.
        client: of `s3_client`; None means one that the process shares.

    Raises:
        ObjectTooLarge: when it has more than `max_bytes`.
        ObjectUnreadable: when it is not there, may not be read, or the store does not answer.
    """
    from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError, IncompleteReadError

    transport_errors = (ConnectionError, HTTPClientError, IncompleteReadError)
    where = f"s3://{bucket}/{key}"
    try:
        reader = client or _shared_client()
        try:
            return read_once(reader, bucket, key, version, max_bytes=max_bytes)
        except transport_errors:  # a kept connection may have been closed meanwhile
            return read_once(reader, bucket, key, version, max_bytes=max_bytes)
    except transport_errors as error:
        why = f"the store does not answer ({type(error).__name__}); try again"
    except ClientError as error:
        why = reason_of(str(error.response.get("Error", {}).get("Code", "")))
    except (BotoCoreError, ValueError) as error:  # no credentials, a name that cannot be one, a bad address
        why = reason_of(error)
    raise ObjectUnreadable(f"{where} cannot be read: {why}")


@cache
def _shared_client() -> "BaseClient":
    return s3_client()


def read_once(client: "BaseClient", bucket: str, key: str, version: str | None = None, *, max_bytes: int) -> bytes:
    """Return the bytes of one object, asked for a single time.

    Raises:
        ObjectTooLarge: when it has more than `max_bytes`.
        Exception: the client's own, whatever goes wrong.
    """
    versioned = {"VersionId": version} if version else {}
    answer = client.get_object(Bucket=bucket, Key=key, **versioned)
    with closing(answer["Body"]) as body:
        size = answer.get("ContentLength", 0)
        content = bytearray()
        if size <= max_bytes:
            while len(content) <= max_bytes and (chunk := body.read(_CHUNK_BYTES)):
                content += chunk
        if max(size, len(content)) > max_bytes:
            raise ObjectTooLarge(f"s3://{bucket}/{key} has more than {max_bytes} bytes; send a smaller image")
        return bytes(content)


def reason_of(refusal: str | Exception) -> str:
    """Say in words why a store refuses (by its code), or why it cannot even be asked, and what to do."""
    if isinstance(refusal, Exception):
        return f"{type(refusal).__name__}; check the names and the S3 settings"
    return _REASONS.get(refusal, f"the store answers {refusal}; check bucket, key and credentials")
