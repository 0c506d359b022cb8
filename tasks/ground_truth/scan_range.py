"""The part of a scan that one process does: a byte range of a manifest, read and checked.

Run as a module by `tasks.ground_truth.scan`. Imports nothing heavy: every worker pays for it in time and memory.
"""

import sys
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import orjson

from tasks.ground_truth.draft import LabelSet
from tasks.ground_truth.limits import LIMITS, Mode
from tasks.ground_truth.lines import ParsedLine, digest_of, overlong_line, parse_line
from tasks.ground_truth.problems import Problem
from tasks.ground_truth.statistics import ManifestStatistics, tally_problems
from tasks.ground_truth.stream import BLOCK_BYTES, raw_lines, skip_rest_of_line

INVALID, IGNORED = 0, 1
FIRST_LABEL_SET = 2
"""Codes of lines; from here on they are places in the list of label sets, plus this."""


@dataclass(slots=True)
class RangeScan:
    """What is known of the lines of a range.

    Attributes:
        statistics: counts of problems only; lines are counted by their codes.
        codes: one for each line.
        digests: 16 bytes for each line that is valid, in their order.
        label_sets: labels to their place in the list.
        problem_counts: number of problems by code.
    """

    statistics: ManifestStatistics = field(default_factory=lambda: ManifestStatistics(error_line_numbers=array("I")))
    codes: "array[int]" = field(default_factory=lambda: array("I"))
    digests: bytearray = field(default_factory=bytearray)
    label_sets: dict[LabelSet, int] = field(default_factory=dict)
    problem_counts: Counter[str] = field(default_factory=Counter)


def scan_range(path: Path, start: int, stop: int, mode: Mode, problems: BinaryIO | None) -> RangeScan:
    """Read and check the lines that begin from byte `start` to before byte `stop`.

    Problems are written to `problems` as JSON Lines, see `problem_record`.

    Raises:
        OSError: when a file cannot be read or written.
    """
    scan = RangeScan()
    limits = LIMITS[mode]
    with path.open("rb", buffering=BLOCK_BYTES) as stream:
        before = _go_to_first_line(stream, start)
        for text in raw_lines(stream, stop, limits.max_line_bytes):
            parsed = overlong_line(mode) if text is None else parse_line(text, mode)
            _add(scan, parsed)
            if parsed.problems and problems is not None:
                number = before + len(scan.codes)
                problems.writelines(problem_record(number, parsed.source_ref, one) for one in parsed.problems)
    if before:
        numbers = scan.statistics.error_line_numbers
        scan.statistics.error_line_numbers = array("I", [before + number for number in numbers])
    return scan


def problem_record(number: int, source_ref: str, problem: Problem) -> bytes:
    """Return a problem of line `number` as a line of the problems file."""
    record = {
        "line": number,
        "source_ref": source_ref,
        "code": problem.code,
        "message": problem.message,
        "scope": problem.scope,
    }
    return orjson.dumps(record) + b"\n"


def _add(scan: RangeScan, parsed: ParsedLine) -> None:
    tally_problems(scan.statistics, parsed)
    for problem in parsed.problems:
        scan.problem_counts[problem.code] += 1
    if parsed.status == "valid":
        place = scan.label_sets.setdefault(parsed.label_set, len(scan.label_sets))
        scan.codes.append(FIRST_LABEL_SET + place)
        scan.digests += digest_of(parsed.source_ref)
    else:
        scan.codes.append(INVALID if parsed.status == "invalid" else IGNORED)


def _go_to_first_line(stream: BinaryIO, start: int) -> int:
    """Go to the first line that begins at `start` or later; return how many lines there are before it."""
    if start == 0:
        return 0
    count, left = 0, start - 1
    while left and (block := stream.read(min(left, BLOCK_BYTES))):
        count += block.count(b"\n")
        left -= len(block)
    skip_rest_of_line(stream)
    return count + 1


def save(scan: RangeScan, folder: Path) -> None:
    """Write a scan into a folder, for the process that asked for it."""
    (folder / "codes").write_bytes(scan.codes.tobytes())
    (folder / "digests").write_bytes(scan.digests)
    (folder / "error_lines").write_bytes(cast("array[int]", scan.statistics.error_line_numbers).tobytes())
    rest = {
        "label_sets": [tuple(labels) for labels in scan.label_sets],
        "problem_counts": scan.problem_counts,
        "buckets": scan.statistics.buckets,
        "terminal_lines": scan.statistics.terminal_lines,
    }
    (folder / "rest.json").write_bytes(orjson.dumps(rest))


def load(folder: Path) -> RangeScan:
    """Read what `save` wrote."""
    scan = RangeScan()
    rest = orjson.loads((folder / "rest.json").read_bytes())
    scan.codes.frombytes((folder / "codes").read_bytes())
    scan.digests = bytearray((folder / "digests").read_bytes())
    statistics = scan.statistics
    cast("array[int]", statistics.error_line_numbers).frombytes((folder / "error_lines").read_bytes())
    statistics.total_lines = len(scan.codes)
    statistics.terminal_lines = rest["terminal_lines"]
    statistics.buckets = rest["buckets"]
    for place, (image_level, located) in enumerate(rest["label_sets"]):
        scan.label_sets[LabelSet(tuple(image_level), None if located is None else tuple(located))] = place
    scan.problem_counts.update(rest["problem_counts"])
    return scan


def main(path: str, start: str, stop: str, mode: str, folder: str) -> None:
    """Scan a range and write what was found into `folder`."""
    with (Path(folder) / "problems").open("wb") as problems:
        save(scan_range(Path(path), int(start), int(stop), cast("Mode", mode), problems), Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
