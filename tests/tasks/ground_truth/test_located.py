import pytest

from tasks.ground_truth.draft import BoxRow, LabelSet
from tests.tasks.ground_truth.manifest_lines import MODES, boxes, codes, line, parse, single


@pytest.mark.parametrize("mode", MODES)
def test_boxes_with_gaps_in_class_ids(mode):
    parsed = parse(line(boxes((0, 111, 134, 61, 128), (5, 161, 250, 30, 30), (5, 20, 20, 30, 30))), mode)
    assert parsed.boxes == (
        BoxRow("dog", 111, 134, 61, 128, 0.8),
        BoxRow("bone", 161, 250, 30, 30, 0.8),
        BoxRow("bone", 20, 20, 30, 30, 0.8),
    )
    assert (parsed.stated_width, parsed.stated_height, parsed.labels) == (640, 480, ())
    assert parsed.label_set == LabelSet((), ("bone", "dog"))


def test_class_maps_hold_for_their_line_alone():
    first = parse(line(boxes((0, 1, 1, 20, 20), classes={"0": "dog"})))
    second = parse(line(boxes((0, 1, 1, 20, 20), classes={"0": "cat"})))
    assert (first.boxes[0].label, second.boxes[0].label) == ("dog", "cat")


@pytest.mark.parametrize("mode", MODES)
def test_image_size_may_be_an_object(mode):
    value = line(boxes((0, 1, 1, 20, 20)))
    value["bolts"]["image_size"] = value["bolts"]["image_size"][0]
    assert parse(value, mode).stated_width == 640


@pytest.mark.parametrize("mode", MODES)
def test_image_size_of_the_boxes_comes_before_keeneyes(mode):
    parsed = parse(line(boxes((0, 1, 1, 20, 20)), {"keeneye-metadata": {"width": 3, "height": 4}}), mode)
    assert (parsed.stated_width, parsed.stated_height) == (640, 480)


@pytest.mark.parametrize("mode", MODES)
def test_labels_and_boxes_on_one_line(mode):
    parsed = parse(line(single(), boxes((5, 1, 1, 20, 20)), boxes((0, 9, 9, 20, 20), attribute="more")), mode)
    assert (parsed.labels, [box.label for box in parsed.boxes]) == (("dog",), ["bone", "dog"])


def test_image_without_boxes_is_a_true_negative_when_open_and_ignored_by_the_service():
    assert (parse(line(boxes())).status, parse(line(boxes())).boxes) == ("valid", ())
    ignored = parse(line(boxes()), "aws")
    assert (ignored.status, ignored.boxes) == ("ignored", None)
    assert [(problem.code, problem.scope) for problem in ignored.problems] == [
        ("WARNING_NO_ATTRIBUTE_ANNOTATIONS", ("bolts",)),
        ("WARNING_NO_ANNOTATIONS", ()),
    ]


def test_lost_boxes_never_make_a_true_negative():
    parsed = parse(line(boxes((0, 700, 1, 20, 20)), boxes(attribute="more")))
    assert (parsed.status, parsed.boxes) == ("invalid", None)
    labelled = parse(line(single(), boxes((0, 700, 1, 20, 20)), boxes(attribute="more")))
    assert (labelled.status, labelled.labels, labelled.boxes) == ("valid", ("dog",), None)


def test_open_mode_needs_neither_size_nor_metadata():
    annotations = [{"class_id": "3", "left": 0.5, "top": 1, "width": 9.25, "height": 4}]
    parsed = parse({"source-ref": "a.jpg", "bolts": {"annotations": annotations}})
    assert parsed.boxes == (BoxRow("3", 0.5, 1, 9.25, 4, 1.0),)
    assert (parsed.stated_width, parsed.stated_height) == (0, 0)


def test_boxes_at_the_edge_are_on_the_image():
    assert len(parse(line(boxes((0, 0, 0, 640, 480), (0, 638, 478, 2, 2))), "aws").boxes) == 2
    assert len(parse(line(boxes((0, 0.1, 0.2, 639.9, 479.8)))).boxes) == 1


@pytest.mark.parametrize(
    ("size", "box", "is_big_enough"),
    [
        pytest.param((1280, 720), (2, 2), True, id="not scaled"),
        pytest.param((1280, 720), (1, 2), False, id="one pixel wide"),
        pytest.param((4096, 2048), (4, 4), True, id="1.25 after scaling"),
        pytest.param((4096, 2048), (3, 4), False, id="0.94 after scaling"),
        pytest.param((2048, 4096), (4, 3), False, id="the higher side scales"),
        pytest.param((2560, 64), (2, 2), False, id="one pixel after scaling"),
        pytest.param((64, 64), (2, 2), True, id="never enlarged"),
    ],
)
def test_box_must_exceed_one_pixel_after_scaling_to_1280(size, box, is_big_enough):
    parsed = parse(line(boxes((0, 1, 1, *box), size=size)), "aws")
    assert (parsed.status == "valid") == is_big_enough
    assert ("ERROR_BOUNDING_BOX_TOO_SMALL" in codes(parsed)) != is_big_enough
    assert len(parse(line(boxes((0, 1, 1, *box), size=size))).boxes) == 1


def test_bad_box_removes_that_box_only():
    parsed = parse(line(boxes((0, 1, 1, 20, 20), (0, -1, 1, 20, 20), (5, 630, 1, 20, 20))))
    assert (parsed.status, len(parsed.boxes)) == ("valid", 1)
    assert [(problem.code, problem.scope) for problem in parsed.problems] == [
        ("ERROR_INVALID_BOUNDING_BOX", ("bolts", "annotations", 1)),
        ("ERROR_INVALID_BOUNDING_BOX", ("bolts", "annotations", 2)),
    ]
