from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.dataset.findings import (
    Finding,
    add_counts,
    count_by_code,
    read_findings,
    require_enough_valid,
    write_findings,
)
from tasks.errors import DataError

CODES = st.sampled_from(["ERROR_EMPTY_FILE", "ERROR_INVALID_IMAGE", "WARNING_DUPLICATE_IMAGE", "WARNING_IGNORED_FILE"])
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
FINDINGS = st.lists(st.builds(Finding, code=CODES, source_ref=TEXTS, message=TEXTS), max_size=8)


def finding(code: str, source_ref: str = "a/1.png", message: str = "why") -> Finding:
    return Finding(code=code, source_ref=source_ref, message=message)


def placed(item: Finding) -> tuple[str, str, str]:
    return item.source_ref, item.code, item.message


@settings(deadline=None)
@given(FINDINGS)
@example([finding("ERROR_EMPTY_FILE", "a/line\u2028break.png")])
@example([finding("ERROR_EMPTY_FILE", "a/next\x85line.png"), finding("ERROR_EMPTY_FILE", "a/\x1c\x1d\x1e.png")])
def test_round_trip(findings: list[Finding]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "findings.jsonl"
        write_findings(path, findings)
        assert sorted(map(placed, read_findings(path))) == sorted(map(placed, findings))


@settings(deadline=None)
@given(st.data(), FINDINGS)
def test_order_does_not_change_the_bytes(data: st.DataObject, findings: list[Finding]) -> None:
    shuffled = data.draw(st.permutations(findings))
    with TemporaryDirectory() as folder:
        one, other = Path(folder) / "one", Path(folder) / "other"
        write_findings(one, findings)
        write_findings(other, shuffled)
        assert one.read_bytes() == other.read_bytes()


def test_findings_are_sorted_by_place_and_code(tmp_path: Path) -> None:
    path = tmp_path / "findings.jsonl"
    write_findings(path, [finding("WARNING_B", "b"), finding("WARNING_C", "a"), finding("ERROR_A", "a")])
    assert [(item.source_ref, item.code) for item in read_findings(path)] == [
        ("a", "ERROR_A"),
        ("a", "WARNING_C"),
        ("b", "WARNING_B"),
    ]


def test_no_findings_make_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "findings.jsonl"
    write_findings(path, [])
    assert path.read_bytes() == b""
    assert read_findings(path) == []


@pytest.mark.parametrize(
    ("code", "severity"),
    [("ERROR_EMPTY_FILE", "error"), ("WARNING_IGNORED_FILE", "warning"), ("WARNING_ERROR_", "warning")],
)
def test_severity_comes_from_the_code(code: str, severity: str) -> None:
    assert finding(code).severity == severity


@pytest.mark.parametrize(
    ("codes", "counts"),
    [
        pytest.param([], {}, id="none"),
        pytest.param(["B", "A", "B"], {"A": 1, "B": 2}, id="some"),
    ],
)
def test_count_by_code(codes: list[str], counts: dict[str, int]) -> None:
    counted = count_by_code(finding(code) for code in codes)
    assert list(counted.items()) == list(counts.items())


def test_findings_are_frozen_and_strict() -> None:
    with pytest.raises(ValidationError):
        Finding(code="ERROR_X", source_ref="a", message="m", place=3)  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        finding("ERROR_X").code = "ERROR_Y"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("listed", "invalid", "fraction", "stops"),
    [
        pytest.param(10, 2, 0.2, False, id="exactly the limit"),
        pytest.param(10, 3, 0.2, True, id="one more"),
        pytest.param(10, 0, 0.0, False, id="none allowed and none bad"),
        pytest.param(10, 1, 0.0, True, id="none allowed and one bad"),
        pytest.param(10, 10, 1.0, False, id="all allowed"),
        pytest.param(1_000_000, 200_000, 0.2, False, id="huge, at the limit"),
        pytest.param(1_000_000, 200_001, 0.2, True, id="huge, one more"),
        pytest.param(0, 0, 0.0, False, id="nothing listed"),
    ],
)
def test_too_many_bad_files_stop(listed: int, invalid: int, fraction: float, stops: bool) -> None:
    if not stops:
        assert require_enough_valid(listed, invalid, fraction, Path("/home/findings.jsonl")) is None
        return
    with pytest.raises(DataError) as caught:
        require_enough_valid(listed, invalid, fraction, Path("/home/findings.jsonl"))
    assert caught.value.findings_path == "/home/findings.jsonl"
    assert "/home/findings.jsonl" in str(caught.value)
    assert f"{invalid} of {listed}" in str(caught.value)


def test_counts_are_added_and_sorted() -> None:
    assert list(add_counts({"b": 1, "c": 2}, {"a": 3}, {"c": 4}).items()) == [("a", 3), ("b", 1), ("c", 6)]
    assert add_counts() == {}
