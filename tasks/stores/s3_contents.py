"""What a folder of fetched objects held: enough to fetch it again after it was let go, by the same entity tags."""

import gzip
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.stores.s3_objects import StoredObject

CONTENTS_NAME = "contents"


@dataclass(frozen=True, slots=True)
class FolderContents:
    """The bucket, and by reference the objects that a folder held."""

    bucket: str
    objects: Mapping[str, StoredObject]

    def write(self, path: Path) -> None:
        """Keep it in a file, which is there whole or not at all; one that is there stays."""
        if path.exists():
            return
        rows = [[ref, one.key, one.etag, one.size] for ref, one in self.objects.items()]
        path.parent.mkdir(exist_ok=True)
        partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        try:
            with gzip.open(partial, "wt", encoding="utf-8", compresslevel=1) as stream:
                json.dump({"bucket": self.bucket, "objects": rows}, stream)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def read(cls, path: Path) -> "FolderContents | None":
        """Return what was kept; None when nothing is there that can be read."""
        try:
            with gzip.open(path, "rt", encoding="utf-8") as stream:
                kept = json.load(stream)
            objects = {ref: StoredObject(key, etag, size) for ref, key, etag, size in kept["objects"]}
            return cls(kept["bucket"], objects)
        except (OSError, EOFError, ValueError, KeyError, TypeError):
            return None

    def missing(self, folder: Path, refs: Iterable[str]) -> dict[str, StoredObject]:
        """Return those of some references that the folder held and has no longer, or not whole."""
        wanted = {ref: self.objects[ref] for ref in refs if ref in self.objects}
        return {ref: one for ref, one in wanted.items() if not has_size(folder / ref, one.size)}


def has_size(path: Path, size: int) -> bool:
    """Whether there is a file of so many bytes."""
    try:
        return path.stat().st_size == size
    except OSError:
        return False
