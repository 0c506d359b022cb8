"""Read a dataset's files, and refuse bytes other than those that were checked at ingest."""

import hashlib
import os
from pathlib import Path

from tasks.dataset.entries import ImageEntry
from tasks.errors import SourceChanged
from tasks.stores.s3_room import renew

EXPORT_MARKER_NAME = "keeneye-export.json"
"""Stands in a folder that `keeneye ground-truth` wrote, and lists its files."""
EXPORTED_PICTURES_FOLDER = "pictures"
"""Where it has its contact sheets, which are no images of the dataset."""


def read_image_bytes(root: Path, entry: ImageEntry) -> bytes:
    """Return the bytes of an entry's image file.

    Raises:
        SourceChanged: when the file is gone, leads out of `root`, or its bytes changed since ingest.
    """
    return _read_unchanged(root, entry.source_ref, entry.sha256)


def is_unchanged(root: Path, entry: ImageEntry) -> bool:
    """Return whether an entry's image file is there, with the bytes of ingest."""
    try:
        read_image_bytes(root, entry)
    except SourceChanged:
        return False
    return True


def read_mask_bytes(root: Path, entry: ImageEntry) -> bytes:
    """Return the bytes of an entry's mask file; raises as `read_image_bytes` does."""
    return _read_unchanged(root, entry.mask_ref, entry.mask_sha256)


def _read_unchanged(root: Path, reference: str, sha256: str) -> bytes:
    renew(root)
    path = Path(os.path.realpath(root / reference))
    if not path.is_relative_to(os.path.realpath(root)):
        raise SourceChanged(f"{reference} leads out of {root}, where nothing is read; start the run again")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceChanged(
            f"{path} was there at ingest and is gone ({error.strerror}); start the run again"
        ) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise SourceChanged(f"{path} changed since ingest; start the run again")
    return data
