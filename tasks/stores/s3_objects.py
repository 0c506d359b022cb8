"""Many objects of an S3 store at once: listed, described, fetched into files, sent and removed."""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tasks.errors import RequestError, SourceChanged
from tasks.stores.s3_requests import THREADS, ObjectRefused, ObjectReplaced, SpoiledBytes, answered

if TYPE_CHECKING:
    from botocore.client import BaseClient

MAX_OBJECTS = 1_000_000
_CHUNK_BYTES = 1 << 18
_KEYS_PER_REMOVAL = 1000
"""S3 takes no more in one request."""
_MD5 = re.compile(r"[0-9a-f]{32}")
_ADDRESS = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", re.DOTALL | re.IGNORECASE)

S = TypeVar("S")
T = TypeVar("T")
Report = Callable[[int, int], None]
"""Called with the number of objects done and their total."""


@dataclass(frozen=True, slots=True)
class ObjectPlace:
    """A bucket and a key in it: of an object, or the beginning of those of a folder (then it ends in `/`, or is empty).

    >>> str(ObjectPlace.parse("s3://pictures/line7/a.png"))
    's3://pictures/line7/a.png'
    """

    bucket: str
    key: str

    @classmethod
    def parse(cls, address: str) -> "ObjectPlace":
        """Read `s3://BUCKET/KEY`; nothing is decoded, for a key may hold any character.

        Raises:
            RequestError: when it is no such address.
        """
        found = _ADDRESS.fullmatch(address)
        if found is None:
            raise RequestError(f"{address[:200]!r} is no address of an object store; write s3://BUCKET/FOLDER")
        return cls(found[1], found[2] or "")

    @property
    def folder(self) -> "ObjectPlace":
        """The same place as a folder."""
        return ObjectPlace(self.bucket, self.key.rstrip("/") + "/" if self.key.strip("/") else "")

    @property
    def parent(self) -> "ObjectPlace":
        """The folder that holds it."""
        return ObjectPlace(self.bucket, self.key[: self.key.rfind("/") + 1])

    @property
    def name(self) -> str:
        """The last part of the key; empty for a bucket."""
        return self.key.rstrip("/").rpartition("/")[2]

    def below(self, ref: str) -> "ObjectPlace":
        """The place of `ref` in this folder."""
        return ObjectPlace(self.bucket, self.key + ref)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What a store says of an object: its key, its entity tag (with quotes) and its size in bytes."""

    key: str
    etag: str
    size: int


def is_object_address(text: str) -> bool:
    """Whether a text names something in an S3 store."""
    return text[:5].lower() == "s3://"


def require_object(client: "BaseClient", place: ObjectPlace) -> StoredObject:
    """Return what the store says of one object.

    Raises:
        RequestError: when it is not there or may not be read.
        EnvironmentFailed: when the store does not answer.
    """
    # Its body is not read; but where there is none, as in the answer to HEAD, no refusal has a reason.
    answer = answered(str(place), partial(client.get_object, Bucket=place.bucket, Key=place.key))
    answer["Body"].close()
    return StoredObject(place.key, answer["ETag"], answer["ContentLength"])


def require_folder(client: "BaseClient", folder: ObjectPlace) -> None:
    """See that there is an object in a folder; raises as `require_object` does."""
    ask = partial(client.list_objects_v2, Bucket=folder.bucket, Prefix=folder.key, MaxKeys=1)
    if not answered(str(folder), ask).get("Contents"):
        raise RequestError(f"there is no object in {folder}; name a folder of images, an archive or annotations")


def list_objects(client: "BaseClient", folder: ObjectPlace) -> list[StoredObject]:
    """Return all objects of a folder however deep, sorted by key, without the empty ones that stand for folders.

    Raises:
        RequestError: when the bucket may not be listed, or holds more than `MAX_OBJECTS` there.
        EnvironmentFailed: when the store does not answer.
    """
    found = []
    for one in _listed(client, folder):
        if not one["Key"].endswith("/"):
            found.append(StoredObject(one["Key"], one["ETag"], one["Size"]))
        if len(found) > MAX_OBJECTS:
            raise RequestError(f"{folder} holds more than {MAX_OBJECTS:,} objects; name a folder of fewer")
    return sorted(found, key=lambda one: one.key)


def _listed(client: "BaseClient", folder: ObjectPlace) -> Iterator[Mapping[str, Any]]:
    more: dict[str, str] = {}
    while True:
        request = {"Bucket": folder.bucket, "Prefix": folder.key, **more}
        page = answered(str(folder), partial(client.list_objects_v2, **request))
        yield from page.get("Contents", ())
        if not page.get("IsTruncated"):
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}


def describe_objects(
    client: "BaseClient", bucket: str, keys: Iterable[str]
) -> tuple[list[StoredObject], dict[str, str]]:
    """Return what the store says of each object, and by key why it says nothing of the others.

    Raises:
        EnvironmentFailed: when the store does not answer.
    """

    def describe(key: str) -> StoredObject | str:
        return one_of_many(partial(_head, client, ObjectPlace(bucket, key)))

    keys = list(keys)
    outcomes = dict(zip(keys, in_parallel(describe, keys), strict=True))
    described = [one for one in outcomes.values() if isinstance(one, StoredObject)]
    return described, {key: one for key, one in outcomes.items() if isinstance(one, str)}


def _head(client: "BaseClient", place: ObjectPlace) -> StoredObject:
    answer = answered(str(place), partial(client.head_object, Bucket=place.bucket, Key=place.key))
    return StoredObject(place.key, answer["ETag"], answer["ContentLength"])


def one_of_many(call: Callable[[], T]) -> T | str:
    """Return what a call for one object gives, or in a sentence why that object is not there or may not be read.

    What would be said of every other object too (a key that the store does not know) is raised.
    """
    try:
        return call()
    except ObjectRefused as refused:
        return refused.message


def fetch_object(client: "BaseClient", bucket: str, wanted: StoredObject, target: Path) -> None:
    """Write the bytes that an object had when it was listed into a file; the file may hold a part when this fails.

    Their number and their digest are verified: the MD5 that an entity tag of the usual form is, and whatever other
    checksum the store keeps.

    Raises:
        ObjectRefused: when it is gone or may not be read.
        SourceChanged: when it was replaced meanwhile.
        EnvironmentFailed: when it does not come whole.
    """
    where = str(ObjectPlace(bucket, wanted.key))
    try:
        answered(where, partial(_fetch, client, bucket, wanted, target))
    except ObjectReplaced:
        raise SourceChanged(f"{where} was replaced while it was fetched; start the run again") from None


def _fetch(client: "BaseClient", bucket: str, wanted: StoredObject, target: Path) -> None:
    digest, size = hashlib.md5(usedforsecurity=False), 0
    answer = client.get_object(Bucket=bucket, Key=wanted.key, IfMatch=wanted.etag)
    with closing(answer["Body"]) as body, target.open("wb") as stream:
        # A small object is read at once, which also saves asking whether there is more.
        chunks = iter(lambda: body.read(_CHUNK_BYTES), b"") if wanted.size > _CHUNK_BYTES else [body.read()]
        for chunk in chunks:
            stream.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    # The tag of an object that the store encrypts with a key of its owner is no digest of its bytes.
    is_encrypted = answer.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in answer
    tag = wanted.etag.strip('"')
    if size != wanted.size or (_MD5.fullmatch(tag) and not is_encrypted and digest.hexdigest() != tag):
        raise SpoiledBytes(f"{size} bytes came that are not the object's {wanted.size}")


def send_object(client: "BaseClient", place: ObjectPlace, source: Path | bytes) -> None:
    """Write a file's or some bytes as an object; the store verifies their checksum.

    Raises:
        RequestError: when the store refuses it.
        EnvironmentFailed: when the store does not answer.
    """

    def send() -> None:
        if isinstance(source, bytes):
            client.put_object(Bucket=place.bucket, Key=place.key, Body=source)
        else:
            with source.open("rb") as stream:
                client.put_object(Bucket=place.bucket, Key=place.key, Body=stream)

    answered(str(place), send)


def remove_object(client: "BaseClient", place: ObjectPlace) -> None:
    """Remove an object; one that is not there is passed over. Raises as `send_object` does."""
    answered(str(place), partial(client.delete_object, Bucket=place.bucket, Key=place.key))


def remove_objects(client: "BaseClient", bucket: str, keys: Sequence[str]) -> None:
    """Remove objects; those that are not there are passed over. Raises as `send_object` does."""
    for start in range(0, len(keys), _KEYS_PER_REMOVAL):
        names = [{"Key": key} for key in keys[start : start + _KEYS_PER_REMOVAL]]
        request = {"Bucket": bucket, "Delete": {"Objects": names, "Quiet": True}}
        where = str(ObjectPlace(bucket, keys[start]))
        left = answered(where, partial(client.delete_objects, **request))
        if left.get("Errors"):
            first = left["Errors"][0]
            raise RequestError(f"{ObjectPlace(bucket, first['Key'])} cannot be removed: {first.get('Message')}")


def in_parallel(work: Callable[[S], T], items: Sequence[S], report: Report = lambda done, total: None) -> list[T]:
    """Return what `work` gives for each item, in their order; the first exception stops what has not begun.

    `report` is called in the caller's thread, where Prefect knows of which run a log line or an artifact is.
    """
    with ThreadPoolExecutor(THREADS, thread_name_prefix="objects") as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for done, one in enumerate(as_completed(futures), 1):
                one.result()
                report(done, len(items))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return [one.result() for one in futures]
