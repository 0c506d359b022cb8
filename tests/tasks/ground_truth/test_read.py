import json
import tracemalloc

import pytest

from tasks.annotations.annotated import AnnotatedImage, StatedBox
from tasks.annotations.references import ReferenceResolver, RewriteRule
from tasks.errors import DataError
from tasks.ground_truth.read import (
    is_blank_manifest,
    is_manifest,
    is_of_line,
    message_without_line,
    read_manifest_file,
)
from tasks.vision.masks import MaskClass
from tests.tasks.ground_truth.manifest_lines import boxes, line, mask, single

GOOD_BOX = (5, 1, 2, 30, 40)


def read(folder, *values, mode="open", files=(), rules=(), name="train.manifest", **more):
    path = folder / name
    texts = [value if isinstance(value, bytes) else json.dumps(value).encode() for value in values]
    path.write_bytes(b"".join(text + b"\n" for text in texts))
    resolver = ReferenceResolver(folder, files, [RewriteRule.parse(rule) for rule in rules])
    return read_manifest_file(path, resolver, base="", mode=mode, **more)


def codes(reading):
    return [(finding.code, finding.source_ref) for finding in reading.findings]


def test_line_becomes_an_annotated_image(tmp_path):
    value = line(single(), boxes(GOOD_BOX), mask({"3": {"class-name": "crack"}}), ref="images/1.jpg")
    value["defect-ref"] = "masks/1.png"
    value["keeneye-metadata"] = {"group": "g1"}
    reading = read(tmp_path, value, given_split="test")
    assert reading.findings == ()
    assert reading.images == (
        AnnotatedImage(
            source_ref="images/1.jpg",
            labels=("dog",),
            boxes=(StatedBox("bone", 1, 2, 30, 40, confidence=0.8),),
            given_split="test",
            group="g1",
            mask_ref="masks/1.png",
            mask_classes=(MaskClass("crack", index=3),),
            stated_width=640,
            stated_height=480,
            confidences=(0.9,),
            creation_date="2018-10-18T22:18:13.527256",
            job_name="labeling-job/bolts",
            is_human=True,
            stated_ref="images/1.jpg",
        ),
    )


def test_references_are_rewritten_and_found(tmp_path):
    values = [line(single(), ref=ref) for ref in ("s3://old/shots/1.jpg", str(tmp_path / "2.jpg"), "deep/3.jpg")]
    reading = read(tmp_path, *values, files=["a/deep/3.jpg"], rules=["s3://old/shots/=images/"])
    assert [image.source_ref for image in reading.images] == ["images/1.jpg", "2.jpg", "a/deep/3.jpg"]


@pytest.mark.parametrize(
    ("ref", "code"),
    [
        ("/etc/passwd", "ERROR_OUTSIDE_SOURCE"),
        ("../../x.jpg", "ERROR_OUTSIDE_SOURCE"),
        ("file:///etc/passwd", "ERROR_OUTSIDE_SOURCE"),
        ("a/../../x.jpg", "ERROR_OUTSIDE_SOURCE"),
        ("s3://elsewhere/1.jpg", "ERROR_INVALID_SOURCE_REF_FORMAT"),
    ],
)
def test_reference_out_of_the_source_is_a_finding(tmp_path, ref, code):
    good = [line(single(), ref=f"{number}.jpg") for number in range(5)]
    reading = read(tmp_path, *good, line(single(), ref=ref))
    assert (len(reading.images), codes(reading)) == (
        5,
        [(code, ref), ("WARNING_INVALID_ROWS_IN_MANIFEST", "train.manifest")],
    )
    assert reading.findings[0].message.startswith("line 6: ")
    masked = line(mask({"1": {"class-name": "crack"}}), ref="1.jpg") | {"defect-ref": ref}
    assert codes(read(tmp_path, masked))[0] == (code, "1.jpg")


def test_everything_left_out_is_a_finding(tmp_path):
    values = [
        *(line(single(), ref=f"{number}.jpg") for number in range(9)),
        b"not json",
        line(ref="none.jpg"),
        line(single(label="cat"), ref="./0.jpg"),
        line(boxes(GOOD_BOX, (0, 639, 0, 9, 9)), ref="edge.jpg"),
        b"x" * 10_000_100,
    ]
    reading = read(tmp_path, *values)
    assert codes(reading) == [
        ("ERROR_INVALID_JSON_LINE", "train.manifest"),
        ("WARNING_UNANNOTATED_RECORD", "none.jpg"),
        ("WARNING_DUPLICATE_SOURCE_REF", "0.jpg"),
        ("ERROR_INVALID_BOUNDING_BOX", "edge.jpg"),
        ("ERROR_LINE_TOO_LONG", "train.manifest"),
        ("WARNING_INVALID_ROWS_IN_MANIFEST", "train.manifest"),
    ]
    assert [finding.message.split(":")[0] for finding in reading.findings[:5]] == [
        "line 10", "line 11", "line 12", "line 13", "line 14",
    ]  # fmt: skip
    assert [image.labels for image in reading.images if image.source_ref == "0.jpg"] == [("dog",)]
    assert [len(image.boxes) for image in reading.images if image.source_ref == "edge.jpg"] == [1]


def test_service_mode_keeps_one_use_case(tmp_path):
    values = [line(single(), ref=f"s3://b/{number}.jpg") for number in range(3)]
    values += [line(boxes(GOOD_BOX), ref="s3://b/boxed.jpg"), line(boxes(), ref="s3://b/empty.jpg")]
    strict = read(tmp_path, *values, mode="aws", rules=["s3://b/="])
    assert [image.source_ref for image in strict.images] == ["0.jpg", "1.jpg", "2.jpg"]
    assert codes(strict) == [
        ("WARNING_NO_ATTRIBUTE_ANNOTATIONS", "s3://b/empty.jpg"),
        ("WARNING_NO_ANNOTATIONS", "s3://b/empty.jpg"),
        ("WARNING_OTHER_USE_CASE", "boxed.jpg"),
    ]
    lenient = read(tmp_path, *values, rules=["s3://b/="])
    assert [image.boxes for image in lenient.images][3:] == [(StatedBox("bone", 1, 2, 30, 40, confidence=0.8),), ()]


def test_problems_of_the_whole_file_are_findings(tmp_path):
    assert codes(read(tmp_path)) == [("ERROR_EMPTY_MANIFEST", "train.manifest")]
    values = [line(single(), ref=f"s3://{bucket}/1.jpg") for bucket in "bc"]
    reading = read(tmp_path, *values, mode="aws", rules=["s3://b/=b/", "s3://c/=c/"], name="manifest")
    assert [code for code, _ in codes(reading)] == [
        "ERROR_MANIFEST_INACCESSIBLE_OR_UNSUPPORTED_FORMAT",
        "ERROR_IMAGES_IN_MULTIPLE_S3_BUCKETS",
    ]
    assert len(reading.images) == 2


def test_manifest_above_a_gigabyte_is_not_read(tmp_path):
    path = tmp_path / "big.manifest"
    with path.open("wb") as stream:
        stream.truncate(1_000_000_001)
    tracemalloc.start()
    reading = read_manifest_file(path, ReferenceResolver(tmp_path, ()), base="in", mode="aws")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
    assert codes(reading) == [("ERROR_MANIFEST_SIZE_TOO_LARGE", "in/big.manifest")]
    assert reading.images == ()


def test_missing_manifest_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_manifest_file(tmp_path / "none.manifest", ReferenceResolver(tmp_path, ()), base="", mode="open")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.manifest", b'{"source-ref":"a.jpg"}', True),
        ("a.jsonl", b'not json\n{"source-ref":"a.jpg"}', True),
        ("a.JSON", b'\xef\xbb\xbf{"x":1,"source-ref":"a.jpg"}', True),
        ("coco.json", b'{"images":[]}', False),
        ("a.png", b'{"source-ref":"a.jpg"}', False),
        ("app.manifest", b"<assembly/>", False),
        ("empty.manifest", b"", False),
    ],
)
def test_manifests_are_recognised(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    assert is_manifest(tmp_path / name) == expected
    assert not is_manifest(tmp_path / "none.manifest")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.manifest", b"", True),
        ("a.Manifest", b" \n\r\n\t\n", True),
        ("a.manifest", b"\n" * (1 << 20) + b"x", False),
        ("a.manifest", b'{"source-ref":"a.jpg"}', False),
        ("a.json", b"", False),
    ],
)
def test_manifest_of_white_space_is_blank(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    assert is_blank_manifest(tmp_path / name) == expected
    assert not is_blank_manifest(tmp_path / "none.manifest")


def test_findings_of_lines_are_told_from_others(tmp_path):
    values = [line(single(), ref="1.jpg"), b"", line(ref="line 3: 2.jpg")]
    findings = read(tmp_path, *values).findings
    assert [(finding.code, is_of_line(finding)) for finding in findings] == [
        ("ERROR_INVALID_JSON_LINE", True),
        ("WARNING_UNANNOTATED_RECORD", True),
        ("ERROR_TOO_MANY_INVALID_ROWS_IN_MANIFEST", False),
    ]
    assert [message_without_line(finding) for finding in findings[:2]] == [
        "the line is blank",
        "the line has no annotation, only a source-ref",
    ]
    assert message_without_line(findings[2]) == findings[2].message
    later = findings[2].model_copy(update={"message": "see line 3: it is blank"})
    assert not is_of_line(later)
    assert message_without_line(later) == later.message


CRACK = mask({"1": {"class-name": "crack", "hex-color": "#2ca02c"}}, "anomaly-mask-ref")
NORMAL = line(single("anomaly-label", 0, "normal"), ref="normal.jpg")


def test_normal_image_beside_masks_is_a_true_negative(tmp_path):
    anomaly = line(single("anomaly-label", 1, "anomaly"), CRACK, ref="bad.jpg") | {"anomaly-mask-ref": "m.png"}
    unmasked = line(single("anomaly-label", 1, "anomaly"), ref="unmasked.jpg")
    masked = line(single("anomaly-label", 0, "normal"), CRACK, ref="masked.jpg") | {"anomaly-mask-ref": "m.png"}
    boxed = line(single("anomaly-label", 0, "normal"), boxes(GOOD_BOX), ref="boxed.jpg")
    labels = line(single("anomaly-label", 0, "normal"), single("more", 1, "scratch"), ref="more.jpg")
    reading = read(tmp_path, NORMAL, anomaly, unmasked, masked, boxed, labels, given_split="test")
    by_ref = {image.source_ref: image for image in reading.images}
    assert (by_ref["normal.jpg"].boxes, by_ref["normal.jpg"].labels) == ((), ("normal",))
    assert [by_ref[f"{name}.jpg"].boxes for name in ("bad", "unmasked", "masked", "more")] == [None] * 4
    assert len(by_ref["boxed.jpg"].boxes) == 1
    assert {image.given_split for image in reading.images} == {"test"}


def test_normal_image_without_masks_is_only_labelled(tmp_path):
    anomaly = line(single("anomaly-label", 1, "anomaly"), ref="bad.jpg")
    assert [image.boxes for image in read(tmp_path, NORMAL, anomaly).images] == [None, None]
