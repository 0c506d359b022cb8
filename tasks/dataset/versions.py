"""Named datasets, their versions and what each version descends from.

A version is the digest of its manifests. The catalogue is a folder; the assignments of a version hold those of all
its ancestors, so that an image which went and came back returns to its split. One line of descent per split scheme.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel

from tasks.dataset.entries import Split
from tasks.stores.content import write_atomically

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"


class DatasetVersion(BaseModel, frozen=True, extra="forbid"):
    """One version of a dataset.

    Attributes:
        name: the dataset's name.
        scheme: how it is split, such as `70/15/15`.
        digest: SHA-256 over its manifests, hexadecimal.
        parent: digest of the version it descends from; empty for the first.
        made_from: digest of the source and settings it was made from.
        assignments: group to split, of this version and all its ancestors.
    """

    schema_version: int = 1
    name: str
    scheme: str
    digest: str
    parent: str = ""
    made_from: str
    assignments: dict[str, Split]


class DatasetCatalogue:
    """The versions of all datasets of one Keeneye home."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def latest(self, name: str, scheme: str) -> DatasetVersion | None:
        """Return the newest version of a dataset under a split scheme, or None before the first."""
        pointer = self._folder(name, scheme) / "latest"
        if not pointer.exists():
            return None
        return self.version(name, scheme, pointer.read_text(encoding="utf-8"))

    def version(self, name: str, scheme: str, digest: str) -> DatasetVersion:
        """Return one version."""
        path = self._folder(name, scheme) / f"{digest}.json"
        return DatasetVersion.model_validate_json(path.read_text(encoding="utf-8"))

    def parent_for(self, name: str, scheme: str, made_from: str) -> DatasetVersion | None:
        """Return the version that one made from `made_from` descends from.

        It is the newest version, or that version's own parent when the newest was made from the same source and
        settings: doing the same again makes the same version, not a child of itself.
        """
        latest = self.latest(name, scheme)
        if latest is None or latest.made_from != made_from:
            return latest
        return self.version(name, scheme, latest.parent) if latest.parent else None

    def publish(self, version: DatasetVersion) -> None:
        """Store a version and make it the newest; doing so twice changes nothing.

        A version that came before keeps its parent (else two sources in turn would descend from each other) and
        gains the assignments made since.
        """
        folder = self._folder(version.name, version.scheme)
        path = folder / f"{version.digest}.json"
        if path.exists():
            known = self.version(version.name, version.scheme, version.digest)
            gained = dict(sorted({**version.assignments, **known.assignments}.items()))
            version = known.model_copy(update={"assignments": gained})
        write_atomically(path, version.model_dump_json())
        write_atomically(folder / "latest", version.digest)

    def _folder(self, name: str, scheme: str) -> Path:
        if not re.fullmatch(NAME_PATTERN, name):
            raise ValueError(f"{name!r} is no dataset name")
        return self._root / name / scheme.replace("/", "-")


def manifests_digest(manifests: Mapping[Split, Path]) -> str:
    """SHA-256 over the manifests' bytes, each with its split's name."""
    return hashlib.sha256(b"".join(_named_digest(split, path) for split, path in sorted(manifests.items()))).hexdigest()


def merged_assignments(parent: DatasetVersion | None, assigned: Mapping[str, Split]) -> dict[str, Split]:
    """Return the ancestors' assignments with the new ones, sorted by group."""
    earlier: Iterable[tuple[str, Split]] = parent.assignments.items() if parent else ()
    return dict(sorted({**dict(earlier), **assigned}.items()))


def _named_digest(split: str, path: Path) -> bytes:
    return split.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest()
