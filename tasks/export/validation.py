"""The manifest summary and the annotated manifests of an export, in the managed service's own shape.

Of a source with manifests, its own lines are annotated. Of any other, the lines are those that were written, and one
with nothing but the reference for each image that was left out because of an error.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.dataset.entries import SPLITS, Split
from tasks.dataset.findings import Finding
from tasks.export.formats import Export
from tasks.export.records import SUMMARY_FILE
from tasks.ground_truth.annotate import write_annotated
from tasks.ground_truth.limits import LIMITS, Mode
from tasks.ground_truth.lines import parse_line
from tasks.ground_truth.manifests import BOXES_ATTRIBUTE, manifest_line
from tasks.ground_truth.problems import Problem
from tasks.ground_truth.read import is_of_line, message_without_line
from tasks.ground_truth.summary import manifest_summary
from tasks.ingest.records import STATED_REFERENCES_FILE, IngestedImages
from tasks.vision.images import IMAGE_SUFFIXES

TRAINING_FILE = "training_manifest_with_validation.json"
TESTING_FILE = "testing_manifest_with_validation.json"
_OF_A_REFERENCE = frozenset({"ERROR_OUTSIDE_SOURCE", "ERROR_INVALID_SOURCE_REF_FORMAT"})
"""Codes that may mean that no file was found for a line, which the line alone does not show."""
_ADVICE = {"ERROR_INVALID_SOURCE_REF_FORMAT": "name the images' place as reference_prefix, such as s3://bucket/photos/"}


def write_validation(
    export: Export, images: IngestedImages, findings: Sequence[Finding], mode: Mode
) -> tuple[str, ...]:
    """Write summary and annotated manifests into the export's folder.

    Returns:
        A sentence for each rule of the managed service that the dataset as a whole breaks; none in `open` mode.
    """
    training, testing = export.folder / "training.manifest", export.folder / "testing.manifest"
    tested_on = images.test_annotation_files
    trained_on = [path for path in images.annotation_files if path not in tested_on]
    # Two sources may have files of the same references: of each, its own findings and images.
    of_source = _Part(export, ("train", "validation") if images.test_root else SPLITS, findings, in_test_source=False)
    of_test_source = _Part(export, ("test",), findings, in_test_source=True)
    # One of source and test source may have manifests and the other none.
    if trained_on:
        _gather(trained_on, training)
    else:
        _write_lines(export, ("train", "validation"), training)
        _write_left_out(of_source, training)
    if tested_on:
        _gather(tested_on, testing)
    elif images.test_root or not trained_on:
        _write_lines(export, ("test",), testing)
        _write_left_out(of_test_source, testing)
    stated_ref = stated_references(images)
    problems = _problems_by_reference(of_source, stated_ref)
    tested_problems = _problems_by_reference(of_test_source, stated_ref) if images.test_root else problems
    trained = write_annotated(training, export.folder / TRAINING_FILE, mode, problems)
    tested = write_annotated(testing, export.folder / TESTING_FILE, mode, tested_problems) if testing.exists() else None
    summary = manifest_summary(trained, tested, mode)
    (export.folder / SUMMARY_FILE).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    for lines in (training, testing):
        lines.unlink(missing_ok=True)
    return tuple(_reasons(summary)) if LIMITS[mode].is_strict else ()


class _Part:
    """What one of two sources gave: references of the images that are used, and the findings."""

    def __init__(
        self, export: Export, splits: Iterable[Split], findings: Iterable[Finding], *, in_test_source: bool
    ) -> None:
        self.prefix = export.reference_prefix
        self.used = {entry.source_ref for split in splits for entry in export.divided[split]}
        self.findings = [finding for finding in findings if finding.in_test_source == in_test_source]

    @property
    def left_out(self) -> set[str]:
        """Images that have an error and are not used; findings may also be of annotation files."""
        named = {finding.source_ref for finding in self.findings if finding.severity == "error"}
        return {ref for ref in named if PurePosixPath(ref).suffix.lower() in IMAGE_SUFFIXES} - self.used


def line_findings(export: Export, mode: Mode) -> list[Finding]:
    """Return what the managed service would say of the lines written: a finding for each code, at its first image.

    In `open` mode nothing, for what `open` says of an image was found at ingest.
    """
    if not LIMITS[mode].is_strict:
        return []
    first: dict[str, tuple[str, str]] = {}
    found: dict[str, set[str]] = defaultdict(set)
    for source_ref, line in _lines(export, SPLITS):
        for problem in parse_line(line.encode("utf-8"), mode).problems:
            # What is said of an attribute without being an error is said of its line too.
            if problem.is_error or not problem.scope:
                first.setdefault(problem.code, (source_ref, problem.message))
                found[problem.code].add(source_ref)
    total = sum(len(export.divided[split]) for split in SPLITS)
    return [
        Finding(
            code=code,
            source_ref=source_ref,
            message=f"the managed service says of {len(found[code])} of {total} lines, this image's first: {message}; "
            + _ADVICE.get(code, f"see {TRAINING_FILE} and {TESTING_FILE}"),
        )
        for code, (source_ref, message) in sorted(first.items())
    ]


def _reasons(summary: Mapping[str, Any]) -> Iterator[str]:
    for name, statistics in summary["statistics"].items():
        for error in statistics["errors"]:
            yield f"{error['code']} of the {name} manifest: {error['message']}"
    for error in summary["errors"]:
        yield f"{error['code']}: {error['message']}"


def _gather(manifests: Iterable[str], joined: Path) -> None:
    """Join manifests, whose last lines may lack a line break."""
    with joined.open("wb") as target:
        for manifest in manifests:
            with Path(manifest).open("rb") as source:
                last = b"\n"
                for last in iter(lambda: source.read(1 << 20), b""):
                    target.write(last)
            target.write(b"" if last.endswith(b"\n") else b"\n")


def _write_lines(export: Export, splits: Iterable[Split], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(line + "\n" for _, line in _lines(export, splits))


def _write_left_out(part: _Part, path: Path) -> None:
    with path.open("a", encoding="utf-8", newline="\n") as stream:
        for ref in sorted(part.left_out):
            stream.write(json.dumps({"source-ref": part.prefix + ref}, ensure_ascii=False) + "\n")


def _lines(export: Export, splits: Iterable[Split]) -> Iterator[tuple[str, str]]:
    """Yield each image's path and its line."""
    class_ids = {label: index for index, label in enumerate(export.labels)}
    for split in splits:
        for entry in export.divided[split]:
            reference = export.reference(entry)
            line = manifest_line(entry, class_ids, export.job_name, reference, with_service_key=export.with_service_key)
            yield entry.source_ref, line


def stated_references(images: IngestedImages) -> dict[str, str]:
    """Return, by path, the references that a source's own manifests state; empty for other sources."""
    path = Path(images.entry_path) / STATED_REFERENCES_FILE
    stated: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return stated


def _problems_by_reference(part: _Part, stated_ref: Mapping[str, str]) -> dict[str, list[Problem]]:
    """Return what was found of each image and is not to be seen in its line, by the line's reference.

    `stated_ref` holds references as a source's own manifests state them; empty when the lines are the export's.
    """
    problems: dict[str, list[Problem]] = defaultdict(list)
    for finding in part.findings:
        # The annotation of the line says it again.
        if is_of_line(finding) and finding.code not in _OF_A_REFERENCE:
            continue
        # Of an image that is used, an error cost a box and not the line.
        scope = (BOXES_ATTRIBUTE,) if finding.source_ref in part.used else ()
        own_ref = finding.source_ref if stated_ref else part.prefix + finding.source_ref
        problem = Problem(finding.code, message_without_line(finding), scope)
        problems[stated_ref.get(finding.source_ref, own_ref)].append(problem)
    return problems
