"""Read one source or two (images, test images) into an index of usable images with findings."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import TypeAdapter

from tasks.annotations.annotated import AnnotatedImage
from tasks.dataset.findings import Finding
from tasks.ingest.checks import THREADS, CheckedFiles, ImageLimits, check_files, leads_out
from tasks.ingest.layouts import Listing

_IMAGE = TypeAdapter(AnnotatedImage)


def content_digest(root: Path, listing: Listing) -> str:
    """SHA-256 over the layout, what is said of every listed image, and the bytes of images, masks and manifests.

    Hashing reads everything once, at the disk's speed; a cheaper stand-in (sizes and dates) would let a changed
    picture pass unseen.
    """
    digest = hashlib.sha256(listing.layout.encode())
    with ThreadPoolExecutor(THREADS) as pool:
        for text in pool.map(lambda file: _describe(root, file), listing.files):
            digest.update(text.encode("utf-8"))
    for finding in listing.findings:
        digest.update(finding.model_dump_json().encode("utf-8"))
    # Manifests are read again when they are annotated, each with all its lines.
    for manifest in listing.manifests:
        digest.update(f"{manifest}\0{_file_digest(Path(manifest))}\n".encode())
    return digest.hexdigest()


def check_sources(
    roots: Sequence[Path], listings: Sequence[Listing], limits: ImageLimits, report: Callable[[int, int], None]
) -> list[CheckedFiles]:
    """Check every listed image of the source, and of the test source when there is one.

    What stands in both is tested on, not trained on: it is left out of the first, as a finding.
    """
    checked = [check_files(root, listing.files, limits, report) for root, listing in zip(roots, listings, strict=True)]
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


def _describe(root: Path, file: AnnotatedImage) -> str:
    refs = [ref for ref in (file.source_ref, file.mask_ref) if ref]
    digests = ["outside" if leads_out(root, ref) else _file_digest(root / ref) for ref in refs]
    return "\0".join([_IMAGE.dump_json(file).decode(), *digests]) + "\n"


def _file_digest(path: Path) -> str:
    try:
        # To open a pipe is to wait for one who writes.
        if not path.is_file():
            return "no file"
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        return f"unreadable: {type(error).__name__}"
