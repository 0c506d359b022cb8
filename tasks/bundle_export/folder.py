"""The folder that an export goes to: put in place whole, in place of an earlier export, never over files of others."""

import json
import os
import shutil
import uuid
from pathlib import Path

from tasks.bundle_export.records import REPORT_FILE
from tasks.errors import RequestError


def require_own_folder(path: Path) -> None:
    """See that a folder is not there, is empty, or holds an earlier export and nothing else.

    Raises:
        RequestError: when it holds files of others, or cannot be written to.
    """
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise RequestError(f"{path} is no folder; name another --output")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        others = sorted(files_below(path) - _listed(path)) if path.exists() else []
    except OSError as error:
        raise RequestError(f"{path} cannot be written to ({error.strerror}); name another --output") from error
    if others:
        raise RequestError(f"{path} holds files of others ({others[0]}); name an empty folder or a new one as --output")


def publish(staged: Path, path: Path) -> None:
    """Copy a finished export to its place: a reader finds the earlier export, none for a moment, or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}")
    earlier = beside.with_name(f"{beside.name}.earlier")
    try:
        shutil.copytree(staged, beside)
        if path.exists():
            path.rename(earlier)
        beside.rename(path)
    finally:
        for leftover in (beside, earlier):
            shutil.rmtree(leftover, ignore_errors=True)


def files_below(path: Path) -> set[str]:
    """Return the references of all files below a folder, with a slash."""
    return {one.relative_to(path).as_posix() for one in path.rglob("*") if one.is_symlink() or not one.is_dir()}


def _listed(path: Path) -> set[str]:
    try:
        return set(json.loads((path / REPORT_FILE).read_text(encoding="utf-8"))["files"])
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return set()
