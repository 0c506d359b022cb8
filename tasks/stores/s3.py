"""Objects of an S3 store, read whole and bounded; credentials and address are the environment's own.

`AWS_ENDPOINT_URL_S3` names any store that speaks S3; without it, it is the managed one.
"""

from contextlib import closing
from functools import cache
from typing import TYPE_CHECKING

from tasks.errors import KeeneyeError

if TYPE_CHECKING:
    from botocore.client import BaseClient

CONNECT_SECONDS = 2
READ_SECONDS = 5
_CHUNK_BYTES = 1 << 18

_REASONS = {
    "NoSuchBucket": "there is no such bucket; check its name",
    "NoSuchKey": "there is no such object; check its key",
    "NoSuchVersion": "there is no such version of the object; check the version id",
    "AccessDenied": "the server's credentials may not read it; grant them s3:GetObject",
    "InvalidAccessKeyId": "the store does not know the server's access key; check the server's credentials",
    "SignatureDoesNotMatch": "the store refuses the server's secret key; check the server's credentials",
}


class ObjectUnreadable(KeeneyeError):
    """An object could not be read; the message names bucket and key, and no credentials."""


class ObjectTooLarge(ObjectUnreadable):
    """An object is larger than the reader takes; nothing of it was kept."""


def s3_client() -> "BaseClient":
    """Return a client with the environment's address and credentials; safe to share between threads."""
    from boto3.session import Session
    from botocore.config import Config

    # Retries are `read_object`'s own: botocore's also repeat what a store refuses, each time after a longer wait.
    limits = Config(connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries={"total_max_attempts": 1})
    return Session().client("s3", config=limits)


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
            return _read(reader, bucket, key, version, max_bytes)
        except transport_errors:  # a kept connection may have been closed meanwhile
            return _read(reader, bucket, key, version, max_bytes)
    except transport_errors as error:
        why = f"the store does not answer ({type(error).__name__}); try again"
    except ClientError as error:
        why = _reason(str(error.response.get("Error", {}).get("Code", "")))
    except (BotoCoreError, ValueError) as error:  # no credentials, a name that cannot be one, a bad address
        why = f"{type(error).__name__}; check the names, and the server's S3 settings"
    raise ObjectUnreadable(f"{where} cannot be read: {why}")


@cache
def _shared_client() -> "BaseClient":
    return s3_client()


def _read(client: "BaseClient", bucket: str, key: str, version: str | None, max_bytes: int) -> bytes:
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


def _reason(code: str) -> str:
    return _REASONS.get(code, f"the store answers {code}; check bucket, key and the server's credentials")
