import json

import pytest

from tasks.ground_truth.lines import parse_line
from tasks.ground_truth.problems import CHECKED_FIRST, OWN_CODES, Problem, shown
from tests.tasks.ground_truth.manifest_lines import boxes, label_list, line, mask, parse, single

GOOD_BOX = (0, 1, 1, 20, 20)


def without(value, *path):
    """A copy of a line without the key at the path."""
    value = json.loads(json.dumps(value))
    holder = value
    for step in path[:-1]:
        holder = holder[step]
    del holder[path[-1]]
    return value


def changed(value, new, *path):
    """A copy of a line with another value at the path."""
    value = json.loads(json.dumps(value))
    holder = value
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = new
    return value


BOXES = line(boxes(GOOD_BOX, (5, 30, 30, 20, 20)))
SINGLE = line(single())
FORMAT, METADATA = "ERROR_INVALID_LABEL_ATTRIBUTE_FORMAT", "ERROR_INVALID_LABEL_ATTRIBUTE_METADATA_FORMAT"
META, BOX_META = ("species-metadata",), ("bolts-metadata",)
BOTH = ("aws", "open")
AWS, OPEN = ("aws",), ("open",)

TABLE = [
    # What the line is, its modes, and the problem that ends or marks it.
    ("cut short", b'{"source-ref":"s3://b/k.jpg"', BOTH, "ERROR_INVALID_JSON_LINE", ()),
    ("blank", b"  ", BOTH, "ERROR_INVALID_JSON_LINE", ()),
    ("a list", b"[]", BOTH, "ERROR_INVALID_JSON_LINE", ()),
    ("not UTF-8", b'{"source-ref":"\xff"}', BOTH, "ERROR_INVALID_JSON_LINE", ()),
    ("NaN", json.dumps(changed(BOXES, float("nan"), "bolts", "annotations", 0, "left")).encode(), BOTH,
     "ERROR_INVALID_JSON_LINE", ()),
    ("deep nesting", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", OPEN, "ERROR_INVALID_JSON_LINE", ()),
    ("100,001 characters", json.dumps(SINGLE).encode().ljust(100_001), AWS, "ERROR_LINE_TOO_LONG", ()),
    ("no source-ref", without(SINGLE, "source-ref"), BOTH, "ERROR_MISSING_SOURCE_REF", ()),
    ("inline text", {"source": "some text"}, BOTH, "ERROR_MISSING_SOURCE_REF", ()),
    ("relative source-ref", line(single(), ref="images/k.jpg"), AWS, "ERROR_INVALID_SOURCE_REF_FORMAT", ()),
    ("source-ref without key", line(single(), ref="s3://bucket/"), AWS, "ERROR_INVALID_SOURCE_REF_FORMAT", ()),
    ("source-ref without bucket", line(single(), ref="s3:///k.jpg"), AWS, "ERROR_INVALID_SOURCE_REF_FORMAT", ()),
    ("source-ref a number", line(single(), ref=7), BOTH, "ERROR_INVALID_SOURCE_REF_FORMAT", ()),
    ("source-ref empty", line(single(), ref=""), BOTH, "ERROR_INVALID_SOURCE_REF_FORMAT", ()),
    ("source-ref of 5,000 characters", line(single(), ref="s3://b/" + "k" * 5000), BOTH,
     "ERROR_INVALID_SOURCE_REF_FORMAT", ()),
    ("source-ref with line break", line(single(), ref="s3://b/k\n.jpg"), BOTH, "ERROR_INVALID_SOURCE_REF_FORMAT", ()),
    ("metadata missing", without(SINGLE, "species-metadata"), AWS, "ERROR_NO_LABEL_ATTRIBUTES", ()),
    ("attribute missing", without(SINGLE, "species"), BOTH, "ERROR_NO_LABEL_ATTRIBUTES", ()),
    ("text as class", line(single(value="dog")), AWS, FORMAT, ("species",)),
    ("null as class", line(single(value=None)), BOTH, FORMAT, ("species",)),
    ("list of texts as classes", line(single(value=["dog"])), BOTH, FORMAT, ("species",)),
    ("list of classes", line(label_list()), AWS, FORMAT, ("things",)),
    ("no annotations", without(BOXES, "bolts", "annotations"), BOTH, FORMAT, ("bolts",)),
    ("annotations an object", changed(BOXES, {}, "bolts", "annotations"), BOTH, FORMAT, ("bolts",)),
    ("no image_size", without(BOXES, "bolts", "image_size"), AWS, FORMAT, ("bolts",)),
    ("two image_sizes", changed(BOXES, [{}, {}], "bolts", "image_size"), BOTH, FORMAT, ("bolts",)),
    ("image_size of zero", changed(BOXES, 0, "bolts", "image_size", 0, "width"), BOTH, FORMAT, ("bolts",)),
    ("no depth", without(BOXES, "bolts", "image_size", 0, "depth"), AWS, FORMAT, ("bolts",)),
    ("box without width", without(BOXES, "bolts", "annotations", 1, "width"), BOTH, FORMAT, ("bolts",)),
    ("box a number", changed(BOXES, 3, "bolts", "annotations", 1), BOTH, FORMAT, ("bolts",)),
    ("boolean coordinate", changed(BOXES, True, "bolts", "annotations", 0, "left"), BOTH, FORMAT, ("bolts",)),
    ("text as coordinate", changed(BOXES, "1", "bolts", "annotations", 0, "left"), BOTH, FORMAT, ("bolts",)),
    ("fraction of a pixel", changed(BOXES, 1.5, "bolts", "annotations", 0, "left"), AWS, FORMAT, ("bolts",)),
    ("boolean class_id", changed(BOXES, True, "bolts", "annotations", 0, "class_id"), BOTH, FORMAT, ("bolts",)),
    ("digits as class_id", changed(BOXES, "0", "bolts", "annotations", 0, "class_id"), AWS, FORMAT, ("bolts",)),
    ("mask a number", changed(line(mask({})), 3, "defect-ref"), OPEN, FORMAT, ("defect-ref",)),
    ("metadata a list", changed(SINGLE, [], "species-metadata"), BOTH, METADATA, META),
    ("no class-name", without(SINGLE, "species-metadata", "class-name"), BOTH, METADATA, META),
    ("class-name a number", line(single(label=3)), BOTH, METADATA, META),
    ("no confidence", without(SINGLE, "species-metadata", "confidence"), AWS, METADATA, META),
    ("boolean confidence", line(single(confidence=True)), AWS, METADATA, META),
    ("confidence of 2", line(single(confidence=2)), AWS, METADATA, META),
    ("no type", without(SINGLE, "species-metadata", "type"), AWS, METADATA, META),
    ("mask without type", without(line(mask({})), "defect-ref-metadata", "type"), AWS, METADATA,
     ("defect-ref-metadata",)),
    ("mask with a list as metadata", changed(line(mask({})), [], "defect-ref-metadata"), AWS, METADATA,
     ("defect-ref-metadata",)),
    ("no human-annotated", without(SINGLE, "species-metadata", "human-annotated"), AWS, METADATA, META),
    ("no creation-date", without(SINGLE, "species-metadata", "creation-date"), AWS, METADATA, META),
    ("no class-map", without(BOXES, "bolts-metadata", "class-map"), BOTH, METADATA, BOX_META),
    ("class-map with a number", changed(BOXES, 7, "bolts-metadata", "class-map", "0"), BOTH, METADATA, BOX_META),
    ("objects an object", changed(BOXES, {}, "bolts-metadata", "objects"), BOTH, METADATA, BOX_META),
    ("objects of numbers", changed(BOXES, [1, 1], "bolts-metadata", "objects"), BOTH, METADATA, BOX_META),
    ("no objects", without(BOXES, "bolts-metadata", "objects"), AWS, METADATA, BOX_META),
    ("box confidence of 2", changed(BOXES, 2, "bolts-metadata", "objects", 0, "confidence"), AWS, METADATA, BOX_META),
    ("fewer objects than boxes", without(BOXES, "bolts-metadata", "objects", 1), AWS,
     "ERROR_MISSING_BOUNDING_BOX_CONFIDENCE", BOX_META),
    ("object without confidence", without(BOXES, "bolts-metadata", "objects", 1, "confidence"), AWS,
     "ERROR_MISSING_BOUNDING_BOX_CONFIDENCE", BOX_META),
    ("class not in the map", without(BOXES, "bolts-metadata", "class-map", "5"), BOTH, "ERROR_MISSING_CLASS_MAP_ID",
     BOX_META),
    ("negative class", changed(BOXES, -1, "bolts", "annotations", 0, "class_id"), BOTH, "ERROR_MISSING_CLASS_MAP_ID",
     BOX_META),
    ("label list not in the map", without(line(label_list()), "things-metadata", "class-map", "8"), OPEN,
     "ERROR_MISSING_CLASS_MAP_ID", ("things-metadata",)),
    ("segmentation", line(mask({})), AWS, "ERROR_UNSUPPORTED_USE_CASE_TYPE", ("defect-ref-metadata",)),
    ("text classification", line(single(type="groundtruth/text-classification")), AWS,
     "ERROR_UNSUPPORTED_USE_CASE_TYPE", META),
    ("text classification alone", line(single(type="groundtruth/text-classification")), AWS,
     "ERROR_NO_VALID_LABEL_ATTRIBUTES", ()),
    ("text classification, open", line(single(type="groundtruth/text-classification")), OPEN,
     "WARNING_UNSUPPORTED_USE_CASE_TYPE", META),
    ("image of 63 pixels", line(boxes(GOOD_BOX, size=(63, 480))), AWS, "ERROR_INVALID_IMAGE_DIMENSION", ()),
    ("image of 4,097 pixels", line(boxes((0, 1, 1, 50, 50), size=(640, 4097))), AWS, "ERROR_INVALID_IMAGE_DIMENSION",
     ()),
    ("image of 21 to 1", line(boxes((0, 1, 1, 50, 50), size=(64 * 21, 64))), AWS, "ERROR_INVALID_IMAGE", ()),
    ("51 boxes", line(boxes(*[GOOD_BOX] * 51)), AWS, "ERROR_TOO_MANY_BOUNDING_BOXES", ()),
    ("51 boxes in two attributes", line(boxes(*[GOOD_BOX] * 26), boxes(*[GOOD_BOX] * 25, attribute="more")), AWS,
     "ERROR_TOO_MANY_BOUNDING_BOXES", ()),
    ("51 labels", line(*(single(f"a{n}", n, f"label {n}") for n in range(51))), AWS,
     "ERROR_TOO_MANY_LABELS_PER_IMAGE", ()),
    ("box right of the image", line(boxes(GOOD_BOX, (0, 630, 1, 11, 9))), BOTH, "ERROR_INVALID_BOUNDING_BOX",
     ("bolts", "annotations", 1)),
    ("box below the image", line(boxes(GOOD_BOX, (0, 1, 470, 9, 11))), BOTH, "ERROR_INVALID_BOUNDING_BOX",
     ("bolts", "annotations", 1)),
    ("negative left", line(boxes(GOOD_BOX, (0, -1, 1, 9, 9))), BOTH, "ERROR_INVALID_BOUNDING_BOX",
     ("bolts", "annotations", 1)),
    ("negative top", line(boxes(GOOD_BOX, (0, 1, -1, 9, 9))), BOTH, "ERROR_INVALID_BOUNDING_BOX",
     ("bolts", "annotations", 1)),
    ("negative width", line(boxes(GOOD_BOX, (0, 9, 9, -5, 9))), BOTH, "ERROR_INVALID_BOUNDING_BOX",
     ("bolts", "annotations", 1)),
    ("infinite left", without(changed(line(boxes(GOOD_BOX, GOOD_BOX)), 1e300, "bolts", "annotations", 1, "left"),
                              "bolts", "image_size"),
     OPEN, "ERROR_INVALID_BOUNDING_BOX", ("bolts", "annotations", 1)),
    ("box of no width", line(boxes(GOOD_BOX, (0, 9, 9, 0, 9))), BOTH, "ERROR_BOUNDING_BOX_TOO_SMALL",
     ("bolts", "annotations", 1)),
    ("box of one pixel", line(boxes(GOOD_BOX, (0, 9, 9, 1, 1))), AWS, "ERROR_BOUNDING_BOX_TOO_SMALL",
     ("bolts", "annotations", 1)),
    ("no box left", line(boxes((0, 639, 1, 11, 9))), BOTH, "ERROR_NO_VALID_ANNOTATIONS", ("bolts",)),
    ("no box left in the line", line(boxes((0, 639, 1, 11, 9))), BOTH, "ERROR_NO_VALID_ANNOTATIONS", ()),
    ("label of 257 characters", line(single(label="x" * 257)), BOTH, "ERROR_INVALID_LABEL_NAME_LENGTH", META),
    ("label of 10,000 characters", line(boxes(GOOD_BOX, classes={"0": "x" * 10_000})), BOTH,
     "ERROR_INVALID_LABEL_NAME_LENGTH", BOX_META),
    ("empty label", line(single(label="")), BOTH, "ERROR_INVALID_LABEL_NAME_LENGTH", META),
    ("label with control character", line(single(label="a\x00b")), BOTH, "ERROR_INVALID_LABEL_NAME", META),
    ("label with line separator", line(single(label="a\u2028b")), BOTH, "ERROR_INVALID_LABEL_NAME", META),
    ("mask label with control character", line(mask({"1": {"class-name": "\x1b[31m", "hex-color": "#ff0000"}})), OPEN,
     "ERROR_INVALID_LABEL_NAME", ("defect-ref-metadata",)),
    ("only source-ref", line(), BOTH, "WARNING_UNANNOTATED_RECORD", ()),
    ("no boxes", line(boxes()), AWS, "WARNING_NO_ATTRIBUTE_ANNOTATIONS", ("bolts",)),
    ("no boxes in the line", line(boxes()), AWS, "WARNING_NO_ANNOTATIONS", ()),
    ("confidence in percent", line(single(confidence=97.3)), OPEN, "WARNING_INVALID_CONFIDENCE", META),
    ("two masks", line(mask({"1": {"class-name": "x"}}), mask({"1": {"class-name": "x"}}, "other-ref")), OPEN,
     "WARNING_SECOND_MASK", ("other-ref",)),
]  # fmt: skip
CASES = [
    pytest.param(value, mode, code, scope, id=f"{name}, {mode}")
    for name, value, modes, code, scope in TABLE
    for mode in modes
]

SERVICE_LINE_CODES = {
    *CHECKED_FIRST,
    "ERROR_NO_VALID_LABEL_ATTRIBUTES",
    "ERROR_UNSUPPORTED_USE_CASE_TYPE",
    "ERROR_INVALID_IMAGE",
    "ERROR_INVALID_IMAGE_DIMENSION",
    "ERROR_INVALID_BOUNDING_BOX",
    "ERROR_BOUNDING_BOX_TOO_SMALL",
    "ERROR_TOO_MANY_BOUNDING_BOXES",
    "ERROR_NO_VALID_ANNOTATIONS",
    "ERROR_INVALID_LABEL_NAME_LENGTH",
    "WARNING_UNANNOTATED_RECORD",
    "WARNING_NO_ANNOTATIONS",
    "WARNING_NO_ATTRIBUTE_ANNOTATIONS",
}
OF_MANY_LINES = {"WARNING_DUPLICATE_SOURCE_REF", "WARNING_OTHER_USE_CASE", "WARNING_INVALID_ROWS_IN_MANIFEST"}


@pytest.mark.parametrize(("value", "mode", "code", "scope"), CASES)
def test_every_code_by_which_line(value, mode, code, scope):
    parsed = parse_line(value, mode) if isinstance(value, bytes) else parse(value, mode)
    found = [problem for problem in parsed.problems if (problem.code, problem.scope) == (code, scope)]
    assert len(found) == 1, parsed.problems
    if code in CHECKED_FIRST:
        assert (parsed.status, len(parsed.problems)) == ("invalid", 1)
    assert 10 < len(found[0].message) < 600


def test_table_has_every_code():
    assert {code for _, _, _, code, _ in TABLE} == SERVICE_LINE_CODES | set(OWN_CODES) - OF_MANY_LINES


def test_line_good_for_one_mode_is_used_by_it():
    """Where the table lists a line for `aws` alone, and it is not one of the limits, `open` reads it."""
    read_by_open = [
        name
        for name, value, modes, _, _ in TABLE
        if modes == AWS and (parse_line(value, "open") if isinstance(value, bytes) else parse(value)).status == "valid"
    ]
    assert {"relative source-ref", "no depth", "fewer objects than boxes", "51 boxes", "image of 63 pixels"} <= set(
        read_by_open
    )


@pytest.mark.parametrize(
    ("value", "code"),
    [
        pytest.param(changed(without(BOXES, "source-ref"), 3, "bolts"), CHECKED_FIRST[0], id="source-ref first"),
        pytest.param(changed(BOXES, "x", "source-ref"), CHECKED_FIRST[1], id="its format before all else"),
        pytest.param({"source-ref": "x", "a": 1}, CHECKED_FIRST[1], id="its format before missing attributes"),
        pytest.param(
            changed(changed(BOXES, 3, "bolts", "annotations"), 3, "bolts-metadata"), CHECKED_FIRST[3], id="value first"
        ),
        pytest.param(
            line(single(label=3), boxes(GOOD_BOX) | {"bolts": 3}), CHECKED_FIRST[3], id="value of any attribute first"
        ),
        pytest.param(
            without(without(BOXES, "bolts-metadata", "class-map"), "bolts-metadata", "objects", 1),
            "ERROR_MISSING_BOUNDING_BOX_CONFIDENCE",
            id="confidence before class map",
        ),
        pytest.param(
            line(boxes(GOOD_BOX, classes={}), boxes(GOOD_BOX, attribute="more", objects=[])),
            "ERROR_MISSING_BOUNDING_BOX_CONFIDENCE",
            id="confidence of any attribute before class map",
        ),
        pytest.param(
            line(boxes((0, -1, 1, 9, 9), classes={})), "ERROR_MISSING_CLASS_MAP_ID", id="class map before coordinates"
        ),
        pytest.param(
            line(boxes(*[GOOD_BOX] * 51, classes={})), "ERROR_MISSING_CLASS_MAP_ID", id="class map before limits"
        ),
        pytest.param(
            line(mask({}), single(label=3)), CHECKED_FIRST[4], id="metadata before unsupported type"
        ),
    ],
)  # fmt: skip
def test_first_in_precedence_ends_the_checks(value, code):
    parsed = parse(value, "aws")
    assert [problem.code for problem in parsed.problems] == [code]
    assert parsed.status == "invalid"


def test_later_problems_are_all_told():
    parsed = parse(line(boxes((0, -1, 1, 9, 9), *[GOOD_BOX] * 50, size=(63, 480)), single(label="")), "aws")
    assert [problem.code for problem in parsed.problems] == [
        "ERROR_INVALID_IMAGE_DIMENSION",
        "ERROR_TOO_MANY_BOUNDING_BOXES",
        "ERROR_INVALID_BOUNDING_BOX",
        "ERROR_INVALID_LABEL_NAME_LENGTH",
    ]


@pytest.mark.parametrize(
    ("problem", "is_fatal"),
    [
        (Problem("ERROR_TOO_MANY_BOUNDING_BOXES", ""), True),
        (Problem("ERROR_MISSING_CLASS_MAP_ID", "", ("a-metadata",)), True),
        (Problem("ERROR_INVALID_BOUNDING_BOX", "", ("a", "annotations", 0)), False),
        (Problem("WARNING_NO_ANNOTATIONS", ""), False),
    ],
)
def test_fatal(problem, is_fatal):
    assert problem.is_fatal == is_fatal


def test_messages_show_little_of_much():
    assert shown("x" * 1000) == repr("x" * 100 + "...")
    assert shown([1] * 1000) == "[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, ..."  # fmt: skip # noqa: E501
