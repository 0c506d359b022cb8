"""What of fetched objects is in use, and room for others: beyond a limit those go that were not used for longest.

A folder is used when it is fetched and when it is read. An object goes when it is in no folder; where the disk makes
no links each folder has copies of its own, which count like the objects.
"""

import math
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FOLDERS_NAME = "folders"
LOCK_NAME = "lock"
RENEW_SECONDS = 3600.0
_renewed: dict[Path, float] = {}


def renew(folder: Path) -> None:
    """Count a folder of fetched objects as used now; to any other nothing is done, nor to any twice in an hour."""
    now = time.monotonic()
    if now - _renewed.get(folder, -math.inf) < RENEW_SECONDS:
        return
    _renewed[folder] = now
    if folder.parent.name == FOLDERS_NAME and (folder.parent.parent / LOCK_NAME).is_file():
        with suppress(OSError):  # it may be read from a home that is another user's
            os.utime(folder)


def unused_since(oldest: float, paths: Iterable[Path]) -> list[Path]:
    """Return those that were used last before a time (seconds since 1970), the longest unused first."""
    used = sorted((stat.st_mtime, path) for stat, path in _there(paths))
    return [path for when, path in used if when < oldest]


def make_room(objects: Path, folders: Path, max_bytes: int, oldest: float) -> None:
    """Let go of folders and objects that were not used since a time, until the rest has no more bytes than a limit.

    The caller holds the lock. Every object is looked at once, and of folders that stay the first file.
    """
    kept = {stat.st_ino: _Kept(path, stat) for stat, path in _there(objects.glob("*/*"))}
    excess = sum(one.stat.st_size for one in kept.values()) + sum(map(_copied_bytes, folders.iterdir())) - max_bytes
    by_age = sorted(kept.values(), key=lambda one: one.stat.st_mtime)
    excess -= _remove([one for one in by_age if one.stat.st_nlink == 1], excess, oldest)
    for folder in unused_since(oldest, folders.iterdir()) if excess > 0 else ():
        # One that is read again meanwhile stays; the lock does not hold off who only reads.
        if excess > 0 and unused_since(oldest, [folder]):
            excess -= _let_go(folder, kept, excess, oldest)


@dataclass(frozen=True, slots=True)
class _Kept:
    path: Path
    stat: os.stat_result


def _let_go(folder: Path, kept: dict[int, _Kept], excess: int, oldest: float) -> int:
    """Remove a folder, and of the objects that were in no other as many as needed; return the bytes that are free."""
    files = list(_files(folder))
    shutil.rmtree(folder, ignore_errors=True)
    freed = sum(stat.st_size for stat in files if stat.st_nlink == 1)
    only_here = [kept[stat.st_ino] for stat in files if stat.st_nlink == 2 and stat.st_ino in kept]
    return freed + _remove(only_here, excess - freed, oldest)


def _remove(objects: Iterable[_Kept], excess: int, oldest: float) -> int:
    """Remove objects in their order, but those that were just fetched, until so many bytes are free; return these."""
    freed = 0
    for one in objects:
        if freed >= excess:
            break
        if one.stat.st_mtime < oldest:
            one.path.unlink(missing_ok=True)
            freed += one.stat.st_size
    return freed


def _copied_bytes(folder: Path) -> int:
    """Return the bytes of a folder's own: where the disk makes links, a look at one file tells that there are none."""
    files = _files(folder)
    first = next(files, None)
    if first is None or first.st_nlink > 1:
        return 0
    return first.st_size + sum(stat.st_size for stat in files if stat.st_nlink == 1)


def _files(folder: Path) -> Iterator[os.stat_result]:
    for parent, _, names in os.walk(folder):
        yield from (stat for stat, _ in _there(Path(parent, name) for name in names))


def _there(paths: Iterable[Path]) -> Iterator[tuple[os.stat_result, Path]]:
    """Yield what the disk says of each path, but of those that others have moved or removed meanwhile."""
    for path in paths:
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        yield stat, path
