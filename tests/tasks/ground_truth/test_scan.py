import json
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import DataError, EnvironmentFailed
from tasks.ground_truth import scan as scanning
from tasks.ground_truth.annotate import count_lines
from tasks.ground_truth.draft import LabelSet
from tasks.ground_truth.lines import digest_of, parse_line
from tasks.ground_truth.scan import scan_manifest
from tasks.ground_truth.scan_range import scan_range
from tests.tasks.ground_truth.manifest_lines import boxes, line, mask, single

ROOT = Path(__file__).resolve().parents[3]
GOOD_BOX, BAD_BOX = (0, 1, 1, 20, 20), (5, -1, 1, 20, 20)
KINDS = (
    lambda ref: json.dumps(line(boxes(GOOD_BOX), ref=ref)).encode(),
    lambda ref: json.dumps(line(single(label="cat"), ref=ref)).encode(),
    lambda ref: json.dumps(line(boxes(GOOD_BOX, BAD_BOX), ref=ref)).encode(),
    lambda ref: json.dumps(line(boxes(), ref=ref)).encode(),
    lambda ref: json.dumps(line(ref=ref)).encode(),
    lambda ref: json.dumps(line(single(label=""), ref=ref)).encode(),
    lambda ref: json.dumps(line(single(), boxes(GOOD_BOX), ref=ref), ensure_ascii=False).encode() + b"\r",
    lambda ref: json.dumps(line(mask({"1": {"class-name": "crack"}}), ref=ref)).encode(),
    lambda ref: b"",
    lambda ref: b'{"source-ref":',
)


def write(path, kinds, images=1_000_000, *, ends=True):
    """Write a manifest of lines of these kinds, whose references repeat after so many images."""
    texts = [KINDS[kind](f"s3://b/{number % images}.jpg") for number, kind in enumerate(kinds)]
    path.write_bytes(b"\n".join(texts) + (b"\n" if ends and texts else b""))
    return path


def as_counts(statistics):
    return (
        statistics.total_lines,
        statistics.valid_lines,
        statistics.invalid_lines,
        statistics.ignored_lines,
        statistics.terminal_lines,
        list(statistics.error_line_numbers),
        dict(statistics.label_sets),
        statistics.buckets,
        statistics.file_bytes,
        statistics.name,
    )


@pytest.fixture
def _small_ranges(monkeypatch):
    monkeypatch.setattr(scanning, "MIN_RANGE_BYTES", 1)


@pytest.mark.usefixtures("_small_ranges")
@pytest.mark.parametrize("mode", ["aws", "open"])
def test_several_processes_find_what_one_finds(tmp_path, mode):
    kinds = np.random.default_rng(0).integers(0, len(KINDS), 500)
    manifest = write(tmp_path / "a.manifest", kinds, images=300)
    found = []
    for processes in (1, 2, 3):
        problems = tmp_path / f"{processes}.problems"
        scan = scan_manifest(manifest, mode, processes, problems_path=problems)
        found.append((scan, problems.read_bytes()))
    for scan, problems in found:
        assert as_counts(scan.statistics) == as_counts(count_lines(manifest, mode))
        assert problems == found[0][1]
        assert scan.digests.tolist() == found[0][0].digests.tolist()
        assert scan.line_numbers.tolist() == found[0][0].line_numbers.tolist()
        assert [scan.label_sets[place] for place in scan.strata] == [
            found[0][0].label_sets[place] for place in found[0][0].strata
        ]
        assert len({bytes(digest) for digest in scan.digests}) == len(scan.strata) == len(scan.line_numbers)
        assert sorted(set(scan.strata.tolist())) == list(range(len(scan.label_sets)))
        assert Counter(json.loads(text)["code"] for text in problems.splitlines()) == scan.problem_counts


@pytest.mark.usefixtures("_small_ranges")
@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, len(KINDS) - 1), max_size=12), st.booleans(), st.sampled_from(["aws", "open"]))
def test_every_line_is_counted_once_wherever_ranges_meet(tmp_path_factory, kinds, ends, mode):
    manifest = write(tmp_path_factory.mktemp("scan") / "a.manifest", kinds, images=5, ends=ends)
    size = manifest.stat().st_size
    whole = scan_range(manifest, 0, size, mode, None)
    for cut in range(1, size, 7):
        parts = [scan_range(manifest, 0, cut, mode, None), scan_range(manifest, cut, size, mode, None)]
        assert sum(len(part.codes) for part in parts) == len(whole.codes)
        assert b"".join(part.digests for part in parts) == whole.digests
        numbers = [number for part in parts for number in part.statistics.error_line_numbers]
        assert numbers == list(whole.statistics.error_line_numbers)
    scan = scan_manifest(manifest, mode, 1)
    assert as_counts(scan.statistics) == as_counts(count_lines(manifest, mode))


def test_strata_have_no_gaps_where_lines_were_dropped(tmp_path):
    scan = scan_manifest(write(tmp_path / "a.manifest", [0, 1, 1]), "aws")
    assert (scan.strata.tolist(), scan.label_sets) == ([0, 0], (LabelSet(("cat",), None),))


def test_last_line_needs_no_line_break(tmp_path):
    scan = scan_manifest(write(tmp_path / "a.manifest", [0, 1], ends=False), "open")
    assert (scan.statistics.valid_lines, scan.problem_counts) == (2, {})


def test_usable_lines_come_with_digest_and_stratum(tmp_path):
    manifest = write(tmp_path / "a.manifest", [1, 5, 0, 1])
    scan = scan_manifest(manifest, "open")
    assert [bytes(digest) for digest in scan.digests] == [digest_of(f"s3://b/{number}.jpg") for number in (0, 2, 3)]
    assert scan.line_numbers.tolist() == [1, 3, 4]
    cat, dog = LabelSet(("cat",), None), LabelSet((), ("dog",))
    assert [scan.label_sets[place] for place in scan.strata] == [cat, dog, cat]
    assert sorted(set(scan.strata.tolist())) == list(range(len(scan.label_sets)))


@pytest.mark.usefixtures("_small_ranges")
def test_problems_name_line_and_image(tmp_path):
    manifest = write(tmp_path / "a.manifest", [1, 9, 2, 1, 1, 2, 1], images=5)
    scan = scan_manifest(manifest, "aws", 2, problems_path=tmp_path / "problems")
    records = [json.loads(text) for text in (tmp_path / "problems").read_bytes().splitlines()]
    assert [(record["line"], record["source_ref"], record["code"]) for record in records] == [
        (2, "", "ERROR_INVALID_JSON_LINE"),
        (3, "s3://b/2.jpg", "ERROR_INVALID_BOUNDING_BOX"),
        (6, "s3://b/0.jpg", "ERROR_INVALID_BOUNDING_BOX"),
        (3, "s3://b/2.jpg", "WARNING_OTHER_USE_CASE"),
        (6, "s3://b/0.jpg", "WARNING_DUPLICATE_SOURCE_REF"),
    ]
    assert records[1]["scope"] == ["bolts", "annotations", 1]
    assert "1" in records[-1]["message"]
    assert scan.line_numbers.tolist() == [1, 4, 5, 7]
    assert {labels for labels in scan.label_sets} == {LabelSet(("cat",), None)}


@pytest.mark.parametrize("content", [b"", b"\n", b"\n\n\n"])
def test_manifest_of_nothing(tmp_path, content):
    path = tmp_path / "a.manifest"
    path.write_bytes(content)
    scan = scan_manifest(path, "open")
    assert scan.statistics.total_lines == scan.statistics.invalid_lines == len(content)
    assert (scan.digests.shape, scan.strata.shape, scan.label_sets) == ((0, 16), (0,), ())


def test_missing_manifest_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match=r"none\.manifest cannot be scanned"):
        scan_manifest(tmp_path / "none.manifest", "open")


@pytest.mark.usefixtures("_small_ranges")
def test_process_that_dies_is_one_sentence(tmp_path, monkeypatch):
    manifest = write(tmp_path / "a.manifest", [0] * 10)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(EnvironmentFailed, match="a process that read part of the manifest ended"):
        scan_manifest(manifest, "open", 2)


@pytest.mark.parametrize("mode", ["aws", "open"])
def test_line_of_100_mb_is_never_held(tmp_path, mode):
    path = tmp_path / "a.manifest"
    with path.open("wb") as stream:
        stream.write(KINDS[0]("s3://b/1.jpg") + b'\n{"source-ref":"s3://b/2.jpg","x":"')
        for _ in range(100):
            stream.write(b"x" * 1_000_000)
        stream.write(b'"}\n' + KINDS[0]("s3://b/3.jpg") + b"\n")
    start = time.perf_counter()
    tracemalloc.start()
    whole = scan_range(path, 0, path.stat().st_size, mode, None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.perf_counter() - start < 30
    assert peak < 35_000_000
    assert whole.problem_counts == {"ERROR_LINE_TOO_LONG": 1}
    assert len(whole.digests) == 2 * 16
    before = scan_range(path, 0, 50_000_000, mode, None)
    assert (len(before.codes), bytes(before.digests)) == (2, digest_of("s3://b/1.jpg"))
    after = scan_range(path, 50_000_000, path.stat().st_size, mode, None)
    assert (len(after.codes), bytes(after.digests)) == (1, digest_of("s3://b/3.jpg"))


def test_line_of_9_mb_is_read_when_open():
    text = json.dumps(line(single()) | {"x": "x" * 9_000_000}).encode()
    assert parse_line(text, "open").status == "valid"
    assert parse_line(text, "aws").problems[0].code == "ERROR_LINE_TOO_LONG"


def test_workers_load_nothing_heavy():
    code = "import sys, tasks.ground_truth.scan_range; print(*sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    heavy = {"numpy", "pydantic", "cv2", "PIL", "pandas", "dateutil", "scipy"}
    assert "tasks.ground_truth.lines" in out.split()
    assert not heavy & set(out.split())
