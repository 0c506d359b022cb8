"""Read one source or two (images, test images) into an index of usable images with findings."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from tasks.dataset.findings import Finding
from tasks.ingest.check_shards import (
    SHARD_IMAGES,
    CheckWork,
    Digests,
    HashedFile,
    HashWork,
    file_digest,
    read_shards,
)
from tasks.ingest.checks import CheckedFiles, ImageLimits
from tasks.ingest.layouts import Listing
from tasks.shards.runner import HERE, ShardRunner, shards_of
from tasks.stores.content import ContentStore

Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class HashedListing:
    """A listing, and what its files held when they were hashed.

    Attributes:
        root: folder to which references are relative.
        listing: what is said of the files.
        digests: of each listed file.
        manifests: of each manifest's bytes.
    """

    root: Path
    listing: Listing
    digests: tuple[Digests, ...]
    manifests: Digests

    @property
    def files(self) -> list[HashedFile]:
        """The listed files."""
        return list(map(HashedFile, self.listing.files, self.digests))

    @property
    def digest(self) -> str:
        """SHA-256 over the layout, what is said of every listed image, and the bytes of images, masks and manifests.

        Hashing reads everything once, at the disk's speed; a cheaper stand-in (sizes and dates) would let a changed
        picture pass unseen.
        """
        digest = hashlib.sha256(self.listing.layout.encode())
        for file in self.files:
            digest.update(f"{file.description}\n".encode())
        for finding in self.listing.findings:
            digest.update(finding.model_dump_json().encode("utf-8"))
        # Manifests are read again when they are annotated, each with all its lines.
        for manifest, found in zip(self.listing.manifests, self.manifests, strict=True):
            digest.update(f"{manifest}\0{found}\n".encode())
        return digest.hexdigest()


def hash_sources(
    roots: Sequence[Path], listings: Sequence[Listing], report: Report, runner: ShardRunner = HERE
) -> list[HashedListing]:
    """Hash every listed image of the sources, with masks and manifests."""
    tell = _summed(report, sum(len(listing.files) for listing in listings))
    hashed = []
    for root, listing in zip(roots, listings, strict=True):
        digests = runner.map(HashWork(root), shards_of(listing.files, SHARD_IMAGES), tell)
        found = tuple(chain.from_iterable(digests))
        hashed.append(HashedListing(root, listing, found, manifest_digests(listing)))
    return hashed


def manifest_digests(listing: Listing) -> Digests:
    """Return the digests of a listing's manifests."""
    return tuple(file_digest(Path(manifest)) for manifest in listing.manifests)


def check_sources(
    store: ContentStore,
    hashed: Sequence[HashedListing],
    limits: ImageLimits,
    report: Report,
    runner: ShardRunner = HERE,
) -> list[CheckedFiles]:
    """Check every image of the source, and of the test source when there is one.

    What stands in both is tested on, not trained on: it is left out of the first, as a finding.

    Raises:
        SourceChanged: when a file is not as it was when it was hashed.
    """
    tell = _summed(report, sum(len(one.digests) for one in hashed))
    checked = [
        read_shards(list(runner.map(CheckWork(store, one.root, limits), shards_of(one.files, SHARD_IMAGES), tell)))
        for one in hashed
    ]
    return [_without_test_images(*checked), checked[1]] if len(checked) == 2 else checked


def _without_test_images(train: CheckedFiles, test: CheckedFiles) -> CheckedFiles:
    tested = {entry.sha256: entry.source_ref for entry in test.entries}
    findings = [
        Finding(
            code="WARNING_IMAGE_IN_TEST_SOURCE",
            source_ref=entry.source_ref,
            message=f"the same bytes stand in the test source as {tested[entry.sha256]}; it is tested on, "
            "not trained on",
        )
        for entry in train.entries
        if entry.sha256 in tested
    ]
    pairs = zip(train.entries, train.thumbnails, strict=True)
    kept = [(entry, small) for entry, small in pairs if entry.sha256 not in tested]
    entries, thumbnails = tuple(entry for entry, _ in kept), tuple(small for _, small in kept)
    return CheckedFiles(entries, thumbnails, (*train.findings, *findings))


def _summed(report: Report, total: int) -> Callable[[int], None]:
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        report(done, total)

    return tell
