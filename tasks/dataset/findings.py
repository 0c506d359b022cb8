"""Findings: what is wrong or doubtful about single files or lines. Row problems are data, not exceptions."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tasks.errors import DataError

Severity = Literal["error", "warning"]


class Finding(BaseModel):
    """One problem of one file or line.

    A code that starts with `ERROR_` means the item was left out and counts towards the limit of bad items;
    `WARNING_` means it was kept or left out on purpose, and does not count. `in_test_source` tells the files of a
    separate test source from those of the source, which may have the same references.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    source_ref: str
    message: str
    in_test_source: bool = False

    @property
    def severity(self) -> Severity:
        """`error` or `warning`, from the code."""
        return "error" if self.code.startswith("ERROR_") else "warning"


def count_by_code(findings: Iterable[Finding]) -> dict[str, int]:
    """Number of findings per code, codes sorted."""
    return dict(sorted(Counter(finding.code for finding in findings).items()))


def add_counts(*counts: Mapping[str, int]) -> dict[str, int]:
    """Add numbers of findings per code, codes sorted."""
    return dict(sorted(sum(map(Counter, counts), Counter[str]()).items()))


def write_findings(path: Path, findings: Iterable[Finding]) -> None:
    """Write findings as JSON Lines, sorted by place and code so that equal inputs give equal bytes."""
    ordered = sorted(findings, key=lambda one: (one.source_ref, one.code, one.message, one.in_test_source))
    lines = (one.model_dump_json(exclude_defaults=True) + "\n" for one in ordered)
    path.write_text("".join(lines), encoding="utf-8")


def read_findings(path: Path) -> list[Finding]:
    """Read what `write_findings` wrote."""
    # Not str.splitlines: names may hold characters that it takes for line ends.
    with path.open("rb") as stream:
        return [Finding.model_validate_json(line) for line in stream]


def require_enough_valid(listed: int, invalid: int, max_invalid_fraction: float, findings_path: Path) -> None:
    """Refuse a source with too many bad items.

    Raises:
        DataError: when more than `max_invalid_fraction` of the listed images are bad; it names the findings file.
    """
    if invalid > max_invalid_fraction * listed:
        raise DataError(
            f"{invalid} of {listed} images are bad ({invalid / listed:.0%}), more than the {max_invalid_fraction:.0%} "
            f"that data.max_invalid_fraction allows; see {findings_path}, then repair or remove them",
            findings_path=str(findings_path),
        )
