"""Check listed images: readable, whole, of usable size, as annotated, not seen before. Decides what is a finding."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from tasks.annotations.annotated import AnnotatedImage
from tasks.dataset.entries import ImageEntry
from tasks.dataset.findings import Finding
from tasks.dataset.groups import GROUP_PREFIX
from tasks.dataset.near_duplicates import thumbnail
from tasks.dataset.truth import Truth
from tasks.ground_truth.limits import LIMITS
from tasks.ingest.boxes import PlacedBoxes, place_boxes
from tasks.vision.images import SUFFIXES_BY_FORMAT, ImageError, ImageHeader, decode_rgb, read_header

MASK_CODE = "ERROR_INVALID_MASK"


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What counts as too small or too large, and which formats count (all that can be decoded, when empty).

    `max_aspect_ratio` is the longer side over the shorter; 0 sets no limit.
    """

    min_side_pixels: int
    max_megapixels: float
    max_file_megabytes: float
    max_side_pixels: int = 0
    max_aspect_ratio: float = 0.0
    formats: tuple[str, ...] = ()

    def as_strict_as_custom_labels(self) -> "ImageLimits":
        """Return these limits, narrowed to what the managed service accepts (developer guide, "Limits")."""
        service = LIMITS["aws"]
        shortest, longest = service.image_sides
        return ImageLimits(
            min_side_pixels=max(shortest, self.min_side_pixels),
            max_megapixels=self.max_megapixels,
            max_file_megabytes=min(15.0, self.max_file_megabytes),
            max_side_pixels=longest,
            max_aspect_ratio=service.max_aspect,
            formats=("PNG", "JPEG"),
        )


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """One file's outcome: an entry with its thumbnail when it is usable, and what was found."""

    entry: ImageEntry | None
    findings: tuple[Finding, ...]
    thumbnail: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class CheckedFiles:
    """All files' outcome: usable entries without duplicates, sorted by reference, each with its thumbnail.

    Thumbnails may lie in the store's files, and are read when they are used.
    """

    entries: tuple[ImageEntry, ...]
    thumbnails: tuple[NDArray[np.uint8], ...]
    findings: tuple[Finding, ...]


def check_file(root: Path, file: AnnotatedImage, limits: ImageLimits) -> CheckedFile:
    """Read, hash and decode one file, and hold its annotations against it."""
    try:
        data = _read(root, file.source_ref, limits)
        header = read_header(data)
        _check_header(header, limits)
        image = decode_rgb(data, max_megapixels=limits.max_megapixels)
    except ImageError as error:
        return CheckedFile(None, (_finding(error.code, file, str(error)),))
    height, width = image.shape[:2]
    findings = list(_suffix_findings(file.source_ref, header.format))
    try:
        placed = _placed(file, width, height)
        mask_sha256 = _mask_digest(root, file, limits)
    except ImageError as error:
        if error.code != MASK_CODE or file.boxes is None:
            return CheckedFile(None, (*findings, _finding(error.code, file, str(error))))
        # The boxes are known; without its mask the image is only drawn less well.
        findings.append(_finding("WARNING_INVALID_MASK", file, str(error)))
        file, mask_sha256 = replace(file, mask_ref="", mask_classes=()), ""
    findings += placed.findings
    truth = _truth(file, placed)
    if placed.are_all_lost or truth is None:
        findings.append(_useless_finding(file, placed))
        return CheckedFile(None, tuple(findings))
    digest = hashlib.sha256(data).hexdigest()
    entry = ImageEntry(
        source_ref=file.source_ref,
        sha256=digest,
        width=width,
        height=height,
        truth=truth,
        mask_ref=file.mask_ref,
        given_split=file.given_split,
        group=file.group.removeprefix(GROUP_PREFIX),  # as Keeneye's own manifests name them
        mask_classes=file.mask_classes,
        mask_sha256=mask_sha256,
        creation_date=file.creation_date,
        job_name=file.job_name,
        is_human=file.is_human,
    )
    return CheckedFile(entry, tuple(findings), thumbnail(image))


def drop_duplicates(entries: Iterable[ImageEntry]) -> tuple[list[ImageEntry], list[Finding]]:
    """Keep one of several files with the same bytes; keep none when their labels, boxes or masks differ.

    Of equal files that the source puts into different splits, the one to be tested on stays: what the test set
    holds must not be trained on.
    """
    by_content: dict[str, list[ImageEntry]] = defaultdict(list)
    for entry in entries:
        by_content[entry.sha256].append(entry)
    kept, findings = [], []
    for copies in by_content.values():
        copies.sort(key=lambda entry: (entry.given_split != "test", entry.source_ref))
        if len({(entry.truth, entry.mask_sha256, entry.mask_classes) for entry in copies}) > 1:
            findings += [_conflict_finding(entry, copies) for entry in copies]
            continue
        kept.append(copies[0])
        findings += [_duplicate_finding(entry, copies[0]) for entry in copies[1:]]
    return sorted(kept, key=lambda entry: entry.source_ref), findings


def leads_out(root: Path, reference: str) -> bool:
    """Whether a reference leads out of the root by a link; annotation files may name what no walk has looked at."""
    # As texts: objects for paths would take a third of the time that hashing a small file takes.
    real, top = os.path.realpath(os.path.join(root, reference)), os.path.join(root, "")  # noqa: PTH118
    return not f"{real}{os.sep}".startswith(top)


def _read(root: Path, reference: str, limits: ImageLimits) -> bytes:
    path = root / reference
    try:
        if leads_out(root, reference):
            raise ImageError("ERROR_OUTSIDE_SOURCE", f"{reference} leads out of {root}, where nothing is read")
        if not path.is_file():
            raise ImageError("ERROR_INVALID_IMAGE", f"there is no file {reference} in {root}; add it or name its place")
        size = path.stat().st_size
        if size > limits.max_file_megabytes * 1e6:
            message = f"the file has {size / 1e6:.1f} MB, more than {limits.max_file_megabytes:g} MB"
            raise ImageError("ERROR_FILE_TOO_LARGE", message)
        return path.read_bytes()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ImageError("ERROR_UNREADABLE_FILE", f"the file cannot be read: {why}") from error


def _check_header(header: ImageHeader, limits: ImageLimits) -> None:
    shorter, longer = sorted((header.width, header.height))
    size = f"the image has {header.width} x {header.height} pixels"
    if limits.formats and header.format not in limits.formats:
        message = f"the image is {header.format}; only {' and '.join(limits.formats)} are accepted"
        raise ImageError("ERROR_INVALID_IMAGE", message)
    if shorter < limits.min_side_pixels:
        message = f"{size}; its sides need {limits.min_side_pixels} at least"
        raise ImageError("ERROR_INVALID_IMAGE_DIMENSION", message)
    if limits.max_side_pixels and longer > limits.max_side_pixels:
        message = f"{size}; its sides may have {limits.max_side_pixels} at most"
        raise ImageError("ERROR_INVALID_IMAGE_DIMENSION", message)
    if limits.max_aspect_ratio and longer > limits.max_aspect_ratio * shorter:
        message = f"{size}; one side may be {limits.max_aspect_ratio:g} times the other at most"
        raise ImageError("ERROR_INVALID_IMAGE_DIMENSION", message)


def _placed(file: AnnotatedImage, width: int, height: int) -> PlacedBoxes:
    stated = (file.stated_width, file.stated_height)
    in_pixels = any(not box.is_relative for box in file.boxes or ())
    if in_pixels and all(stated) and stated != (width, height):
        raise ImageError(
            "ERROR_IMAGE_SIZE_DIFFERS",
            f"the boxes were drawn on {stated[0]} x {stated[1]} pixels, the upright image has {width} x {height}; draw "
            "them anew or restore the image",
        )
    return place_boxes(file, width, height)


def _mask_digest(root: Path, file: AnnotatedImage, limits: ImageLimits) -> str:
    if not file.mask_ref:
        return ""
    try:
        return hashlib.sha256(_read(root, file.mask_ref, limits)).hexdigest()
    except ImageError as error:
        raise ImageError(MASK_CODE, f"the mask {file.mask_ref} cannot be used: {error}") from error


def _truth(file: AnnotatedImage, placed: PlacedBoxes) -> Truth | None:
    boxes = placed.boxes
    if not (file.labels or file.mask_ref or file.is_negative) and boxes is None:
        return None
    given = dict(zip(file.labels, file.confidences or (1.0,) * len(file.labels), strict=True))
    labels = tuple(sorted({*file.labels, *(box.label for box in boxes or ())}))
    confidences = tuple(given.get(label, 1.0) for label in labels)
    return Truth(labels, boxes, confidences if any(one != 1.0 for one in confidences) else ())


def _useless_finding(file: AnnotatedImage, placed: PlacedBoxes) -> Finding:
    if placed.are_all_lost:
        return _finding("ERROR_NO_VALID_ANNOTATIONS", file, "none of the image's boxes can be used; draw them anew")
    return _finding(
        "WARNING_UNANNOTATED_RECORD", file, "nothing usable is said of the image; annotate it, or repair what is said"
    )


def _finding(code: str, file: AnnotatedImage, message: str) -> Finding:
    return Finding(code=code, source_ref=file.source_ref, message=message)


def _suffix_findings(source_ref: str, image_format: str) -> Iterable[Finding]:
    suffix = PurePosixPath(source_ref).suffix.lower()
    if suffix not in SUFFIXES_BY_FORMAT[image_format]:
        message = f"the name says {suffix}, the content is {image_format}; it is used, but rename it"
        yield Finding(code="WARNING_WRONG_SUFFIX", source_ref=source_ref, message=message)


def _duplicate_finding(entry: ImageEntry, kept: ImageEntry) -> Finding:
    message = f"the file has the same bytes as {kept.source_ref}, which is used instead"
    return Finding(code="WARNING_DUPLICATE_IMAGE", source_ref=entry.source_ref, message=message)


def _conflict_finding(entry: ImageEntry, copies: Sequence[ImageEntry]) -> Finding:
    others = ", ".join(f"{copy.source_ref} ({_told(copy.truth)})" for copy in copies if copy is not entry)
    message = (
        f"labelled {_told(entry.truth)}, but the same bytes are labelled, boxed or masked otherwise: {others}; none of "
        "them is used: delete the wrong ones"
    )
    return Finding(code="WARNING_CONFLICTING_LABELS", source_ref=entry.source_ref, message=message)


def _told(truth: Truth) -> str:
    boxes = f" with {len(truth.boxes)} box{'es' * (len(truth.boxes) > 1)}" if truth.boxes else ""
    return f"{truth.stratum or 'as having nothing'}{boxes}"
