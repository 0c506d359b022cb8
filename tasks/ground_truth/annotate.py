"""Annotated manifests: the input's lines with what is wrong in the place where it is wrong.

The managed service calls them validation manifests (Custom Labels developer guide, "Getting the validation results");
they may be fed back as input.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from tasks.ground_truth.attribute import METADATA
from tasks.ground_truth.limits import LIMITS, Mode
from tasks.ground_truth.lines import ParsedLine, ignored
from tasks.ground_truth.manifests import BOXES_ATTRIBUTE
from tasks.ground_truth.problems import Problem, Scope
from tasks.ground_truth.scan import scan_manifest
from tasks.ground_truth.statistics import ManifestStatistics, fits, other_use_case, tally
from tasks.ground_truth.stream import judged_lines

STALE_KEYS = frozenset({"errors", "warnings", "cl-errors"})
STALE_LINE_KEYS = STALE_KEYS | {"cl-metadata"}

_NO_EXTRA: Mapping[str, Sequence[Problem]] = {}


def annotated_line(parsed: ParsedLine, extra: Iterable[Problem] = ()) -> str:
    """Return a line as one JSON line, without line break, with `errors` and `warnings` where they belong.

    Each is a list of `{"code", "message"}` at the line, the attribute, the annotation or the metadata. What an
    attribute cannot hold, because its value is a number, stands in its metadata or else at the line. Older verdicts
    are removed. A line that is no JSON object is replaced by one that holds only the error.
    """
    line = _without_verdicts(parsed.value or {})
    for problem in (*parsed.problems, *extra):
        key = "errors" if problem.is_error else "warnings"
        verdict = {"code": problem.code, "message": problem.message}
        _holder(line, problem.scope).setdefault(key, []).append(verdict)
    return orjson.dumps(line).decode()


def write_annotated(
    source: Path, target: Path, mode: Mode, extra_by_source_ref: Mapping[str, Sequence[Problem]] = _NO_EXTRA
) -> ManifestStatistics:
    """Write each line of a manifest, annotated; return what was counted.

    Args:
        source: the manifest.
        target: file to write; the line of number n is that of number n in `source`.
        mode: whose limits hold.
        extra_by_source_ref: further problems by reference as stated, such as those of the image files.

    Raises:
        OSError: when a file cannot be read or written.
        DataError: when the manifest cannot be counted.
        EnvironmentFailed: when a process that counts died.
    """
    if extra_by_source_ref:
        # A scan's processes know nothing of the images.
        statistics = count_lines(source, mode, extra_by_source_ref)
    else:
        statistics = scan_manifest(source, mode).statistics
    with target.open("w", encoding="utf-8", newline="\n") as stream:
        for parsed in judged_lines(source, mode, extra_by_source_ref):
            if LIMITS[mode].is_strict and parsed.status == "valid" and not fits(parsed.label_set, statistics.use_case):
                parsed = ignored(parsed, other_use_case(statistics.use_case))
            stream.write(annotated_line(parsed) + "\n")
    return statistics


def count_lines(
    source: Path, mode: Mode, extra_by_source_ref: Mapping[str, Sequence[Problem]] = _NO_EXTRA
) -> ManifestStatistics:
    """Count the lines of a manifest, one process and in order; see `tasks.ground_truth.scan` for large ones.

    Raises:
        OSError: when the file cannot be read.
    """
    statistics = ManifestStatistics(name=source.name, file_bytes=source.stat().st_size)
    for parsed in judged_lines(source, mode, extra_by_source_ref):
        tally(statistics, parsed)
    return statistics


def _without_verdicts(value: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a line as deep as verdicts stand in it, and leave them out; foreign keys stay as they are."""
    line = {key: item for key, item in value.items() if key not in STALE_LINE_KEYS}
    for key in list(line):
        item = line[key]
        if isinstance(item, dict) and (key.endswith(METADATA) or f"{key}{METADATA}" in line or "annotations" in item):
            line[key] = _fresh(item)
            annotations = line[key].get("annotations")
            if isinstance(annotations, list):
                line[key]["annotations"] = [_fresh(one) if isinstance(one, dict) else one for one in annotations]
    return line


def _fresh(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key not in STALE_KEYS}


def _holder(line: dict[str, Any], scope: Scope) -> dict[str, Any]:
    """Return the innermost object on the way to `scope` that can hold a verdict."""
    for place in _places(line, scope):
        if isinstance(place, dict):
            return place
    return line


def _places(line: dict[str, Any], scope: Scope) -> Iterator[object]:
    if len(scope) > 1:
        yield _at(line, scope)
    if scope:
        yield line.get(str(scope[0]))
        yield line.get(f"{scope[0]}{METADATA}")
    if scope == (BOXES_ATTRIBUTE,) and BOXES_ATTRIBUTE not in line:
        # Who checks the image knows that a box was lost, but not how the line calls its boxes.
        names = [key for key, item in line.items() if isinstance(item, dict) and "annotations" in item]
        # An attribute has a partner, where any has one; the others are their owner's.
        yield from (line[name] for name in sorted(names, key=lambda name: f"{name}{METADATA}" not in line))


def _at(line: object, scope: Scope) -> object:
    for step in scope:
        try:
            line = line[step]  # type: ignore[index] # what cannot be indexed is caught
        except (TypeError, KeyError, IndexError):
            return None
    return line
