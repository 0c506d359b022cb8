"""The folder that a user names for output: what a run writes appears there whole, in place of an earlier run's.

The files are written into a hidden folder beside their places and moved there by renames, so that none is ever half
there. The marker says `complete` only when all of them are.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.errors import RequestError
from tasks.stores.content import write_atomically

MARKER_NAME = "keeneye-predict.json"
"""Lists the files that a run wrote, which the next one may replace."""
UNFINISHED_FOLDER = ".keeneye-unfinished"


def require_own_folder(path: Path) -> None:
    """Make a folder, or see that it holds nothing but what an earlier run wrote.

    Raises:
        RequestError: when it holds files of others, or cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        own = {*_listed(path), MARKER_NAME}
        others = [ref for ref in _files_below(path) if ref not in own and not ref.startswith(f".{MARKER_NAME}.")]
        is_writable = os.access(path, os.W_OK | os.X_OK)
    except OSError as error:
        raise RequestError(f"{path} cannot be written to ({error.strerror}); name another --output") from error
    if not is_writable:
        raise RequestError(f"{path} may not be written to by this user; name another --output")
    if others:
        raise RequestError(f"{path} holds files of others ({others[0]}); name an empty folder or a new one as --output")


def require_apart(path: Path, source: str) -> None:
    """See that a folder does not lie in one that images are read from.

    Raises:
        RequestError: when it does; the next run would read what this one writes.
    """
    folder = Path(source).expanduser()
    if folder.is_dir() and path.is_relative_to(folder.resolve()):
        raise RequestError(f"{path} lies in {source}, where images are read; name a folder elsewhere as --output")


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """Give an empty hidden folder below `path`, for files to be published; it is removed at the end."""
    folder = path / UNFINISHED_FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(staged: Path, path: Path) -> list[str]:
    """Move all files below `staged` to `path`, in place of an earlier run's; return their references, sorted."""
    refs = _files_below(staged)
    earlier = _listed(path)
    # Before anything is touched, so that a run that is cut short here can be replaced too.
    _mark(path, "unfinished", sorted({*refs, *earlier}))
    for half_marker in path.glob(f".{MARKER_NAME}.*"):
        half_marker.unlink(missing_ok=True)
    for ref in sorted({*earlier} - {*refs}):
        (path / ref).unlink(missing_ok=True)
    for ref in refs:
        (path / ref).parent.mkdir(parents=True, exist_ok=True)
        (staged / ref).replace(path / ref)
    _remove_empty_folders(path)
    _mark(path, "complete", refs)
    return refs


def _mark(path: Path, status: str, refs: list[str]) -> None:
    write_atomically(path / MARKER_NAME, json.dumps({"status": status, "files": refs}, indent=1) + "\n")


def _files_below(path: Path) -> list[str]:
    found = (one for one in path.rglob("*") if not one.is_dir() or one.is_symlink())
    refs = (one.relative_to(path) for one in found)
    return sorted(ref.as_posix() for ref in refs if ref.parts[0] != UNFINISHED_FOLDER)


def _listed(path: Path) -> list[str]:
    """Return the references that the marker lists and that lie below the folder."""
    try:
        files = json.loads((path / MARKER_NAME).read_text(encoding="utf-8"))["files"]
        refs = [ref for ref in files if isinstance(ref, str)]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []
    return [ref for ref in refs if (path / ref).resolve().is_relative_to(path.resolve()) and (path / ref).is_file()]


def _remove_empty_folders(path: Path) -> None:
    for folder in sorted((one for one in path.iterdir() if one.is_dir() and not one.is_symlink()), reverse=True):
        if folder.name != UNFINISHED_FOLDER and not any(folder.iterdir()):
            folder.rmdir()
