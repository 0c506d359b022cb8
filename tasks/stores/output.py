"""The folder that a user names for output: what a run writes appears there whole, in place of an earlier run's.

The files are written into a hidden folder beside their places and moved there by renames, so that none is ever half
there. A marker lists them, so that the next run knows which it may replace, and says `complete` only when all of them
are there. Files of others are never touched.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import RequestError
from tasks.stores.content import write_atomically

UNFINISHED_FOLDER = ".keeneye-unfinished"


def require_apart(path: Path, sources: Iterable[str]) -> None:
    """See that a folder does not lie in one that images are read from; empty names are skipped.

    Raises:
        RequestError: when it does; the next run would read what this one writes.
    """
    for source in filter(None, sources):
        folder = Path(source).expanduser()
        if folder.is_dir() and path.is_relative_to(folder.resolve()):
            raise RequestError(f"{path} lies in {source}, where images are read; name a folder elsewhere as --output")


@dataclass(frozen=True)
class OutputFolder:
    """A folder and the name of the marker by which runs of one kind know what is theirs in it."""

    path: Path
    marker_name: str

    @property
    def address(self) -> str:
        """What people and records call it."""
        return str(self.path)

    def require_apart(self, sources: Iterable[str]) -> None:
        """As the function of this name."""
        require_apart(self.path, sources)

    def require_own(self) -> None:
        """Make the folder, or see that it holds nothing but what an earlier run of this kind wrote.

        Raises:
            RequestError: when it holds files of others, or cannot be written.
        """
        path = self.path
        try:
            path.mkdir(parents=True, exist_ok=True)
            own = {*self._listed(), self.marker_name}
            half_marker = f".{self.marker_name}."
            others = [ref for ref in files_below(path) if ref not in own and not ref.startswith(half_marker)]
            is_writable = os.access(path, os.W_OK | os.X_OK)
        except OSError as error:
            raise RequestError(f"{path} cannot be written to ({error.strerror}); name another --output") from error
        if not is_writable:
            raise RequestError(f"{path} may not be written to by this user; name another --output")
        if others:
            raise RequestError(
                f"{path} holds files of others ({others[0]}); name an empty folder or a new one as --output"
            )

    @contextmanager
    def unfinished(self) -> Iterator[Path]:
        """Give an empty hidden folder below this one, for files to be published; it is removed at the end."""
        folder = self.path / UNFINISHED_FOLDER
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, staged: Path) -> list[str]:
        """Move all files below `staged` here, in place of an earlier run's; return their references, sorted."""
        refs = files_below(staged)
        earlier = self._listed()
        # Before anything is touched, so that a run that is cut short here can be replaced too.
        self._mark("unfinished", sorted({*refs, *earlier}))
        for half_marker in self.path.glob(f".{self.marker_name}.*"):
            half_marker.unlink(missing_ok=True)
        for ref in sorted({*earlier} - {*refs}):
            (self.path / ref).unlink(missing_ok=True)
        _remove_empty_folders(self.path)
        for ref in refs:
            (self.path / ref).parent.mkdir(parents=True, exist_ok=True)
            (staged / ref).replace(self.path / ref)
        self._mark("complete", refs)
        return refs

    def _mark(self, status: str, refs: list[str]) -> None:
        write_atomically(self.path / self.marker_name, marker_text(status, refs))

    def _listed(self) -> list[str]:
        """Return the references that the marker lists and that lie below the folder."""
        try:
            refs = listed_in((self.path / self.marker_name).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return []
        root = self.path.resolve()
        return [ref for ref in refs if (root / ref).resolve().is_relative_to(root) and (root / ref).is_file()]


def marker_text(status: str, refs: list[str]) -> str:
    """Return what a marker holds: `complete` or `unfinished`, and the references of a run's files."""
    return json.dumps({"status": status, "files": refs}, indent=1) + "\n"


def listed_in(marker: str) -> list[str]:
    """Return the references that a marker lists; none when it is no marker."""
    try:
        files = json.loads(marker)["files"]
        return [ref for ref in files if isinstance(ref, str)]
    except (ValueError, KeyError, TypeError):
        return []


def files_below(path: Path) -> list[str]:
    """Return the references of all files below a folder, sorted, but those that are unfinished."""
    found = (one for one in path.rglob("*") if not one.is_dir() or one.is_symlink())
    refs = (one.relative_to(path) for one in found)
    return sorted(ref.as_posix() for ref in refs if ref.parts[0] != UNFINISHED_FOLDER)


def _remove_empty_folders(path: Path) -> None:
    folders = (one for one in path.rglob("*") if one.is_dir() and not one.is_symlink())
    for folder in sorted(folders, reverse=True):
        if UNFINISHED_FOLDER not in folder.relative_to(path).parts and not any(folder.iterdir()):
            folder.rmdir()
