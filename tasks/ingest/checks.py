"""Check listed files: readable, whole, of usable size, not seen before. Decides what is a finding."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tasks.dataset.entries import ImageEntry
from tasks.dataset.findings import Finding
from tasks.dataset.truth import Truth
from tasks.ingest.layouts import ListedFile
from tasks.vision.images import SUFFIXES_BY_FORMAT, ImageError, decode_rgb, read_header

THREADS = 4
"""Hashing and decoding release the interpreter's lock; twice two cores keep the disk busy too."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What counts as too small or too large."""

    min_side_pixels: int
    max_megapixels: float
    max_file_megabytes: float


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """One file's outcome: an entry when it is usable, and what was found."""

    entry: ImageEntry | None
    findings: tuple[Finding, ...]


def check_files(
    root: Path, files: Sequence[ListedFile], limits: ImageLimits, report: Callable[[int, int], None]
) -> tuple[list[ImageEntry], list[Finding]]:
    """Check all files of a source; `report(done, total)` is called as files finish.

    Returns:
        The usable entries without duplicates, sorted by source reference, and all findings.
    """
    entries: list[ImageEntry] = []
    findings: list[Finding] = []
    with ThreadPoolExecutor(THREADS) as pool:
        checked = pool.map(lambda file: check_file(root, file, limits), files)
        for done, outcome in enumerate(checked, start=1):
            findings += outcome.findings
            if outcome.entry:
                entries.append(outcome.entry)
            report(done, len(files))
    kept, duplicates = drop_duplicates(entries)
    return kept, findings + duplicates


def check_file(root: Path, file: ListedFile, limits: ImageLimits) -> CheckedFile:
    """Read, hash and decode one file."""
    try:
        data = _read(root / file.source_ref, limits)
        header = read_header(data)
        _check_size(header.width, header.height, limits)
        image = decode_rgb(data, max_megapixels=limits.max_megapixels)
    except ImageError as error:
        return CheckedFile(None, (Finding(code=error.code, source_ref=file.source_ref, message=str(error)),))
    digest = hashlib.sha256(data).hexdigest()
    entry = ImageEntry(
        source_ref=file.source_ref,
        sha256=digest,
        width=image.shape[1],
        height=image.shape[0],
        truth=Truth((file.label,)),
        mask_ref=file.mask_ref,
        given_split=file.given_split,
        group=digest,
    )
    return CheckedFile(entry, tuple(_suffix_findings(file.source_ref, header.format)))


def drop_duplicates(entries: Iterable[ImageEntry]) -> tuple[list[ImageEntry], list[Finding]]:
    """Keep one of several files with the same bytes; keep none when their labels differ.

    Of equal files that the source puts into different splits, the one to be tested on stays: what the test set
    holds must not be trained on.
    """
    by_content: dict[str, list[ImageEntry]] = defaultdict(list)
    for entry in entries:
        by_content[entry.sha256].append(entry)
    kept, findings = [], []
    for copies in by_content.values():
        copies.sort(key=lambda entry: (entry.given_split != "test", entry.source_ref))
        if len({entry.truth.labels for entry in copies}) > 1:
            findings += [_conflict_finding(entry, copies) for entry in copies]
            continue
        kept.append(copies[0])
        findings += [_duplicate_finding(entry, copies[0]) for entry in copies[1:]]
    return sorted(kept, key=lambda entry: entry.source_ref), findings


def _read(path: Path, limits: ImageLimits) -> bytes:
    try:
        size = path.stat().st_size
        if size > limits.max_file_megabytes * 1e6:
            message = f"the file has {size / 1e6:.1f} MB, more than {limits.max_file_megabytes:g} MB"
            raise ImageError("ERROR_FILE_TOO_LARGE", message)
        return path.read_bytes()
    except OSError as error:
        raise ImageError("ERROR_UNREADABLE_FILE", f"the file cannot be read: {error.strerror}") from error


def _check_size(width: int, height: int, limits: ImageLimits) -> None:
    if min(width, height) < limits.min_side_pixels:
        message = f"the image has {width} x {height} pixels; its sides need {limits.min_side_pixels} at least"
        raise ImageError("ERROR_INVALID_IMAGE_DIMENSION", message)


def _suffix_findings(source_ref: str, image_format: str) -> Iterable[Finding]:
    suffix = PurePosixPath(source_ref).suffix.lower()
    if suffix not in SUFFIXES_BY_FORMAT[image_format]:
        message = f"the name says {suffix}, the content is {image_format}; it is used, but rename it"
        yield Finding(code="WARNING_WRONG_SUFFIX", source_ref=source_ref, message=message)


def _duplicate_finding(entry: ImageEntry, kept: ImageEntry) -> Finding:
    message = f"the file has the same bytes as {kept.source_ref}, which is used instead"
    return Finding(code="WARNING_DUPLICATE_IMAGE", source_ref=entry.source_ref, message=message)


def _conflict_finding(entry: ImageEntry, copies: Sequence[ImageEntry]) -> Finding:
    others = ", ".join(f"{copy.source_ref} ({copy.truth.stratum})" for copy in copies if copy is not entry)
    message = (
        f"labelled {entry.truth.stratum}, but the same bytes stand under another label: {others}; none of them is "
        "used: delete the wrong ones"
    )
    return Finding(code="WARNING_CONFLICTING_LABELS", source_ref=entry.source_ref, message=message)
