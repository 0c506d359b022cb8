"""Images on their way into a folder: which are whole, which were handled, and what a batch of them is.

Opens no image: a bad file is the started run's finding.
"""

import fcntl
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ValidationError

from tasks.dataset.findings import Finding
from tasks.errors import EnvironmentFailed, RequestError
from tasks.ingest.walk import walk_files
from tasks.stores.content import digest_of, write_atomically
from tasks.vision.images import IMAGE_SUFFIXES

KEPT_DAYS = 30
"""A batch's manifest is for its run; nobody runs it again after so long."""


class Stamp(NamedTuple):
    """By which a file that was written again is told from the one before: its size and its date."""

    size_bytes: int
    modified_ns: int


class Batch(BaseModel, frozen=True):
    """Images that start one run together.

    Attributes:
        event_id: a UUID, the same however often the batch is sent.
        manifest: absolute path of a Ground Truth manifest that names the images, relative to the folder.
        stamps: the images by reference.
    """

    event_id: str
    manifest: str
    stamps: dict[str, Stamp]


class _State(BaseModel):
    handled: dict[str, Stamp] = {}
    pending: Batch | None = None


def read_stamps(folder: Path) -> tuple[dict[str, Stamp], list[Finding]]:
    """Return all images of a folder, however deep, by reference; and findings for what cannot be read."""
    refs, findings = walk_files(folder)
    found: dict[str, Stamp] = {}
    for ref in refs:
        if ref.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        try:
            known = (folder / ref).stat()
        except OSError:  # taken away since it was listed
            continue
        found[str(ref)] = Stamp(known.st_size, known.st_mtime_ns)
    return found, findings


@dataclass(frozen=True, slots=True)
class Patience:
    """How long files are waited for; `watch_config.py` says what each field does."""

    quiet_seconds: float
    max_wait_seconds: float
    min_images: int


class Settling:
    """New files, and since when each has stayed the same."""

    def __init__(self, patience: Patience, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience, self._clock = patience, clock
        self._since: dict[str, tuple[Stamp, float]] = {}

    def settled(self, new: Mapping[str, Stamp]) -> dict[str, Stamp]:
        """Return what is to be handled now of the files that are new at this look; nothing while they still come."""
        now, before, patience = self._clock(), self._since, self._patience
        self._since = {
            ref: before[ref] if ref in before and before[ref][0] == stamp else (stamp, now)
            for ref, stamp in new.items()
        }
        whole = {ref: since for ref, (_, since) in self._since.items() if now - since >= patience.quiet_seconds}
        if len(whole) < patience.min_images:
            return {}
        waited = now - min(whole.values()) - patience.quiet_seconds
        return {ref: new[ref] for ref in whole} if len(whole) == len(new) or waited >= patience.max_wait_seconds else {}


class ArrivalLog:
    """What was handled of one folder for one deployment, kept in a file so that a restart handles nothing twice."""

    def __init__(self, home_folder: Path, folder: Path, deployment: str) -> None:
        self._home_folder, self._folder = home_folder, folder
        self._path = home_folder / f"{digest_of([str(folder), deployment])[:16]}.json"
        self._state = _State()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Read what was handled, and keep a second watcher out; the system lets go when this process dies.

        Raises:
            RequestError: when another process watches the folder for the same deployment.
            EnvironmentFailed: when the file is damaged.
        """
        self._home_folder.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RequestError(
                    f"{self._folder} is watched for this deployment by another process; stop that one first"
                ) from None
            self._state = self._read()
            yield

    @property
    def pending(self) -> Batch | None:
        """The batch that was begun, and of which nobody knows yet whether it was sent."""
        return self._state.pending

    def new(self, stamps: Mapping[str, Stamp]) -> dict[str, Stamp]:
        """Return what was not handled, or was written again since."""
        return {ref: stamp for ref, stamp in stamps.items() if self._state.handled.get(ref) != stamp}

    def begin(self, stamps: Mapping[str, Stamp]) -> Batch:
        """Write the batch's manifest, and note that it is about to be sent."""
        event_id = str(uuid.uuid4())
        manifest = self._home_folder / f"{self._folder.name or 'root'}-{event_id}.manifest"
        lines = (json.dumps({"source-ref": ref}, ensure_ascii=False) + "\n" for ref in sorted(stamps))
        self._remove_old_manifests()
        write_atomically(manifest, "".join(lines))
        batch = Batch(event_id=event_id, manifest=str(manifest), stamps=dict(stamps))
        self._write(self._state.model_copy(update={"pending": batch}))
        return batch

    def end(self, batch: Batch) -> None:
        """Note that the batch was sent."""
        self._write(_State(handled={**self._state.handled, **batch.stamps}))

    def forget_all_but(self, stamps: Mapping[str, Stamp]) -> None:
        """Forget files that were taken away; an empty folder may be a share that is not mounted, and says nothing."""
        kept = {ref: stamp for ref, stamp in self._state.handled.items() if ref in stamps}
        if stamps and len(kept) < len(self._state.handled):
            self._state = self._state.model_copy(update={"handled": kept})

    def _remove_old_manifests(self) -> None:
        oldest = time.time() - KEPT_DAYS * 86_400
        for path in self._home_folder.glob("*.manifest"):
            if path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)

    def _read(self) -> _State:
        try:
            return _State.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return _State()
        except (OSError, ValidationError) as error:
            raise EnvironmentFailed(
                f"{self._path}, which tells what was handled of {self._folder}, cannot be read "
                f"({type(error).__name__}); remove it, and every image is handled anew"
            ) from None

    def _write(self, state: _State) -> None:
        write_atomically(self._path, state.model_dump_json())
        self._state = state
