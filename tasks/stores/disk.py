"""A disk that is full, told apart from everything else that goes wrong."""

import errno
import shutil
from pathlib import Path

from tasks.errors import EnvironmentFailed, chain

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_IN_WORDS = ("No space left on device", "database or disk is full")
"""What libraries say that keep no number: SQLite, ONNX, Arrow."""
ROOM_BYTES = 1_000_000
"""A disk with less is as good as full: nothing of a run is smaller."""


def full_disk(error: BaseException, root: Path) -> EnvironmentFailed | None:
    """Return what a failure means that comes of a full disk, or None when it comes of something else.

    Args:
        error: what was raised.
        root: Keeneye's home, which is named when the error names no place.
    """
    for cause in chain(error):
        if getattr(cause, "errno", None) in _FULL or any(words in str(cause) for words in _IN_WORDS):
            place = getattr(cause, "filename", None) or root
            return EnvironmentFailed(
                f"no space is left on the disk of {place}: make room and start the same again; it goes on where it was"
            )
    return None


def is_nearly_full(root: Path) -> bool:
    """Whether the disk of a folder has no room for anything of a run."""
    try:
        return shutil.disk_usage(root).free < ROOM_BYTES
    except OSError:
        return False
