"""The content store: what a stage made, kept under a key of everything that shaped it.

The one mechanism for resume and reuse. An entry is a folder; its marker is written last and lists every file with
its size, so an entry without a marker, or with a file cut short, does not exist. Knows nothing of stages' contents.
"""

import hashlib
import json
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

MARKER_NAME = "_complete.json"
RECORD_NAME = "record.json"
_UNFINISHED_NAME = re.compile(r".+-[0-9a-f]{16}(?:-([0-9a-f]{8}))?-([0-9]{1,9})-[0-9a-f]{8}")
"""Name, machine (none in names from before there were several), process and a random part."""
FOREIGN_DAYS = 14
"""How old what another machine left unfinished must be: whether its process is alive is not known here."""

R = TypeVar("R", bound="StageRecord")


class StageRecord(BaseModel, frozen=True, extra="forbid"):
    """What every stage returns: small, frozen, and about one entry of the content store.

    `seconds` and `reused` tell of this run; all other fields are the same whenever the entry is read.
    """

    schema_version: int = 1
    key: str = ""
    seconds: float = 0.0
    reused: bool = False


@dataclass(frozen=True, slots=True)
class StageKey:
    """Everything that shapes a stage's output; equal keys mean equal output.

    `inputs` and `config` hold JSON values; `libraries` are distribution names whose versions matter.
    """

    stage: str
    version: str
    inputs: Mapping[str, Any]
    config: Mapping[str, Any]
    libraries: Sequence[str] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON of all fields, as hexadecimal."""
        return digest_of(
            {
                "stage": self.stage,
                "version": self.version,
                "inputs": self.inputs,
                "config": self.config,
                "libraries": {name: _installed_version(name) for name in sorted(self.libraries)},
            }
        )


def digest_of(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """SHA-256 of a JSON value's canonical text (sorted keys, no spaces), as hexadecimal."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class ContentStore:
    """A folder of finished stage outputs, shared by all runs of one Keeneye home."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._entries = root / "entries"
        self._unfinished = root / "unfinished"

    def entry_path(self, key: StageKey) -> Path:
        """Where the entry of `key` is or will be."""
        return self._entries / key.stage / key.digest[:32]

    def find(self, key: StageKey) -> Path | None:
        """Return the finished entry of `key`, or None when there is none or it was damaged."""
        path = self.entry_path(key)
        return path if _is_complete(path) else None

    def entries_of(self, stage: str) -> list[Path]:
        """Return all finished entries of a stage, in the order of their keys."""
        return [path for path in sorted((self._entries / stage).glob("*")) if _is_complete(path)]

    @contextmanager
    def create(self, key: StageKey) -> Iterator[Path]:
        """Give an empty folder to fill; at the end it becomes the entry of `key`, all at once.

        An exception leaves no entry. When another process finished the same entry meanwhile, that one stays.
        """
        with self.scratch(f"{key.stage}-{key.digest[:16]}") as folder:
            yield folder
            _write_marker(folder)
            self._publish(folder, self.entry_path(key))

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """Give an empty folder that is removed at the end, or swept when this process dies before.

        Args:
            name: ends in `-` and 16 hexadecimal digits.
        """
        self._unfinished.mkdir(parents=True, exist_ok=True)
        folder = self._unfinished / f"{name}-{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def reuse_or_make(self, key: StageKey, record_type: type[R], make: Callable[[Path], R]) -> tuple[R, Path]:
        """Return the record and folder of a stage: from the store when there, else by calling `make(folder)`."""
        path, reused = self.find(key), True
        if path is None:
            reused = False
            with self.create(key) as folder:
                record = make(folder).model_copy(update={"key": key.digest})
                (folder / RECORD_NAME).write_text(record.model_dump_json(indent=2), encoding="utf-8")
            path = self.entry_path(key)
        stored = record_type.model_validate_json((path / RECORD_NAME).read_text(encoding="utf-8"))
        return stored.model_copy(update={"reused": reused}), path

    def sweep(self) -> list[str]:
        """Remove what killed processes of this machine left unfinished; return the removed names.

        What lies there from other machines that share the folder is removed after `FOREIGN_DAYS` only.
        """
        removed = []
        for folder in sorted(self._unfinished.glob("*-*-*-*")):
            named = _UNFINISHED_NAME.fullmatch(folder.name)
            if named and _is_abandoned(folder, named[1] or _machine(), int(named[2])):
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(folder.name)
        return removed

    def _publish(self, folder: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):
            try:
                folder.rename(target)  # fails when the place is taken, so a finished entry is never removed
                return
            except OSError:
                if _is_complete(target):
                    return
                if not target.exists():
                    raise
            damaged = folder.with_name(f"{folder.name[:-8]}{uuid.uuid4().hex[:8]}")
            target.rename(damaged)
            shutil.rmtree(damaged, ignore_errors=True)
        folder.rename(target)


def write_atomically(path: Path, text: str, *, mode: int = 0o666) -> None:
    """Write a small text file so that a reader sees the old or the new content, never a part.

    Args:
        path: replaced, or made with its folder.
        text: all of it.
        mode: who may read and write it, of which the process's umask takes away; 0o600 is this user alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write_marker(folder: Path) -> None:
    sizes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
            sizes[path.relative_to(folder).as_posix()] = path.stat().st_size
    write_atomically(folder / MARKER_NAME, json.dumps(sizes))


def _is_complete(path: Path) -> bool:
    try:
        sizes = json.loads((path / MARKER_NAME).read_text(encoding="utf-8"))
        return all((path / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def _is_abandoned(folder: Path, machine: str, process_id: int) -> bool:
    if machine == _machine():
        return not _is_alive(process_id)
    try:
        return time.time() - folder.stat().st_mtime > FOREIGN_DAYS * 86_400
    except FileNotFoundError:
        return False


@cache
def _machine() -> str:
    return digest_of(socket.gethostname())[:8]


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@cache
def _installed_version(name: str) -> str:
    return version(name)
