"""Sources in an object store, fetched as folders on this disk. Names come from others, so each is looked at first."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tasks.annotations.annotated import ANNOTATION_SUFFIXES
from tasks.annotations.references import ODD_KEY
from tasks.dataset.findings import Finding
from tasks.errors import DataError
from tasks.ingest.archives import ARCHIVE_SUFFIXES, problem_of_name
from tasks.ingest.walk import is_hidden
from tasks.stores.content import ContentStore
from tasks.stores.s3_cache import FetchedFolder, ObjectCache
from tasks.stores.s3_objects import (
    ObjectPlace,
    Report,
    StoredObject,
    describe_objects,
    list_objects,
    require_folder,
    require_object,
)
from tasks.stores.s3_requests import ObjectRefused, transfer_client

if TYPE_CHECKING:
    from botocore.client import BaseClient

MAX_BYTES = 1_000_000_000_000
"""Of all objects of a source together."""
MAX_NAME_BYTES = 255
"""Of each part of a path: no file system takes more."""
MAX_KEY_BYTES = 1024
"""Of the key of an object: S3 takes no more."""
INVALID_NAME = "ERROR_INVALID_FILE_NAME"
UNREADABLE = "ERROR_UNREADABLE_FILE"

Fetched = tuple[Path, tuple[Finding, ...]]


def require_objects(address: str) -> None:
    """Refuse a source in an object store that cannot be read, before anything is started.

    Raises:
        RequestError: when there is no such bucket, folder or object, or the credentials do not allow to read it.
        EnvironmentFailed: when the store does not answer.
    """
    place, client = ObjectPlace.parse(address), transfer_client()
    if names_a_file(place):
        require_object(client, place)
    else:
        require_folder(client, place.folder)


def require_images(folder: ObjectPlace) -> None:
    """Refuse a folder of images that a manifest names, when no object in it could be had.

    Credentials that may read objects without listing them pass: `fetch_named` sees what they are good for.

    Raises:
        RequestError: when there is no such bucket or folder, or the store refuses the credentials.
        EnvironmentFailed: when the store does not answer.
    """
    with suppress(ObjectRefused):
        require_folder(transfer_client(), folder)


def names_a_file(place: ObjectPlace) -> bool:
    """Whether a place is that of an archive or of annotations, by its name, and no folder."""
    return place.key.lower().endswith((*ARCHIVE_SUFFIXES, *ANNOTATION_SUFFIXES))


def fetch_file(place: ObjectPlace, store: ContentStore) -> Path:
    """Fetch one object.

    Raises:
        RequestError: when it is not there or may not be read.
        SourceChanged: when it was replaced meanwhile.
        EnvironmentFailed: when the store does not answer.
    """
    client = transfer_client()
    name = PurePosixPath(place.name).name
    found = require_object(client, place)
    return ObjectCache.of(store, client).folder(place.parent, {name: found}).path / name


def fetch_folder(folder: ObjectPlace, store: ContentStore, report: Report) -> Fetched:
    """Fetch all objects of a folder but hidden ones; raises as `fetch_file` does.

    Returns:
        The folder on this disk, and a finding for each object that is not in it.
    """
    client = transfer_client()
    require_folder(client, folder)
    refs = {one.key.removeprefix(folder.key): one for one in list_objects(client, folder)}
    visible = {ref: one for ref, one in refs.items() if not any(map(is_hidden, ref.split("/")))}
    return _fetched(client, folder, store, visible, report)


def fetch_named(
    folder: ObjectPlace, store: ContentStore, refs: Iterable[str], report: Report = lambda done, total: None
) -> Fetched:
    """Fetch the named objects of a folder; raises and returns as `fetch_folder` does.

    When none is there it is the request that was wrong, if the folder cannot be listed either.
    """
    client, asked = transfer_client(), list(refs)
    # One name that a store does not take would end all: it never gets there.
    odd = {ref: problem for ref in asked if (problem := _problem_of_name(ref) or _problem_of_key(folder, ref))}
    keys = [folder.below(ref).key for ref in asked if ref not in odd]
    described, absent = describe_objects(client, folder.bucket, keys)
    if absent and not described:
        require_folder(client, folder)
    objects = {one.key.removeprefix(folder.key): one for one in described}
    path, findings = _fetched(client, folder, store, objects, report)
    refused = (_unreadable(key.removeprefix(folder.key), why) for key, why in absent.items())
    return path, (*(_odd_name(ref, *problem) for ref, problem in odd.items()), *findings, *refused)


def _fetched(
    client: "BaseClient", folder: ObjectPlace, store: ContentStore, objects: Mapping[str, StoredObject], report: Report
) -> Fetched:
    size = sum(one.size for one in objects.values())
    if size > MAX_BYTES:
        raise DataError(f"{folder} holds {size / 1e9:,.0f} GB, more than {MAX_BYTES / 1e9:,.0f}; name a folder of less")
    findings = tuple(odd_names(list(objects)))
    odd = {finding.source_ref for finding in findings}
    usable = {ref: one for ref, one in objects.items() if _shown(ref) not in odd}
    fetched: FetchedFolder = ObjectCache.of(store, client).folder(folder, usable, report)
    return fetched.path, (*findings, *(_unreadable(ref, why) for ref, why in fetched.refused.items()))


def odd_names(refs: Sequence[str]) -> Iterator[Finding]:
    """Yield a finding for each reference that cannot be a file's path below a folder, beside all the others."""
    folders = {str(parent) for ref in refs for parent in PurePosixPath(ref).parents}
    for ref in refs:
        problem = _problem_of_name(ref)
        if problem is None and ref in folders:
            problem = INVALID_NAME, "the name is also that of a folder; rename it"
        if problem:
            yield _odd_name(ref, *problem)


def _problem_of_name(ref: str) -> tuple[str, str] | None:
    if problem := problem_of_name(ref):
        return problem
    if ref != str(PurePosixPath(ref)):
        return INVALID_NAME, ODD_KEY
    if any(len(part.encode()) > MAX_NAME_BYTES for part in ref.split("/")):
        return INVALID_NAME, f"a part of the name has more than {MAX_NAME_BYTES} bytes; rename it"
    return None


def _problem_of_key(folder: ObjectPlace, ref: str) -> tuple[str, str] | None:
    if len(folder.below(ref).key.encode(errors="replace")) > MAX_KEY_BYTES:
        return INVALID_NAME, f"with its folder the name has more than {MAX_KEY_BYTES} bytes; rename it"
    return None


def _odd_name(ref: str, code: str, why: str) -> Finding:
    return Finding(code=code, source_ref=_shown(ref), message=why)


def _unreadable(ref: str, why: str) -> Finding:
    return Finding(code=UNREADABLE, source_ref=ref, message=why)


def _shown(ref: str) -> str:
    return ref.encode("utf-8", "backslashreplace").decode("utf-8")
