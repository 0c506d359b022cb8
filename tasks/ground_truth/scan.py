"""A large manifest checked on several processes, its outcome in packed arrays.

Each process takes a byte range; this one takes the first itself. A million lines end as 20 bytes each.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from tasks.errors import DataError, EnvironmentFailed
from tasks.ground_truth.draft import LabelSet
from tasks.ground_truth.limits import LIMITS, Mode
from tasks.ground_truth.lines import DIGEST_BYTES, duplicate_of, parse_line
from tasks.ground_truth.problems import Problem
from tasks.ground_truth.scan_range import (
    FIRST_LABEL_SET,
    IGNORED,
    INVALID,
    RangeScan,
    load,
    problem_record,
    scan_range,
)
from tasks.ground_truth.statistics import ManifestStatistics, fits, note_bucket, other_use_case
from tasks.ground_truth.stream import raw_lines

MIN_RANGE_BYTES = 1 << 22
"""Below this, a process costs more than it saves."""
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class ManifestScan:
    """The outcome of a scan of n usable lines; a line is usable when valid and of the manifest's use case.

    Attributes:
        statistics: for the manifest summary.
        digests: (n, 16) uint8, of the lines' source-refs, each once.
        strata: (n,) uint32, places in `label_sets`.
        line_numbers: (n,) uint32, from 1 on, ascending.
        label_sets: the labels of images, each combination once; all have lines.
        problem_counts: number of problems by code.
    """

    statistics: ManifestStatistics
    digests: NDArray[np.uint8]
    strata: NDArray[np.uint32]
    line_numbers: NDArray[np.uint32]
    label_sets: tuple[LabelSet, ...]
    problem_counts: Counter[str]


def scan_manifest(path: Path, mode: Mode, processes: int = 2, *, problems_path: Path | None = None) -> ManifestScan:
    """Read and check a manifest.

    Args:
        path: the manifest.
        mode: what is accepted.
        processes: how many work at most, this one included.
        problems_path: file to write all problems to, as JSON Lines of `line` (from 1 on), `source_ref`, `code`,
            `message` and `scope`; none are kept otherwise, only counted. Problems that only other lines show
            (duplicates, another use case) come last.

    Raises:
        DataError: when the manifest cannot be read.
        EnvironmentFailed: when a process died.
    """
    try:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keeneye-scan-")))
            problems = stack.enter_context(problems_path.open("wb")) if problems_path else None
            scans = _scan_ranges(path, mode, processes, folder, problems)
            return _merge(path, mode, scans, problems)
    except OSError as error:
        raise DataError(f"manifest {path} cannot be scanned ({error}); check the file and the disk") from error


def _scan_ranges(path: Path, mode: Mode, processes: int, folder: Path, problems: BinaryIO | None) -> list[RangeScan]:
    size = path.stat().st_size
    count = max(1, min(processes, size // MIN_RANGE_BYTES))
    bounds = [size * place // count for place in range(count + 1)]
    workers: list[tuple[subprocess.Popen[bytes], Path]] = []
    try:
        for place in range(1, count):
            own = folder / str(place)
            own.mkdir()
            workers.append((_start(path, bounds[place], bounds[place + 1], mode, own), own))
        scans = [scan_range(path, 0, bounds[1], mode, problems)]
        for worker, own in workers:
            scans.append(_collect(worker, own, problems))
        return scans
    finally:
        for worker, _ in workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait()


def _start(path: Path, start: int, stop: int, mode: Mode, folder: Path) -> "subprocess.Popen[bytes]":
    inherited = os.environ.get("PYTHONPATH")
    search = os.pathsep.join([str(_PACKAGE_ROOT), *([inherited] if inherited else [])])
    command = [sys.executable, "-m", "tasks.ground_truth.scan_range", str(path.resolve())]
    with (folder / "stderr").open("wb") as stderr:
        return subprocess.Popen(
            [*command, str(start), str(stop), mode, str(folder)],
            env=os.environ | {"PYTHONPATH": search},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )


def _collect(worker: "subprocess.Popen[bytes]", folder: Path, problems: BinaryIO | None) -> RangeScan:
    if worker.wait() != 0:
        said = (folder / "stderr").read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
        raise EnvironmentFailed(
            f"a process that read part of the manifest ended ({said or worker.returncode}); try again"
        )
    if problems is not None:
        with (folder / "problems").open("rb") as own:
            shutil.copyfileobj(own, problems)
    return load(folder)


def _merge(path: Path, mode: Mode, scans: list[RangeScan], problems: BinaryIO | None) -> ManifestScan:
    statistics = ManifestStatistics(path.name, path.stat().st_size, error_line_numbers=array("I"))
    for scan in scans:
        statistics.terminal_lines += scan.statistics.terminal_lines
        statistics.error_line_numbers.extend(scan.statistics.error_line_numbers)
        for bucket in scan.statistics.buckets:
            note_bucket(statistics, bucket)
    problem_counts = sum((scan.problem_counts for scan in scans), Counter[str]())
    codes, digests, label_sets = _join(scans)
    late = _LateProblems(*_duplicates(codes, digests))
    is_used = codes >= FIRST_LABEL_SET
    codes[late.lines - 1] = IGNORED
    _count_codes(statistics, codes, label_sets)
    if LIMITS[mode].is_strict:
        late = _with_other_use_case(late, statistics, codes, label_sets)
        codes[late.lines - 1] = IGNORED
    problem_counts.update(problem.code for _, problem in late.items(statistics))
    if problems is not None:
        _write_late(path, mode, late, statistics, problems)
    digests = digests[codes[is_used] >= FIRST_LABEL_SET]
    strata, present = _compacted(codes, len(label_sets))
    line_numbers = np.flatnonzero(codes >= FIRST_LABEL_SET).astype(np.uint32) + 1
    return ManifestScan(
        statistics, digests, strata, line_numbers, tuple(label_sets[place] for place in present), problem_counts
    )


@dataclass(frozen=True, slots=True)
class _LateProblems:
    """Lines, ascending from 1 on, that others make ignored: seconds of `firsts`, or of another use case (0)."""

    lines: NDArray[np.int64]
    firsts: NDArray[np.int64]

    def items(self, statistics: ManifestStatistics) -> Iterator[tuple[int, Problem]]:
        other = other_use_case(statistics.use_case)
        for line, first in zip(self.lines, self.firsts, strict=True):
            yield int(line), duplicate_of(int(first)) if first else other


def _join(scans: list[RangeScan]) -> tuple[NDArray[np.uint32], NDArray[np.uint8], list[LabelSet]]:
    places: dict[LabelSet, int] = {}
    codes = []
    for scan in scans:
        shared = [FIRST_LABEL_SET + places.setdefault(labels, len(places)) for labels in scan.label_sets]
        codes.append(np.array([INVALID, IGNORED, *shared], np.uint32)[np.asarray(scan.codes)])
    digests = np.concatenate([np.asarray(scan.digests, np.uint8) for scan in scans])
    return np.concatenate(codes), digests.reshape(-1, DIGEST_BYTES), list(places)


def _duplicates(codes: NDArray[np.uint32], digests: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the lines, ascending, whose image has an earlier valid line, and that earlier line."""
    words = digests.view(np.uint64)
    # Sorting is stable, so the first line of an image leads its run.
    order = np.lexsort((words[:, 1], words[:, 0]))
    is_same = (words[order[1:]] == words[order[:-1]]).all(axis=1)
    seconds = np.flatnonzero(is_same) + 1
    if not len(seconds):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    leaders = np.flatnonzero(np.concatenate([[True], ~is_same]))
    firsts = leaders[np.searchsorted(leaders, seconds, side="right") - 1]
    lines = np.flatnonzero(codes >= FIRST_LABEL_SET) + 1
    found, leading = lines[order[seconds]], lines[order[firsts]]
    ascending = np.argsort(found)
    return found[ascending], leading[ascending]


def _count_codes(statistics: ManifestStatistics, codes: NDArray[np.uint32], label_sets: list[LabelSet]) -> None:
    counts = np.bincount(codes, minlength=FIRST_LABEL_SET)
    statistics.total_lines = len(codes)
    statistics.invalid_lines = int(counts[INVALID])
    statistics.ignored_lines = int(counts[IGNORED])
    for labels, count in zip(label_sets, counts[FIRST_LABEL_SET:].tolist(), strict=False):
        if count:
            statistics.label_sets[labels] = count


def _with_other_use_case(
    late: _LateProblems, statistics: ManifestStatistics, codes: NDArray[np.uint32], label_sets: list[LabelSet]
) -> _LateProblems:
    is_other = np.array([False, False, *(not fits(labels, statistics.use_case) for labels in label_sets)])
    others = np.flatnonzero(is_other[codes]) + 1
    lines = np.concatenate([late.lines, others])
    firsts = np.concatenate([late.firsts, np.zeros(len(others), np.int64)])
    ascending = np.argsort(lines)
    return _LateProblems(lines[ascending], firsts[ascending])


def _write_late(
    path: Path, mode: Mode, late: _LateProblems, statistics: ManifestStatistics, problems: BinaryIO
) -> None:
    """Write the late problems; their lines are read once more for the references, which were not kept."""
    items = late.items(statistics)
    wanted = next(items, None)
    with path.open("rb") as stream:
        for number, text in enumerate(raw_lines(stream, sys.maxsize, LIMITS[mode].max_line_bytes), start=1):
            if wanted is None:
                return
            if number == wanted[0]:
                problems.write(problem_record(number, parse_line(text or b"", mode).source_ref, wanted[1]))
                wanted = next(items, None)


def _compacted(codes: NDArray[np.uint32], label_sets: int) -> tuple[NDArray[np.uint32], list[int]]:
    """Return the label sets of usable lines, numbered without gaps, and which those are."""
    used = codes[codes >= FIRST_LABEL_SET] - FIRST_LABEL_SET
    is_present = np.bincount(used, minlength=label_sets) > 0
    numbers = (np.cumsum(is_present) - 1).astype(np.uint32)
    return numbers[used], np.flatnonzero(is_present).tolist()
