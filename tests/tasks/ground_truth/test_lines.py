import json

import pytest

from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.ground_truth.annotate import annotated_line
from tasks.ground_truth.draft import BoxRow, LabelSet, MaskRow, Segmentation
from tasks.ground_truth.lines import MAX_LEVELS, parse_line
from tasks.ground_truth.manifests import manifest_line
from tasks.vision.boxes import BoundingBox
from tests.tasks.ground_truth.manifest_lines import BACKGROUND, MODES, codes, label_list, line, mask, parse, single

# Single labels (1.3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("value", [0, "0", 17], ids=["whole number", "digits", "gap"])
def test_single_label_is_its_class_name_whatever_the_value(mode, value):
    parsed = parse(line(single(value=value)), mode)
    assert (parsed.status, parsed.problems) == ("valid", ())
    assert (parsed.labels, parsed.confidences, parsed.boxes) == (("dog",), (0.9,), None)
    assert parsed.source_ref == "s3://bucket/images/k.jpg"
    assert parsed.creation_date == "2018-10-18T22:18:13.527256"
    assert (parsed.job_name, parsed.is_human) == ("labeling-job/bolts", True)


@pytest.mark.parametrize("value", [1, "1"])
def test_label_without_metadata_is_its_digits(value):
    parsed = parse({"source-ref": "a.jpg", "class": value})
    assert (parsed.status, parsed.labels, parsed.confidences) == ("valid", ("1",), (1.0,))


@pytest.mark.parametrize(
    "foreign", [{"note": "hello"}, {"width": 640, "height": 480}, {"tags": ["a"]}, {"mean": 0.5}, {"x": None}]
)
def test_foreign_keys_alone_are_no_labels(foreign):
    assert codes(parse({"source-ref": "a.jpg"} | foreign)) == ["ERROR_NO_LABEL_ATTRIBUTES"]


@pytest.mark.parametrize("mode", MODES)
def test_foreign_keys_beside_labels_are_passed_over(mode):
    parsed = parse(line(single(), {"customer": 17, "lens-metadata": {"f": 2.8}, "tags": ["a"]}), mode)
    assert (parsed.status, parsed.labels, parsed.problems) == ("valid", ("dog",), ())


# Several labels (1.4, 1.7)


def test_label_list_takes_names_and_confidences_from_its_maps():
    parsed = parse(line(label_list()))
    assert (parsed.labels, parsed.confidences) == (("bicycle", "car", "tree"), (0.95, 0.8, 0.2))
    assert codes(parse(line(label_list(**{"class-map": {"1": "bicycle"}})))) == ["ERROR_MISSING_CLASS_MAP_ID"]
    without = parse(line(label_list(**{"confidence-map": {}})))
    assert without.confidences == (1.0, 1.0, 1.0)


def test_label_list_must_be_transformed_for_the_managed_service():
    assert codes(parse(line(label_list()), "aws")) == ["ERROR_INVALID_LABEL_ATTRIBUTE_FORMAT"]


def test_bare_and_empty_label_lists():
    assert parse({"source-ref": "a.jpg", "class": [1, "3"]}).labels == ("1", "3")
    empty = parse(line(label_list() | {"things": []}))
    assert (empty.status, codes(empty), empty.labels, empty.boxes) == ("valid", [], (), None)
    assert parse(line(label_list() | {"things": []}, single())).labels == ("dog",)
    beside_a_bad_one = parse(line(label_list() | {"things": []}, single(label="x" * 300)))
    assert (beside_a_bad_one.status, beside_a_bad_one.labels) == ("invalid", ())


@pytest.mark.parametrize("mode", MODES)
def test_several_attributes_are_several_labels(mode):
    multilabel = {"type": "groundtruth/image-classification-multilabel"}
    sports = line(
        single("sport1", 1, "tennis", confidence=1, **multilabel),
        single("sport0", 0, "baseball", **multilabel),
        single("sport2", 0, "tennis", confidence=0.5, **multilabel),
    )
    parsed = parse(sports, mode)
    assert (parsed.labels, parsed.confidences) == (("baseball", "tennis"), (0.9, 1.0))


@pytest.mark.parametrize("mode", MODES)
def test_console_style_names_the_attribute_after_the_class(mode):
    parsed = parse(line(single("camellia", 1, "camellia"), single("with_leaves", 0, "with_leaves")), mode)
    assert parsed.labels == ("camellia", "with_leaves")


# Masks (1.6) and Lookout for Vision (5)


@pytest.mark.parametrize(
    ("colours", "classes"),
    [
        pytest.param(
            {"0": BACKGROUND, "1": {"class-name": "crack", "hex-color": "#2CA02C"}},
            (MaskRow("crack", "#2ca02c", -1),),
            id="colours",
        ),
        pytest.param(
            {"0": {"class-name": "BACKGROUND"}, "7": {"class-name": "crack"}}, (MaskRow("crack", "", 7),), id="indices"
        ),
        pytest.param(
            {"0": {"class-name": "cracked", "hex-color": "#23a436"}},
            (MaskRow("cracked", "#23a436", -1),),
            id="no background, as in Lookout's samples",
        ),
    ],
)
def test_mask_classes(colours, classes):
    parsed = parse(line(mask(colours)))
    assert (parsed.status, parsed.segmentation) == ("valid", Segmentation("s3://bucket/mask.png", classes))
    assert parsed.label_set.located == tuple(row.label for row in classes)


def test_mask_of_background_alone_is_a_true_negative():
    parsed = parse(line(mask({"0": BACKGROUND})))
    assert (parsed.status, parsed.boxes, parsed.segmentation) == ("valid", (), None)


def test_service_reads_no_masks():
    assert codes(parse(line(mask({"0": BACKGROUND})), "aws")) == [
        "ERROR_UNSUPPORTED_USE_CASE_TYPE",
        "ERROR_NO_VALID_LABEL_ATTRIBUTES",
    ]


@pytest.mark.parametrize(
    "colours",
    [{}, [], {"a": {"class-name": "x"}}, {"1": {"hex-color": "#ffffff"}}, {"1": {"class-name": "x", "hex-color": 1}}],
)
def test_bad_colour_map(colours):
    assert codes(parse(line(mask(colours)))) == ["ERROR_INVALID_LABEL_ATTRIBUTE_METADATA_FORMAT"]


def test_second_mask_is_told():
    crack = {"1": {"class-name": "crack", "hex-color": "#2ca02c"}}
    parsed = parse(line(mask(crack), mask(crack, "other-ref")))
    assert (parsed.status, codes(parsed)) == ("valid", ["WARNING_SECOND_MASK"])


@pytest.mark.parametrize("label", ["normal", "anomaly"])
def test_lookout_for_vision_with_lax_keys(label):
    metadata = {"class-name": label, "human-annotated": "yes", "type": "groundtruth/image-classification"}
    value = {"source-ref": "s3://b/k.jpg", "anomaly-label": 1.0, "anomaly-label-metadata": metadata}
    assert parse(value).labels == (label,)
    assert codes(parse(value, "aws")) == ["ERROR_INVALID_LABEL_ATTRIBUTE_FORMAT"]


def test_lookout_for_vision_segmentation_has_label_and_mask():
    value = line(
        single("anomaly-label", 1, "anomaly"),
        mask({"0": BACKGROUND, "1": {"class-name": "crack", "hex-color": "#2ca02c"}}, "anomaly-mask-ref"),
    )
    parsed = parse(value)
    assert (parsed.labels, parsed.segmentation.classes) == (("anomaly",), (MaskRow("crack", "#2ca02c", -1),))
    assert parsed.label_set == LabelSet(("anomaly",), ("crack",))
    assert (parse(value, "aws").status, parse(value, "aws").labels) == ("valid", ("anomaly",))


# Keys of services, other types


@pytest.mark.parametrize("mode", MODES)
def test_keys_of_services_are_no_labels(mode):
    """The entry of `ListDatasetEntries` in section 8, with errors in both their places."""
    value = {
        "source-ref": "s3://b/i.jpg",
        **single("scratch", 1, "scratch", **{"cl-errors": [{"code": "X", "message": "y"}]}),
        "cl-metadata": {"is_labeled": True},
        "cl-errors": [],
        "errors": [{"code": "X", "message": "y"}],
        "warnings": [],
        "keeneye-metadata": {},
    }
    parsed = parse(value, mode)
    assert (parsed.status, parsed.labels, parsed.problems) == ("valid", ("scratch",), ())
    unlabelled = {"source-ref": "s3://b/i.jpg", "cl-metadata": {"is_labeled": False}}
    assert codes(parse(unlabelled, mode)) == ["WARNING_UNANNOTATED_RECORD"]


def test_label_verification_is_passed_over():
    verified = single("verdict", 1, "bad", type="groundtruth/label-verification")
    beside = parse(line(single(), verified))
    assert (beside.labels, codes(beside)) == (("dog",), ["WARNING_UNSUPPORTED_USE_CASE_TYPE"])
    assert parse(line(verified)).status == "ignored"
    assert parse(line(single(), verified), "aws").labels == ("dog",)
    assert parse(line(verified), "aws").status == "invalid"


def test_keeneye_lines_read_well():
    entry = ImageEntry(
        source_ref="images/a.png",
        sha256="0" * 64,
        width=640,
        height=480,
        truth=Truth(("bone", "dog")),
        mask_ref="masks/a.png",
        group="g1",
    )
    parsed = parse_line(manifest_line(entry, {"bone": 0, "dog": 1}, "keeneye", entry.source_ref).encode(), "open")
    assert (parsed.status, parsed.source_ref, parsed.labels) == ("valid", "images/a.png", ("bone", "dog"))
    assert (parsed.given_group, parsed.stated_width, parsed.stated_height) == ("g1", 640, 480)
    assert parsed.segmentation.mask_ref == "masks/a.png"
    assert (parsed.creation_date, parsed.confidences) == ("", (1.0, 1.0))


@pytest.mark.parametrize("found", [(), (BoundingBox("dog", 5, 6, 70, 80, 0.5),)], ids=["true negative", "box"])
def test_keeneye_box_lines_read_well(found):
    truth = Truth(tuple(sorted({box.label for box in found})), found)
    entry = ImageEntry("a.png", "0" * 64, 640, 480, truth, group="g1")
    parsed = parse_line(manifest_line(entry, {"dog": 3}, "keeneye", entry.source_ref).encode(), "open")
    assert parsed.status == "valid"
    assert parsed.boxes == tuple(BoxRow(b.label, b.left, b.top, b.width, b.height, b.confidence) for b in found)


# Odd files


DEEP_LINES = {
    "top": (0, "%s", "ERROR_INVALID_JSON_LINE"),
    "source-ref": (1, '{"source-ref":%s}', "ERROR_INVALID_SOURCE_REF_FORMAT"),
    "confidence": (2, json.dumps(line(single(confidence="%s"))), "ERROR_INVALID_LABEL_ATTRIBUTE_METADATA_FORMAT"),
    "foreign key": (1, json.dumps(line(single()) | {"customer": "%s"}), None),
}
"""Levels around the place, a line, and what `aws` finds in it when it is not too deep."""


def deep_line(place, levels):
    around, text, _ = DEEP_LINES[place]
    inner = max(1, levels - around)
    return text.replace('"%s"', "%s").replace("%s", "[" * inner + "]" * inner).encode()


@pytest.mark.parametrize("levels", [1, 199, MAX_LEVELS])
@pytest.mark.parametrize("place", DEEP_LINES)
def test_line_of_some_levels_is_read_and_written(place, levels):
    code = DEEP_LINES[place][2]
    for mode in MODES:
        parsed = parse_line(deep_line(place, levels), mode)
        wanted = "WARNING_INVALID_CONFIDENCE" if (place, mode) == ("confidence", "open") else code
        assert codes(parsed) == ([wanted] if wanted else [])
        assert "levels" not in str(parsed.problems)
        assert ("errors" in annotated_line(parsed)) == any(problem.is_error for problem in parsed.problems)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("levels", [MAX_LEVELS + 1, 300, 1010, 100_000])
@pytest.mark.parametrize("place", DEEP_LINES)
def test_line_nested_too_deep_is_none(place, levels, mode):
    parsed = parse_line(deep_line(place, levels), mode)
    is_long = levels == 100_000 and mode == "aws"
    code = "ERROR_LINE_TOO_LONG" if is_long else "ERROR_INVALID_JSON_LINE"
    assert (parsed.value, codes(parsed)) == (None, [code])
    assert [error["code"] for error in json.loads(annotated_line(parsed))["errors"]] == [code]


def test_many_brackets_side_by_side_are_not_deep():
    assert parse(line(single(), {"customer": [[{}]] * 1000, "note": "[{" * 1000})).status == "valid"


@pytest.mark.parametrize("mode", MODES)
def test_many_byte_order_marks_are_no_json(mode):
    assert codes(parse_line(b"\xef\xbb\xbf" * 5000 + b"{}", mode)) == ["ERROR_INVALID_JSON_LINE"]


@pytest.mark.parametrize("mode", MODES)
def test_line_ends_and_byte_order_mark(mode):
    text = json.dumps(line(single())).encode()
    for whole in (text + b"\n", text + b"\r\n", b"\xef\xbb\xbf" + text):
        assert parse_line(whole, mode).labels == ("dog",)


def test_machine_annotation():
    assert not parse(line(single(), single("more", 1, "cat", **{"human-annotated": "no"}))).is_human


def test_odd_confidence_counts_as_one_when_open():
    parsed = parse(line(single(confidence=97.3)))
    assert (parsed.confidences, codes(parsed)) == ((1.0,), ["WARNING_INVALID_CONFIDENCE"])
    assert codes(parse(line(single(confidence=97.3)), "aws")) == ["ERROR_INVALID_LABEL_ATTRIBUTE_METADATA_FORMAT"]


def test_length_is_counted_in_characters():
    value = line(single())
    value["note"] = "ü" * (100_000 - len(json.dumps(value | {"note": ""})))
    text = json.dumps(value, ensure_ascii=False).encode()
    assert len(text) > 100_000
    assert parse_line(text + b"\r\n", "aws").status == "valid"
    value["note"] += "x"
    assert codes(parse_line(json.dumps(value, ensure_ascii=False).encode(), "aws")) == ["ERROR_LINE_TOO_LONG"]
    assert parse_line(json.dumps(value, ensure_ascii=False).encode(), "open").status == "valid"
