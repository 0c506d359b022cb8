"""Shards of listed files: hashed, then checked, each shard kept in the content store under all that shapes it.

Hashing comes first because a source's digest is the stage's key: what was checked before is not opened again. A shard
that is checked must find the bytes that were hashed.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from tasks.annotations.annotated import AnnotatedImage
from tasks.dataset.entries import read_index, write_index
from tasks.dataset.findings import read_findings, write_findings
from tasks.errors import SourceChanged
from tasks.ingest.checks import CheckedFile, CheckedFiles, ImageLimits, check_file, drop_duplicates, leads_out
from tasks.ingest.records import FINDINGS_FILE, IMAGES_FILE, THUMBNAILS_FILE
from tasks.shards.runner import Tell, cores
from tasks.shards.threads import map_in_threads
from tasks.stores.content import ContentStore, StageKey

SHARD_STAGE = "check-shard"
SHARD_VERSION = "1"
SHARD_IMAGES = 256
_READERS_PER_CORE = 2
"""Of hashing, which reads files for the first time: twice the cores keep the disk busy too."""

Digests = tuple[str, ...]
"""SHA-256 of an image file's bytes, and of its mask's when it has one, hexadecimal; or why there is none."""

_IMAGE = TypeAdapter(AnnotatedImage)


@dataclass(frozen=True, slots=True)
class HashedFile:
    """A listed file, and what it held when it was hashed."""

    file: AnnotatedImage
    digests: Digests

    @property
    def description(self) -> str:
        """What is said of the file, and what it holds."""
        return "\0".join([_IMAGE.dump_json(self.file).decode(), *self.digests])


@dataclass(frozen=True, slots=True)
class HashWork:
    """Hashes shards of listed files below `root`."""

    root: Path

    def __call__(self, shard: Sequence[AnnotatedImage], threads: int, tell: Tell) -> list[Digests]:
        """Return the digests of each file."""
        readers = _READERS_PER_CORE * cores(threads)
        digests = list(map_in_threads(lambda file: digests_of(self.root, file), shard, readers))
        tell(len(shard))
        return digests


@dataclass(frozen=True, slots=True)
class CheckWork:
    """Checks shards of hashed files.

    Attributes:
        store: keeps the outcome.
        root: folder to which references are relative.
        limits: of the images.
    """

    store: ContentStore
    root: Path
    limits: ImageLimits

    def __call__(self, shard: Sequence[HashedFile], threads: int, tell: Tell) -> Path:
        """Return the shard's entry: from the store when it is there, else checked now.

        Raises:
            SourceChanged: when a file is not as it was when it was hashed.
        """
        key = self._key(shard)
        if self.store.find(key) is None:
            with self.store.create(key) as folder:
                _keep(folder, self._told(map_in_threads(self._check, shard, cores(threads)), tell))
        else:
            tell(len(shard))
        return self.store.entry_path(key)

    def _check(self, hashed: HashedFile) -> CheckedFile:
        outcome = check_file(self.root, hashed.file, self.limits)
        if not _is_as_hashed(self.root, hashed, outcome):
            raise SourceChanged(
                f"{self.root / hashed.file.source_ref} changed while it was read; start the run again, it goes on "
                "where it was"
            )
        return outcome

    def _told(self, outcomes: Iterator[CheckedFile], tell: Tell) -> Iterator[CheckedFile]:
        for outcome in outcomes:
            yield outcome
            tell(1)

    def _key(self, shard: Sequence[HashedFile]) -> StageKey:
        return StageKey(
            stage=SHARD_STAGE,
            version=SHARD_VERSION,
            inputs={"root": str(self.root), "files": [hashed.description for hashed in shard]},  # findings name it
            config={"limits": asdict(self.limits)},
            libraries=("pillow", "opencv-python-headless"),
        )


def digests_of(root: Path, file: AnnotatedImage) -> Digests:
    """Return the digests of an image and its mask."""
    refs = [ref for ref in (file.source_ref, file.mask_ref) if ref]
    return tuple("outside" if leads_out(root, ref) else file_digest(root / ref) for ref in refs)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal, or why there is none."""
    try:
        # To open a pipe is to wait for one who writes.
        if not path.is_file():
            return "no file"
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        return f"unreadable: {type(error).__name__}"


def read_shards(folders: Sequence[Path]) -> CheckedFiles:
    """Read what was kept of shards; what stands in several of them once is kept once."""
    entries = [entry for folder in folders for entry in read_index(folder / IMAGES_FILE)]
    findings = [finding for folder in folders for finding in read_findings(folder / FINDINGS_FILE)]
    kept, duplicates = drop_duplicates(entries)
    # Four kilobytes for each image: they stay in the store's files until they are used.
    thumbnails = dict(zip((entry.source_ref for entry in entries), _thumbnails(folders), strict=True))
    small = tuple(thumbnails[entry.source_ref] for entry in kept)
    return CheckedFiles(tuple(kept), small, (*findings, *duplicates))


def _thumbnails(folders: Sequence[Path]) -> Iterator[np.ndarray]:
    for folder in folders:
        # A plain view: numpy's own kind of array for files makes an object for every access.
        yield from np.asarray(np.load(folder / THUMBNAILS_FILE, mmap_mode="r", allow_pickle=False))


def _keep(folder: Path, outcomes: Iterator[CheckedFile]) -> None:
    checked = list(outcomes)
    usable = [(one.entry, one.thumbnail) for one in checked if one.entry and one.thumbnail is not None]
    write_index(folder / IMAGES_FILE, (entry for entry, _ in usable))
    write_findings(folder / FINDINGS_FILE, (finding for one in checked for finding in one.findings))
    save_thumbnails(folder / THUMBNAILS_FILE, [small for _, small in usable])


def save_thumbnails(path: Path, thumbnails: Sequence[np.ndarray]) -> None:
    """Write thumbnails one after another, N x 64 x 64, without a copy of all of them in memory."""
    if not thumbnails:
        np.save(path, np.empty(0), allow_pickle=False)
        return
    shape = (len(thumbnails), *thumbnails[0].shape)
    with path.open("wb") as stream:
        header = {"descr": thumbnails[0].dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for thumbnail in thumbnails:
            stream.write(np.ascontiguousarray(thumbnail).tobytes())


def _is_as_hashed(root: Path, hashed: HashedFile, outcome: CheckedFile) -> bool:
    if outcome.entry and outcome.entry.sha256 != hashed.digests[0]:
        return False
    # Of a bad image or a mask it is not known which bytes were looked at.
    is_known = outcome.entry is not None and not hashed.file.mask_ref
    return is_known or digests_of(root, hashed.file) == hashed.digests
