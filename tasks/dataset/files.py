"""Read a dataset's files, and refuse bytes other than those that were checked at ingest."""

import hashlib
import os
from pathlib import Path

from tasks.dataset.entries import ImageEntry
from tasks.errors import SourceChanged


def read_image_bytes(root: Path, entry: ImageEntry) -> bytes:
    """Return the bytes of an entry's image file.

    Raises:
        SourceChanged: when the file is gone, leads out of `root`, or its bytes changed since ingest.
    """
    path = Path(os.path.realpath(root / entry.source_ref))
    if not path.is_relative_to(os.path.realpath(root)):
        raise SourceChanged(f"{entry.source_ref} leads out of {root}, where nothing is read; start the run again")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceChanged(
            f"{path} was there at ingest and is gone ({error.strerror}); start the run again"
        ) from error
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise SourceChanged(f"{path} changed since ingest; start the run again")
    return data
