"""What is wrong with a manifest as a whole, and the manifest summary in the managed service's shape.

The service documents neither the base of line numbers nor how ignored lines enter the 20 % rule. Here the first line
is line 1, and the share of invalid lines is that among valid and invalid ones; a blank line is an invalid line.
Shape and codes: Custom Labels developer guide, "Understanding the manifest summary", "Terminal manifest content
errors".
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import Any

from tasks.ground_truth.limits import (
    LIMITS,
    MAX_INVALID_SHARE,
    MIN_IMAGES_PER_LABEL_FOR_SPLIT,
    MIN_LABEL_OVERLAP,
    Mode,
)
from tasks.ground_truth.problems import Problem, shown
from tasks.ground_truth.statistics import ManifestStatistics, fits


def manifest_summary(training: ManifestStatistics, testing: ManifestStatistics | None, mode: Mode) -> dict[str, Any]:
    """Return the manifest summary; without a testing manifest, part of the training one is to be tested on."""
    tested = testing or ManifestStatistics()
    train_errors = [*file_problems(training, mode), *label_problems(training, mode, is_training=True)]
    if testing is None:
        train_errors += split_problems(training, mode)
        test_errors, between = [], []
    else:
        test_errors = [*file_problems(testing, mode), *label_problems(testing, mode, is_training=False)]
        between = list(overlap_problems(training, testing, mode))
    return {
        "statistics": {
            "training": _statistics(training, mode, train_errors),
            "testing": _statistics(tested, mode, test_errors),
        },
        "errors": _as_json(between),
    }


def file_problems(statistics: ManifestStatistics, mode: Mode) -> Iterator[Problem]:
    """Yield what is wrong with a manifest file, whatever its labels."""
    limits = LIMITS[mode]
    if limits.is_strict and not PurePath(statistics.name).suffix:
        message = "The manifest file extension or contents are invalid."
        yield Problem("ERROR_MANIFEST_INACCESSIBLE_OR_UNSUPPORTED_FORMAT", message)
    if not statistics.file_bytes:
        yield Problem("ERROR_EMPTY_MANIFEST", "The manifest file is empty.")
    if statistics.file_bytes > limits.max_manifest_bytes:
        message = "The manifest file size exceeds the maximum supported size."
        yield Problem("ERROR_MANIFEST_SIZE_TOO_LARGE", message)
    if statistics.total_lines > limits.max_manifest_lines:
        message = f"the manifest has {statistics.total_lines} lines, more than {limits.max_manifest_lines}"
        yield Problem("ERROR_MANIFEST_ROWS_EXCEEDS_MAXIMUM", message)
    if limits.is_strict and len(statistics.buckets) > 1:
        message = f"the images lie in several buckets: {shown(sorted(statistics.buckets))}"
        yield Problem("ERROR_IMAGES_IN_MULTIPLE_S3_BUCKETS", message)
    yield from _invalid_lines(statistics, mode)


def _invalid_lines(statistics: ManifestStatistics, mode: Mode) -> Iterator[Problem]:
    judged = statistics.valid_lines + statistics.invalid_lines
    found = f"{statistics.invalid_lines} of {judged} lines are invalid"
    if statistics.invalid_lines > MAX_INVALID_SHARE * judged:
        yield Problem("ERROR_TOO_MANY_INVALID_ROWS_IN_MANIFEST", f"{found}, more than {MAX_INVALID_SHARE:.0%}")
    elif statistics.invalid_lines:
        yield Problem("WARNING_INVALID_ROWS_IN_MANIFEST", f"{found}; above {MAX_INVALID_SHARE:.0%} the manifest fails")
    # The guide gives no share for lines that never enter a dataset; it is taken to be the same.
    if LIMITS[mode].is_strict and statistics.terminal_lines > MAX_INVALID_SHARE * statistics.total_lines:
        yield Problem("ERROR_TOO_MANY_RECORDS_IN_ERROR", "The manifest file has too many terminal errors.")


def label_problems(statistics: ManifestStatistics, mode: Mode, *, is_training: bool) -> Iterator[Problem]:
    """Yield what is wrong with the number of labels; a manifest to test on needs no smallest number of its own."""
    lowest, highest = LIMITS[mode].label_counts[statistics.use_case]
    stated, usable = len(images_by_label(statistics)), len(images_by_label(statistics, mode))
    if is_training and stated < lowest:
        message = f"the manifest has {stated} different labels; {statistics.use_case} needs {lowest}"
        yield Problem("ERROR_MANIFEST_TOO_FEW_LABELS", message)
    elif is_training and usable < lowest:
        message = f"{usable} of {stated} labels are on lines for {statistics.use_case}, which needs {lowest}"
        yield Problem("ERROR_MANIFEST_TOO_FEW_USABLE_LABELS", message)
    if stated > highest:
        message = f"the manifest has {stated} different labels, more than {highest}"
        yield Problem("ERROR_MANIFEST_TOO_MANY_LABELS", message)


def split_problems(statistics: ManifestStatistics, mode: Mode) -> Iterator[Problem]:
    """Yield what forbids to set some images aside for testing; `open` tests on what there is."""
    rare = [
        label for label, count in images_by_label(statistics, mode).items() if count < MIN_IMAGES_PER_LABEL_FOR_SPLIT
    ]
    if LIMITS[mode].is_strict and rare:
        message = f"fewer than {MIN_IMAGES_PER_LABEL_FOR_SPLIT} images have the labels {shown(sorted(rare))}"
        yield Problem("ERROR_INSUFFICIENT_IMAGES_PER_LABEL_FOR_AUTOSPLIT", message)


def overlap_problems(training: ManifestStatistics, testing: ManifestStatistics, mode: Mode) -> Iterator[Problem]:
    """Yield when too few of the training labels are tested: of all of them, or of those on usable lines."""
    message = f"Less than {MIN_LABEL_OVERLAP:.0%} label overlap between the training and testing manifest files."
    if _overlap(images_by_label(training), images_by_label(testing)) < MIN_LABEL_OVERLAP:
        yield Problem("ERROR_INSUFFICIENT_LABEL_OVERLAP", message)
    elif _overlap(images_by_label(training, mode), images_by_label(testing, mode)) < MIN_LABEL_OVERLAP:
        message = message.replace("label overlap", "usable label overlap")
        yield Problem("ERROR_INSUFFICIENT_USABLE_LABEL_OVERLAP", message)


def _overlap(trained: Iterable[str], tested: Iterable[str]) -> float:
    """Return the share of trained labels that are tested; 1 without any."""
    labels = set(trained)
    return len(labels & set(tested)) / len(labels) if labels else 1.0


def images_by_label(statistics: ManifestStatistics, mode: Mode = "open") -> Counter[str]:
    """Count the images of each label; in `aws` mode only on lines for the manifest's use case."""
    counts: Counter[str] = Counter()
    use_case, is_strict = statistics.use_case, LIMITS[mode].is_strict
    for labels, count in statistics.label_sets.items():
        if not is_strict:
            counts.update(dict.fromkeys({*labels.image_level, *(labels.located or ())}, count))
        elif fits(labels, use_case):
            of_use_case = labels.located if use_case == "OBJECT_LOCALIZATION" else labels.image_level
            counts.update(dict.fromkeys(of_use_case or (), count))
    return counts


def _statistics(statistics: ManifestStatistics, mode: Mode, problems: list[Problem]) -> dict[str, Any]:
    use_case = statistics.use_case
    is_strict = LIMITS[mode].is_strict
    passed_over = sum(
        count for labels, count in statistics.label_sets.items() if is_strict and not fits(labels, use_case)
    )
    return {
        "use_case": use_case,
        "total_json_lines": statistics.total_lines,
        "valid_json_lines": statistics.valid_lines - passed_over,
        "invalid_json_lines": statistics.invalid_lines,
        "ignored_json_lines": statistics.ignored_lines + passed_over,
        "error_json_line_indices": list(statistics.error_line_numbers),
        "errors": _as_json(problem for problem in problems if problem.is_error),
    }


def _as_json(problems: Iterable[Problem]) -> list[dict[str, str]]:
    return [{"code": problem.code, "message": problem.message} for problem in problems]
