"""Objects on this machine's disk: fetched once for each of their entity tags, shown as folders.

An object that the store has replaced has another tag, so that what is kept never stands for what is there now. Each is
a file of its own, whole before it gets its name; a folder links to such files, is named by what it holds, and never
changes. Beyond a limit those go that were not used for longest (`s3_room`).

Records of the home name folders that were let go. To keep every folder that a record names would leave the limit
without effect, for records stay for good; so what a folder held is written down, and `restore` fetches of it what is
needed again, by the tags of then, into the same place.
"""

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.errors import EnvironmentFailed, RequestError, SourceChanged
from tasks.stores.content import ContentStore, digest_of
from tasks.stores.s3_contents import CONTENTS_NAME, FolderContents, has_size
from tasks.stores.s3_objects import ObjectPlace, Report, StoredObject, fetch_object, in_parallel, one_of_many
from tasks.stores.s3_requests import transfer_client
from tasks.stores.s3_room import FOLDERS_NAME, LOCK_NAME, make_room, unused_since

if TYPE_CHECKING:
    from botocore.client import BaseClient

CACHE_NAME = "objects"
"""The cache's folder in the content store."""
LIMIT_VARIABLE = "KEENEYE_OBJECTS_GB"
DEFAULT_LIMIT_GB = 100.0
KEPT_SECONDS = 86_400.0
"""What was used within the last day stays, whatever the limit: a run may be reading it."""


@dataclass(frozen=True, slots=True)
class FetchedFolder:
    """A folder of objects: its path, and by reference why an object is not in it."""

    path: Path
    refused: Mapping[str, str] = field(default_factory=dict)


class ObjectCache:
    """Objects of any stores in one folder, for threads and processes alike."""

    def __init__(self, root: Path, client: "BaseClient", max_bytes: int) -> None:
        self._objects, self._folders, self._unfinished = root / "objects", root / FOLDERS_NAME, root / "unfinished"
        self._contents, self._lock = root / CONTENTS_NAME, root / LOCK_NAME
        self._client, self._max_bytes = client, max_bytes

    @classmethod
    def of(cls, store: ContentStore, client: "BaseClient") -> "ObjectCache":
        """Return the cache of a home, with the limit of `KEENEYE_OBJECTS_GB`.

        Raises:
            RequestError: when that is no number.
        """
        text = os.environ.get(LIMIT_VARIABLE) or str(DEFAULT_LIMIT_GB)
        if not text.replace(".", "", 1).isdecimal():
            raise RequestError(f"{LIMIT_VARIABLE} is {text!r}; give gigabytes, such as {DEFAULT_LIMIT_GB:g}")
        return cls(store.root / CACHE_NAME, client, int(float(text) * 1e9))

    def folder(
        self, place: ObjectPlace, objects: Mapping[str, StoredObject], report: Report = lambda done, total: None
    ) -> FetchedFolder:
        """Return a folder of objects, each at its reference; those that were fetched before are not fetched again.

        Args:
            place: the folder in the store, or the bucket, that references are relative to.
            objects: by reference, each a relative path that no other leads through.
            report: called as objects are there.

        Raises:
            SourceChanged: when an object is replaced meanwhile.
            RequestError: when the store refuses every one of them.
            EnvironmentFailed: when the store does not answer, or the disk takes no more.
        """
        for folder in (self._objects, self._folders, self._unfinished):
            folder.mkdir(parents=True, exist_ok=True)
        whole = self._path_of(place, objects)
        if self._is_kept(whole) and _is_whole(whole, objects):
            self._write_down(whole, place, objects)
            return FetchedFolder(whole)
        path, refused = self._linked(place, objects, self._unfinished / _unique_name(), report)
        self._prune()
        return FetchedFolder(path, refused)

    def _is_kept(self, folder: Path) -> bool:
        """Whether there is such a folder; it counts as used from now on, so that nobody lets go of it."""
        with self._alone():
            try:
                os.utime(folder)
            except FileNotFoundError:
                return False
        return True

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold off all others that look for a folder, add one or let go of some."""
        with self._lock.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _path_of(self, place: ObjectPlace, objects: Mapping[str, StoredObject]) -> Path:
        tags = sorted((ref, one.key, one.etag, one.size) for ref, one in objects.items())
        return self._folders / digest_of([self._address, place.bucket, place.key, tags])[:32]

    @property
    def _address(self) -> str:
        return str(self._client.meta.endpoint_url)

    def _linked(
        self, place: ObjectPlace, objects: Mapping[str, StoredObject], draft: Path, report: Report
    ) -> tuple[Path, dict[str, str]]:
        """Make the folder of all objects that can be had; return it, and by reference why others cannot."""

        def put(ref: str) -> str | None:
            return one_of_many(partial(self._put, place.bucket, objects[ref], draft / ref))

        # Of sixteen threads each waits for its turn after every call of the system: the fewer of them, the faster.
        for parent in {(draft / ref).parent for ref in objects} | {draft}:
            parent.mkdir(parents=True, exist_ok=True)
        try:
            outcomes = zip(objects, in_parallel(put, list(objects), report), strict=True)
            refused = {ref: why for ref, why in outcomes if why is not None}
            there = {ref: one for ref, one in objects.items() if ref not in refused}
            if objects and not there:
                raise RequestError(next(iter(refused.values())))
            path = self._path_of(place, there)
            self._write_down(path, place, there)
            with self._alone():
                _publish(draft, path, there)
        except OSError as error:
            raise self._full(error) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return path, refused

    def _write_down(self, folder: Path, place: ObjectPlace, objects: Mapping[str, StoredObject]) -> None:
        FolderContents(place.bucket, objects).write(self._contents / f"{folder.name}.json.gz")

    def _full(self, error: OSError) -> EnvironmentFailed:
        return EnvironmentFailed(
            f"{self._folders} cannot be written to ({error.strerror}); make room there and start again"
        )

    def fetch_again(self, folder: Path, bucket: str, missing: Mapping[str, StoredObject], report: Report) -> None:
        """Put into a folder what is missing of it, as `restore` does; raises as that does."""

        def put(ref: str) -> None:
            draft = self._unfinished / _unique_name()
            try:
                with suppress(SourceChanged):
                    if one_of_many(partial(self._put, bucket, missing[ref], draft)) is None:
                        draft.replace(folder / ref)
            finally:
                draft.unlink(missing_ok=True)

        try:
            for one in (self._objects, self._folders, self._unfinished):
                one.mkdir(parents=True, exist_ok=True)
            with self._alone():
                folder.mkdir(exist_ok=True)
                os.utime(folder)
            for parent in {(folder / ref).parent for ref in missing}:
                parent.mkdir(parents=True, exist_ok=True)
            in_parallel(put, list(missing), report)
        except OSError as error:
            raise self._full(error) from error
        self._prune()

    def _put(self, bucket: str, wanted: StoredObject, target: Path) -> None:
        name = digest_of([self._address, bucket, wanted.key, wanted.etag, wanted.size])
        kept = self._objects / name[:2] / name[:40]
        for _ in range(2):
            if not has_size(kept, wanted.size):
                self._fetch(bucket, wanted, kept)
            try:
                _link(kept, target)
                return
            except FileNotFoundError:  # another process has made room meanwhile
                continue
        shutil.copyfile(kept, target)

    def _fetch(self, bucket: str, wanted: StoredObject, kept: Path) -> None:
        partial_file = self._unfinished / _unique_name()
        try:
            fetch_object(self._client, bucket, wanted, partial_file)
            _move(partial_file, kept)
        except BaseException:
            partial_file.unlink(missing_ok=True)
            raise

    def _prune(self) -> None:
        """Let go of what is unused, from the longest unused, until the limit is kept."""
        oldest = time.time() - KEPT_SECONDS
        with self._alone():
            for leftover in unused_since(oldest, self._unfinished.iterdir()):
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink(missing_ok=True)
            make_room(self._objects, self._folders, self._max_bytes, oldest)


def restore(store: ContentStore, folder: Path, refs: Iterable[str], report: Report = lambda done, total: None) -> None:
    """Fetch what a folder of fetched objects held and has no longer; any other folder stays as it is.

    An object that the store has removed or replaced since stays missing: its reader tells of it.

    Args:
        store: the home's, whose cache the folder belongs to.
        folder: as it is named in a record.
        refs: what of it is needed.
        report: called as objects are there.

    Raises:
        RequestError: when the store refuses everything: no such bucket, wrong credentials, no address.
        EnvironmentFailed: when the store does not answer, or the disk takes no more.
    """
    root = store.root / CACHE_NAME
    held = FolderContents.read(root / CONTENTS_NAME / f"{folder.name}.json.gz")
    if folder.parent != root / FOLDERS_NAME or held is None:
        return
    if missing := held.missing(folder, refs):
        ObjectCache.of(store, transfer_client()).fetch_again(folder, held.bucket, missing, report)


def _unique_name() -> str:
    return f"{os.getpid()}-{uuid.uuid4().hex[:16]}"


def _publish(draft: Path, target: Path, objects: Mapping[str, StoredObject]) -> None:
    try:
        draft.rename(target)
    except OSError:
        if not _is_whole(target, objects):
            shutil.rmtree(target, ignore_errors=True)
            draft.rename(target)
    os.utime(target)


def _is_whole(folder: Path, objects: Mapping[str, StoredObject]) -> bool:
    return folder.is_dir() and all(has_size(folder / ref, one.size) for ref, one in objects.items())


def _move(source: Path, target: Path) -> None:
    try:
        source.replace(target)
    except FileNotFoundError:  # the first of its folder
        target.parent.mkdir(exist_ok=True)
        source.replace(target)


def _link(kept: Path, target: Path) -> None:
    try:
        os.link(kept, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links, or too many of one file
        shutil.copyfile(kept, target)
