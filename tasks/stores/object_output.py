"""Output in an object store: what a run writes appears in a folder of objects, its marker last.

The same marker as in a folder on disk tells readers that all files are there, and the next run which it may replace.
"""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tasks.errors import RequestError
from tasks.stores.output import OutputFolder, files_below, listed_in, marker_text
from tasks.stores.s3 import read_once
from tasks.stores.s3_objects import (
    ObjectPlace,
    in_parallel,
    is_object_address,
    list_objects,
    remove_object,
    remove_objects,
    send_object,
)
from tasks.stores.s3_requests import answered, transfer_client

MAX_MARKER_BYTES = 256_000_000


@dataclass(frozen=True)
class ObjectOutput:
    """A folder of objects, and the name of the marker by which runs of one kind know what is theirs in it.

    Used like an `OutputFolder`.
    """

    place: ObjectPlace
    marker_name: str

    @property
    def _probe_name(self) -> str:
        return f"{self.marker_name}.probe"

    @property
    def address(self) -> str:
        """What people and records call it."""
        return str(self.place).rstrip("/")

    def require_apart(self, sources: Iterable[str]) -> None:
        """See that the folder does not lie in one that images are read from; other names are skipped.

        Raises:
            RequestError: when it does; the next run would read what this one writes.
        """
        for source in filter(is_object_address, sources):
            if str(self.place).startswith(str(ObjectPlace.parse(source).folder)):
                raise RequestError(
                    f"{self.address} lies in {source}, where images are read; name a folder elsewhere as --output"
                )

    def require_own(self) -> None:
        """See that the folder can be written to, and holds nothing but what an earlier run of this kind wrote.

        Raises:
            RequestError: when it holds objects of others, or cannot be written to.
            EnvironmentFailed: when the store does not answer.
        """
        client = transfer_client()
        there = {one.key.removeprefix(self.place.key) for one in list_objects(client, self.place)}
        earlier = self._listed(there)
        others = sorted(there - {*earlier, self.marker_name, self._probe_name})
        if others:
            raise RequestError(
                f"{self.address} holds objects of others ({others[0]}); name an empty folder or a new one as --output"
            )
        # Whoever may not write learns it now, not after the work; until then what an earlier run wrote stays complete.
        probe = self.place.below(self._probe_name)
        send_object(client, probe, b"")
        remove_object(client, probe)

    @contextmanager
    def unfinished(self) -> Iterator[Path]:
        """Give an empty folder on this disk, for files to be published; it is removed at the end."""
        with tempfile.TemporaryDirectory(prefix="keeneye-output-") as folder:
            yield Path(folder)

    def publish(self, staged: Path) -> list[str]:
        """Send all files below `staged`, in place of an earlier run's; return their references, sorted.

        Raises:
            RequestError: when the store refuses one.
            EnvironmentFailed: when it does not answer.
        """
        client = transfer_client()
        refs = files_below(staged)
        there = {one.key.removeprefix(self.place.key) for one in list_objects(client, self.place)}
        earlier = self._listed(there)
        self._mark("unfinished", sorted({*refs, *earlier}))
        in_parallel(lambda ref: send_object(client, self.place.below(ref), staged / ref), refs)
        stale = [self.place.below(ref).key for ref in sorted({*earlier} - {*refs})]
        remove_objects(client, self.place.bucket, stale)
        self._mark("complete", refs)
        return refs

    def _mark(self, status: str, refs: list[str]) -> None:
        marker = self.place.below(self.marker_name)
        send_object(transfer_client(), marker, marker_text(status, refs).encode())

    def _listed(self, there: set[str]) -> list[str]:
        """Return the references that the marker lists and that are there."""
        if self.marker_name not in there:
            return []
        marker = self.place.below(self.marker_name)
        ask = partial(read_once, transfer_client(), marker.bucket, marker.key, max_bytes=MAX_MARKER_BYTES)
        text = answered(str(marker), ask)
        return [ref for ref in listed_in(text.decode(errors="replace")) if ref in there]


Output = OutputFolder | ObjectOutput


def output_at(address: str, marker_name: str) -> Output:
    """Return the output that a user named: `s3://BUCKET/FOLDER`, or a folder on disk.

    Raises:
        RequestError: when it is no address of an object store.
    """
    if is_object_address(address):
        return ObjectOutput(ObjectPlace.parse(address).folder, marker_name)
    return OutputFolder(Path(address).expanduser().resolve(), marker_name)
