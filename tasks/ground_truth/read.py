"""A Ground Truth manifest as annotated images and findings."""

import posixpath
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tasks.annotations.annotated import AnnotatedImage, Reading, StatedBox
from tasks.annotations.references import ReferenceResolver, RefusedReference
from tasks.dataset.entries import Split
from tasks.dataset.findings import Finding
from tasks.errors import DataError
from tasks.ground_truth.draft import BoxRow, LabelSet
from tasks.ground_truth.limits import LIMITS, Mode, UseCase
from tasks.ground_truth.lines import ParsedLine, duplicate_of, ignored, with_problems
from tasks.ground_truth.problems import Problem
from tasks.ground_truth.statistics import ManifestStatistics, fits, other_use_case, tally
from tasks.ground_truth.stream import BLOCK_BYTES, read_lines
from tasks.ground_truth.summary import file_problems
from tasks.vision.masks import MaskClass

SUFFIXES = (".manifest", ".jsonl", ".json")
TRUE_NEGATIVE_LABEL = "normal"
"""Lookout for Vision's name for what has no anomaly. Its manifests give masks to the anomalies alone."""
_KEY = b'"source-ref"'
_OF_A_LINE = re.compile(r"\Aline [0-9]+: ")


def is_manifest(path: Path) -> bool:
    """Whether a file looks like a manifest, by its suffix and a key in it; False for one that cannot be read.

    The key may come late: a manifest whose first lines are garbage is still one, with findings.
    """
    if path.suffix.lower() not in SUFFIXES:
        return False
    try:
        with path.open("rb") as stream:
            window = b""
            while block := stream.read(BLOCK_BYTES):
                window = window[-len(_KEY) :] + block  # the key may lie across the seam of two blocks
                if _KEY in window:
                    return True
    except OSError:
        return False
    return False


def is_blank_manifest(path: Path) -> bool:
    """Whether a file is named `.manifest` and has nothing but white space; False for one that cannot be read."""
    if path.suffix.lower() != ".manifest":
        return False
    try:
        with path.open("rb") as stream:
            return all(block.isspace() for block in iter(lambda: stream.read(BLOCK_BYTES), b""))
    except OSError:
        return False


def read_manifest_file(
    path: Path,
    resolver: ReferenceResolver,
    *,
    base: str,
    mode: Mode,
    given_split: Split | Literal[""] = "",
) -> Reading:
    """Read a manifest of any dialect.

    Args:
        path: the manifest; it is streamed, and opened for reading only.
        resolver: finds the files that references mean.
        base: the manifest's folder, relative to the resolver's root.
        mode: what is accepted.
        given_split: the split of all its images; empty when it names none.

    Returns:
        The images, in the order of their lines, and a finding for everything that was left out. Of several valid
        lines of one image the first is used.

    Raises:
        DataError: when the file cannot be read.
    """
    manifest_ref = posixpath.join(base, path.name)
    try:
        statistics = ManifestStatistics(path.name, path.stat().st_size)
        if statistics.file_bytes > LIMITS[mode].max_manifest_bytes:
            return Reading((), tuple(_file_findings(statistics, mode, manifest_ref)))
        kept, findings = _read(path, resolver, base, mode, statistics)
    except OSError as error:
        raise DataError(f"manifest {path} cannot be read ({error}); check data.source") from error
    findings += _file_findings(statistics, mode, manifest_ref)
    if LIMITS[mode].is_strict:
        kept, dropped = _of_use_case(kept, statistics.use_case)
        findings += dropped
    images = _with_true_negatives([each.image for each in kept])
    return Reading(tuple(replace(image, given_split=given_split) for image in images), tuple(findings))


@dataclass(frozen=True, slots=True)
class _Kept:
    number: int
    labels: LabelSet
    image: AnnotatedImage


def _read(
    path: Path, resolver: ReferenceResolver, base: str, mode: Mode, statistics: ManifestStatistics
) -> tuple[list[_Kept], list[Finding]]:
    kept: dict[str, _Kept] = {}
    findings: list[Finding] = []
    for number, line in enumerate(read_lines(path, mode), start=1):
        parsed, image = _image_of(line, resolver, base)
        if image is not None:
            first = kept.setdefault(image.source_ref, _Kept(number, parsed.label_set, image))
            if first.number != number:
                parsed = ignored(parsed, duplicate_of(first.number))
        tally(statistics, parsed)
        source_ref = image.source_ref if image else parsed.source_ref or posixpath.join(base, path.name)
        findings += [_finding(problem, source_ref, number) for problem in parsed.problems]
    return list(kept.values()), findings


def _image_of(parsed: ParsedLine, resolver: ReferenceResolver, base: str) -> tuple[ParsedLine, AnnotatedImage | None]:
    """Return the image of a valid line; a reference that leads nowhere makes the line invalid."""
    if parsed.status != "valid":
        return parsed, None
    mask, mask_ref = parsed.segmentation, ""
    try:
        source_ref = resolver.resolve(parsed.source_ref, base)
        if mask is not None:
            mask_ref = resolver.resolve(mask.mask_ref, base)
    except RefusedReference as refused:
        return with_problems(parsed, [Problem(refused.code, str(refused))]), None
    image = AnnotatedImage(
        source_ref=source_ref,
        labels=parsed.labels,
        boxes=None if parsed.boxes is None else tuple(_stated(box) for box in parsed.boxes),
        group=parsed.given_group,
        mask_ref=mask_ref,
        mask_classes=tuple(MaskClass(*row) for row in mask.classes) if mask else (),
        stated_width=parsed.stated_width,
        stated_height=parsed.stated_height,
        confidences=parsed.confidences,
        creation_date=parsed.creation_date,
        job_name=parsed.job_name,
        is_human=parsed.is_human,
        stated_ref=parsed.source_ref,
        is_negative=not parsed.labels and parsed.boxes is None and mask is None,
    )
    return parsed, image


def _stated(box: BoxRow) -> StatedBox:
    return StatedBox(box.label, box.left, box.top, box.width, box.height, confidence=box.confidence)


def _with_true_negatives(images: list[AnnotatedImage]) -> list[AnnotatedImage]:
    """Return the images; where anomalies have masks, one without anomaly was looked at and has no boxes."""
    if not any(image.mask_ref for image in images):
        return images
    return [replace(image, boxes=()) if _is_true_negative(image) else image for image in images]


def _is_true_negative(image: AnnotatedImage) -> bool:
    return image.labels == (TRUE_NEGATIVE_LABEL,) and image.boxes is None and not image.mask_ref


def _of_use_case(kept: list[_Kept], use_case: UseCase) -> tuple[list[_Kept], list[Finding]]:
    fitting = [each for each in kept if fits(each.labels, use_case)]
    problem = other_use_case(use_case)
    dropped = [
        _finding(problem, each.image.source_ref, each.number) for each in kept if not fits(each.labels, use_case)
    ]
    return fitting, dropped


def _file_findings(statistics: ManifestStatistics, mode: Mode, manifest_ref: str) -> list[Finding]:
    return [_finding(problem, manifest_ref) for problem in file_problems(statistics, mode)]


def _finding(problem: Problem, source_ref: str, number: int = 0) -> Finding:
    place = f"line {number}: " if number else ""
    return Finding(code=problem.code, source_ref=source_ref, message=f"{place}{problem.message}")


def is_of_line(finding: Finding) -> bool:
    """Whether a finding is of one line of a manifest, and not of a manifest as a whole or of an image file."""
    return _OF_A_LINE.match(finding.message) is not None


def message_without_line(finding: Finding) -> str:
    """Return what a finding says, without the number of its line."""
    return _OF_A_LINE.sub("", finding.message)
