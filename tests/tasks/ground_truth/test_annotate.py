import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ground_truth import scan
from tasks.ground_truth.annotate import annotated_line, count_lines, write_annotated
from tasks.ground_truth.lines import parse_line
from tasks.ground_truth.problems import Problem
from tests.tasks.ground_truth.manifest_lines import boxes, line, mask, parse, single

BAD_BOX, GOOD_BOX = (0, -1, 1, 20, 20), (5, 1, 1, 20, 20)


def annotate(value, mode="aws", extra=()):
    return json.loads(annotated_line(parse(value, mode), extra))


def codes(holder, key="errors"):
    return [item["code"] for item in holder.get(key, [])]


def write(path, *values):
    lines = (value if isinstance(value, bytes) else json.dumps(value).encode() for value in values)
    path.write_bytes(b"".join(text + b"\n" for text in lines))
    return path


def read(path):
    return [json.loads(text) for text in path.read_bytes().splitlines()]


def test_line_without_problem_stays():
    value = line(single(), boxes(GOOD_BOX), {"customer": {"errors": 3}})
    assert annotate(value) == value


def test_verdicts_stand_where_the_problem_is():
    annotated = annotate(line(boxes(GOOD_BOX, BAD_BOX)))
    assert "errors" not in annotated
    assert codes(annotated["bolts"]["annotations"][1]) == ["ERROR_INVALID_BOUNDING_BOX"]
    assert "errors" not in annotated["bolts"]["annotations"][0]
    lost = annotate(line(boxes(BAD_BOX)))
    assert codes(lost) == codes(lost["bolts"]) == ["ERROR_NO_VALID_ANNOTATIONS"]
    assert codes(annotate(line(mask({})))["defect-ref-metadata"]) == ["ERROR_UNSUPPORTED_USE_CASE_TYPE"]
    assert set(annotate(line(mask({})))["errors"][0]) == {"code", "message"}


def test_warnings_stand_apart():
    annotated = annotate(line(boxes()))
    assert codes(annotated["bolts"], "warnings") == ["WARNING_NO_ATTRIBUTE_ANNOTATIONS"]
    assert codes(annotated, "warnings") == ["WARNING_NO_ANNOTATIONS"]
    assert "errors" not in annotated


def test_what_a_number_cannot_hold_stands_beside_it():
    assert codes(annotate(line(single(value=None)))["species-metadata"]) == ["ERROR_INVALID_LABEL_ATTRIBUTE_FORMAT"]
    neither = annotate(line(single(value=None)) | {"species-metadata": []})
    assert codes(neither) == ["ERROR_INVALID_LABEL_ATTRIBUTE_FORMAT"]


def test_line_that_is_not_json_is_replaced():
    annotated = json.loads(annotated_line(parse_line(b'{"source-ref":', "aws")))
    assert list(annotated) == ["errors"]
    assert codes(annotated) == ["ERROR_INVALID_JSON_LINE"]


def test_extra_problems_join_those_of_the_line():
    extra = [Problem("ERROR_INVALID_IMAGE", "no image"), Problem("WARNING_X", "odd", ("bolts", "annotations", 7))]
    annotated = annotate(line(boxes(GOOD_BOX)), extra=extra)
    assert codes(annotated) == ["ERROR_INVALID_IMAGE"]
    assert codes(annotated["bolts"], "warnings") == ["WARNING_X"]


LOST_BOX = Problem("ERROR_INVALID_BOUNDING_BOX", "off the image", ("boxes",))


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(boxes(GOOD_BOX, attribute="bounding-box"), id="of another name"),
        pytest.param({"bounding-box": boxes(GOOD_BOX)["bolts"]}, id="without metadata"),
        pytest.param(
            {"a-foreign": {"annotations": []}} | boxes(GOOD_BOX, attribute="bounding-box"), id="foreign beside"
        ),
    ],
)
def test_lost_box_stands_at_the_boxes_whatever_their_name(value):
    parsed = parse(line(value))
    for _ in range(2):  # the line as it was parsed stays as it was
        annotated = json.loads(annotated_line(parsed, [LOST_BOX]))
        assert codes(annotated["bounding-box"]) == ["ERROR_INVALID_BOUNDING_BOX"]
        assert json.dumps(annotated).count('"code"') == 1
    assert annotate(annotated, "open") == line(value)


def test_lost_box_of_a_line_without_boxes_stands_at_the_line():
    assert codes(annotate(line(single()), extra=[LOST_BOX])) == ["ERROR_INVALID_BOUNDING_BOX"]
    named = annotate(line(single(), boxes(GOOD_BOX), boxes(GOOD_BOX, attribute="boxes")), extra=[LOST_BOX])
    assert codes(named["boxes"]) == ["ERROR_INVALID_BOUNDING_BOX"]
    assert "errors" not in named["bolts"]


def test_annotated_lines_fed_back_give_the_same_verdicts():
    once = annotate(line(boxes(GOOD_BOX, BAD_BOX), boxes(attribute="none"), mask({})))
    once["cl-metadata"] = {"is_labeled": True}
    once["cl-errors"] = [{"code": "OLD", "message": "old"}]
    twice = annotate(once)
    assert "OLD" not in json.dumps(twice)
    assert "cl-metadata" not in twice
    del once["cl-metadata"], once["cl-errors"]
    assert twice == once


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["source-ref", "a", "a-metadata", "errors", "b-ref", "b-ref-metadata"]),
        st.recursive(
            st.none() | st.integers(-2, 2) | st.sampled_from(["0", "s3://b/k", "groundtruth/object-detection"]),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["annotations", "type", "errors", "class-map", "0"]), inner, max_size=3
                )
            ),
            max_leaves=6,
        ),
    ),
    st.sampled_from(["aws", "open"]),
)
def test_every_problem_is_written_once(value, mode):
    parsed = parse(value, mode)
    text = annotated_line(parsed)
    assert "\n" not in text
    assert text.count('"code":') == len(parsed.problems)


def test_manifest_is_written_line_by_line(tmp_path):
    good = line(single(), ref="s3://b/1.jpg")
    source = write(
        tmp_path / "train.manifest",
        good,
        b"",
        line(single(label="cat"), ref="s3://b/2.jpg"),
        good | {"note": "again"},
        line(boxes(GOOD_BOX), ref="s3://b/3.jpg"),
        line(single(), ref="s3://b/4.jpg"),
        b'{"source-ref":"s3://b/5.jpg","x":"' + b"x" * 500_000 + b'"}',
    )
    extra = {"s3://b/4.jpg": [Problem("ERROR_INVALID_IMAGE", "no image")]}
    statistics = write_annotated(source, tmp_path / "out.json", "aws", extra)
    written = read(tmp_path / "out.json")
    assert [codes(one) + codes(one, "warnings") for one in written] == [
        [],
        ["ERROR_INVALID_JSON_LINE"],
        [],
        ["WARNING_DUPLICATE_SOURCE_REF"],
        ["WARNING_OTHER_USE_CASE"],
        ["ERROR_INVALID_IMAGE"],
        ["ERROR_LINE_TOO_LONG"],
    ]
    assert written[0] == good
    assert (statistics.total_lines, statistics.valid_lines, statistics.invalid_lines, statistics.ignored_lines) == (
        (7, 3, 3, 1)
    )
    assert statistics.error_line_numbers == [2, 6, 7]
    assert (statistics.name, statistics.file_bytes) == ("train.manifest", source.stat().st_size)


@pytest.mark.parametrize("mode", ["aws", "open"])
def test_line_of_a_bad_image_makes_way_for_a_good_one(tmp_path, mode):
    first, second = (line(single(label=label), ref="s3://b/1.jpg") for label in ("dog", "cat"))
    source = write(tmp_path / "a.manifest", first | {"species": None}, second, first)
    statistics = count_lines(source, mode)
    assert [labels.image_level for labels in statistics.label_sets] == [("cat",)]
    assert (statistics.invalid_lines, statistics.ignored_lines) == (1, 1)


@pytest.mark.parametrize("mode", ["aws", "open"])
def test_counts_of_a_scan_are_those_of_one_pass(tmp_path, mode, monkeypatch):
    monkeypatch.setattr(scan, "MIN_RANGE_BYTES", 1)
    refs = [f"s3://bucket-{number % 40 % 7}/{number % 40}.jpg" for number in range(100)]
    kinds = [single(), boxes(GOOD_BOX, BAD_BOX), boxes(), single(label=""), mask({"1": {"class-name": "crack"}}), {}]
    values = [line(kinds[number % 6] | kinds[number % 5], ref=ref) for number, ref in enumerate(refs)]
    source = write(tmp_path / "a.manifest", *values[:50], b"", b"no json", *values[50:], *values[:3])
    found = dataclasses.asdict(write_annotated(source, tmp_path / "out.json", mode))
    found["error_line_numbers"] = list(found["error_line_numbers"])
    counted = dataclasses.asdict(count_lines(source, mode))
    assert found == counted
    assert sum("WARNING_DUPLICATE_SOURCE_REF" in str(one) for one in read(tmp_path / "out.json")) > 20
    assert len(counted["buckets"]) == 5
    assert len(read(tmp_path / "out.json")) == counted["total_lines"] == 105
