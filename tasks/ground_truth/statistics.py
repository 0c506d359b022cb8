"""What is counted of a manifest's lines."""

from collections import Counter
from collections.abc import MutableSequence
from dataclasses import dataclass, field

from tasks.ground_truth.draft import LabelSet
from tasks.ground_truth.limits import UseCase
from tasks.ground_truth.lines import ParsedLine, bucket_of
from tasks.ground_truth.problems import TERMINAL_CODES, Problem

MAX_BUCKETS = 5
"""More than one is an error; so many are named."""


@dataclass(slots=True)
class ManifestStatistics:
    """What is counted of a manifest; every line once, as valid, invalid or ignored.

    Attributes:
        name: of the file.
        file_bytes: its size.
        total_lines: blank ones too.
        invalid_lines: with a fatal problem.
        ignored_lines: with nothing to learn from, and second lines of an image.
        terminal_lines: those that would never enter a dataset of the managed service.
        error_line_numbers: lines with an error anywhere, from 1 on, ascending.
        label_sets: labels of an image to the number of valid lines that have them.
        buckets: S3 buckets of valid lines, each once; the first few.
    """

    name: str = ""
    file_bytes: int = 0
    total_lines: int = 0
    invalid_lines: int = 0
    ignored_lines: int = 0
    terminal_lines: int = 0
    error_line_numbers: MutableSequence[int] = field(default_factory=list)
    label_sets: Counter[LabelSet] = field(default_factory=Counter)
    buckets: list[str] = field(default_factory=list)

    @property
    def valid_lines(self) -> int:
        """Lines that say something of their image, whatever the use case."""
        return self.total_lines - self.invalid_lines - self.ignored_lines

    @property
    def use_case(self) -> UseCase:
        """What most valid lines are good for; as many of either kind make it boxes, which say more."""
        if not self.label_sets:
            return "NOT_DETERMINED"
        only_labels = sum(count for labels, count in self.label_sets.items() if labels.located is None)
        only_boxes = sum(count for labels, count in self.label_sets.items() if not labels.image_level)
        return "IMAGE_LEVEL_LABELS" if only_labels > only_boxes else "OBJECT_LOCALIZATION"


def fits(labels: LabelSet, use_case: UseCase) -> bool:
    """Whether a line with these labels can be used in the use case."""
    return labels.located is not None if use_case == "OBJECT_LOCALIZATION" else bool(labels.image_level)


def other_use_case(use_case: UseCase) -> Problem:
    """Return what is said of a line that the use case of its manifest has no place for."""
    message = f"most lines are for {use_case}, this one is not; keep the two kinds in manifests of their own"
    return Problem("WARNING_OTHER_USE_CASE", message)


def tally(statistics: ManifestStatistics, parsed: ParsedLine) -> None:
    """Count one more line."""
    tally_problems(statistics, parsed)
    if parsed.status == "valid":
        statistics.label_sets[parsed.label_set] += 1
    elif parsed.status == "invalid":
        statistics.invalid_lines += 1
    else:
        statistics.ignored_lines += 1


def note_bucket(statistics: ManifestStatistics, bucket: str) -> None:
    """Note the bucket of a valid line, if it is new and not one too many."""
    if bucket not in statistics.buckets and len(statistics.buckets) < MAX_BUCKETS:
        statistics.buckets.append(bucket)


def tally_problems(statistics: ManifestStatistics, parsed: ParsedLine) -> None:
    """Count one more line, but not as what."""
    statistics.total_lines += 1
    if parsed.source_ref.startswith("s3://") and parsed.status == "valid":
        note_bucket(statistics, bucket_of(parsed.source_ref))
    if parsed.problems and any(problem.is_error for problem in parsed.problems):
        statistics.error_line_numbers.append(statistics.total_lines)
        statistics.terminal_lines += any(problem.code in TERMINAL_CODES for problem in parsed.problems)
