"""The folder that a user names for output: claimed, cleaned of what an earlier export left, filled at the end."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from tasks.dataset.files import EXPORT_MARKER_NAME
from tasks.errors import RequestError

MARKER_NAME = EXPORT_MARKER_NAME
"""Lists the files that an export wrote, which the next one may replace."""


def require_own_folder(path: Path) -> None:
    """Make a folder, or see that it holds nothing but what an earlier export wrote.

    Raises:
        RequestError: when it holds files of others, or cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        own = {*_listed(path), MARKER_NAME}
        others = sorted(ref for ref in _files_below(path) if ref not in own)
    except OSError as error:
        raise RequestError(f"{path} cannot be written to ({error.strerror}); name another --output") from error
    if others:
        raise RequestError(f"{path} holds files of others ({others[0]}); name an empty folder or a new one as --output")


def require_apart(path: Path, sources: Iterable[str]) -> None:
    """See that a folder does not lie in one that images are read from.

    Raises:
        RequestError: when it does; the next run would read what this one writes.
    """
    for source in filter(None, sources):
        folder = Path(source).expanduser()
        if folder.is_dir() and path.is_relative_to(folder.resolve()):
            raise RequestError(f"{path} lies in {source}, where images are read; name a folder elsewhere as --output")


def publish(staged: Path, path: Path) -> list[str]:
    """Move all files below `staged` to `path`, in place of an earlier export; return their references, sorted.

    What is written is noted first, so that an export that was cut short can be replaced too.
    """
    refs = _files_below(staged)
    earlier = _listed(path)
    note = json.dumps({"files": sorted({*refs, *earlier})}, indent=1)
    (path / MARKER_NAME).write_text(note + "\n", encoding="utf-8")
    for ref in earlier:
        (path / ref).unlink(missing_ok=True)
    _remove_empty_folders(path)
    for ref in refs:
        (path / ref).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(staged / ref, path / ref)
    return refs


def _files_below(path: Path) -> list[str]:
    return sorted(one.relative_to(path).as_posix() for one in path.rglob("*") if not one.is_dir() or one.is_symlink())


def _listed(path: Path) -> list[str]:
    """Return the references that the marker lists and that lie below the folder."""
    try:
        files = json.loads((path / MARKER_NAME).read_text(encoding="utf-8"))["files"]
        refs = [ref for ref in files if isinstance(ref, str)]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []
    return [ref for ref in refs if (path / ref).resolve().is_relative_to(path.resolve()) and (path / ref).is_file()]


def _remove_empty_folders(path: Path) -> None:
    for folder in sorted((one for one in path.rglob("*") if one.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
