"""Read one source or two (images, test images) into an index of usable images with findings."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.dataset.entries import ImageEntry
from tasks.dataset.findings import Finding
from tasks.errors import DataError
from tasks.ingest.checks import THREADS, ImageLimits, check_files
from tasks.ingest.layouts import ListedFile, Listing


@dataclass(frozen=True, slots=True)
class CheckedSource:
    """A source after its checks."""

    entries: tuple[ImageEntry, ...]
    findings: tuple[Finding, ...]


def content_digest(root: Path, listing: Listing) -> str:
    """SHA-256 over layout, references, labels, masks and the bytes of every listed file.

    Hashing reads everything once, at the disk's speed; a cheaper stand-in (sizes and dates) would let a changed
    picture pass unseen.
    """
    digest = hashlib.sha256(listing.layout.encode())
    with ThreadPoolExecutor(THREADS) as pool:
        for text in pool.map(lambda file: _describe(root, file), listing.files):
            digest.update(text.encode("utf-8"))
    for finding in listing.findings:
        digest.update(finding.model_dump_json().encode("utf-8"))
    return digest.hexdigest()


def check_source(
    root: Path, files: Sequence[ListedFile], limits: ImageLimits, report: Callable[[int, int], None]
) -> CheckedSource:
    """Check every listed file of a source."""
    entries, findings = check_files(root, files, limits, report)
    return CheckedSource(tuple(entries), tuple(findings))


def without_test_images(train: CheckedSource, test: CheckedSource) -> CheckedSource:
    """Leave out of `train` what also stands in `test`, as findings: no image is trained on and tested on."""
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
    kept = tuple(entry for entry in train.entries if entry.sha256 not in tested)
    return replace(train, entries=kept, findings=(*train.findings, *findings))


def require_enough_valid(listed: int, invalid: int, max_invalid_fraction: float, findings_path: str) -> None:
    """Refuse a source with too many bad files.

    Raises:
        DataError: when more than `max_invalid_fraction` of the listed files are bad; it names the findings file.
    """
    if invalid > max_invalid_fraction * listed:
        raise DataError(
            f"{invalid} of {listed} files are bad ({invalid / listed:.0%}), more than the {max_invalid_fraction:.0%} "
            f"that data.max_invalid_fraction allows; see {findings_path}, then repair or remove them",
            findings_path=findings_path,
        )


def _describe(root: Path, file: ListedFile) -> str:
    parts = [file.source_ref, file.label, file.given_split, _file_digest(root / file.source_ref)]
    if file.mask_ref:
        parts += [file.mask_ref, _file_digest(root / file.mask_ref)]
    return "\0".join(parts) + "\n"


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        return f"unreadable: {error.errno}"
