"""From stated boxes to boxes of an image."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.annotations.annotated import AnnotatedImage, StatedBox
from tasks.ingest.boxes import place_boxes
from tasks.vision.boxes import BoundingBox

WIDTH, HEIGHT = 100, 60


def stated(*boxes: StatedBox) -> AnnotatedImage:
    return AnnotatedImage("a/1.png", boxes=boxes)


PLACED = {
    "whole pixels": (StatedBox("a", 1, 2, 3, 4), (1, 2, 3, 4)),
    "whole image": (StatedBox("a", 0, 0, 100, 60), (0, 0, 100, 60)),
    "relative": (StatedBox("a", 0.1, 0.5, 0.2, 0.25, is_relative=True), (10, 30, 20, 15)),
    "rounded to the nearest edges": (StatedBox("a", 1.4, 2.6, 3.0, 4.0), (1, 3, 3, 4)),
    "half goes up on both sides": (StatedBox("a", 1.5, 1.5, 2.0, 2.0), (2, 2, 2, 2)),
    "thinner than a pixel": (StatedBox("a", 5.1, 5.1, 0.2, 0.2), (5, 5, 1, 1)),
    "thin at the far edge": (StatedBox("a", 99.8, 59.9, 0.2, 0.1), (99, 59, 1, 1)),
    "a pixel over the edge by rounding": (StatedBox("a", -0.6, -1.0, 101.2, 61.9), (0, 0, 100, 60)),
}


@pytest.mark.parametrize("name", PLACED)
def test_placed(name: str) -> None:
    box, expected = PLACED[name]
    placed = place_boxes(stated(box), WIDTH, HEIGHT)
    assert placed.boxes == (BoundingBox("a", *expected),)
    assert not placed.are_all_lost


REFUSED = {
    "left of the image": (StatedBox("a", -2, 0, 5, 5), "ERROR_INVALID_BOUNDING_BOX"),
    "above the image": (StatedBox("a", 0, -1.5, 5, 5), "ERROR_INVALID_BOUNDING_BOX"),
    "right of the image": (StatedBox("a", 90, 0, 12, 5), "ERROR_INVALID_BOUNDING_BOX"),
    "below the image": (StatedBox("a", 0, 50, 5, 12), "ERROR_INVALID_BOUNDING_BOX"),
    "not a number": (StatedBox("a", math.nan, 0, 5, 5), "ERROR_INVALID_BOUNDING_BOX"),
    "infinite": (StatedBox("a", 0, 0, math.inf, 5), "ERROR_INVALID_BOUNDING_BOX"),
    "minus infinity": (StatedBox("a", -math.inf, 0, math.inf, 5), "ERROR_INVALID_BOUNDING_BOX"),
    "pixels said to be relative": (StatedBox("a", 10, 10, 20, 20, is_relative=True), "ERROR_INVALID_BOUNDING_BOX"),
    "no width": (StatedBox("a", 5, 5, 0, 5), "ERROR_BOUNDING_BOX_TOO_SMALL"),
    "negative height": (StatedBox("a", 5, 5, 5, -2), "ERROR_BOUNDING_BOX_TOO_SMALL"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_box_is_one_finding_and_the_others_stay(name: str) -> None:
    bad, code = REFUSED[name]
    placed = place_boxes(stated(bad, StatedBox("b", 1, 1, 2, 2)), WIDTH, HEIGHT)
    assert placed.boxes == (BoundingBox("b", 1, 1, 2, 2),)
    assert [(finding.code, finding.source_ref) for finding in placed.findings] == [(code, "a/1.png")]
    assert "box 1 (a)" in placed.findings[0].message
    assert place_boxes(stated(bad), WIDTH, HEIGHT).are_all_lost


def test_unknown_and_none_are_told_apart() -> None:
    assert place_boxes(AnnotatedImage("a/1.png"), WIDTH, HEIGHT).boxes is None
    assert place_boxes(stated(), WIDTH, HEIGHT).boxes == ()
    assert not place_boxes(stated(), WIDTH, HEIGHT).are_all_lost


def test_fractions_are_told_once_for_an_image_but_not_of_relative_boxes() -> None:
    boxes = (StatedBox("a", 1.5, 1, 2, 2), StatedBox("a", 9, 9, 2.25, 2), StatedBox("a", 20, 20, 2, 2))
    placed = place_boxes(stated(*boxes, StatedBox("a", 0.333, 0.333, 0.1, 0.1, is_relative=True)), WIDTH, HEIGHT)
    assert [finding.code for finding in placed.findings] == ["WARNING_ROUNDED_BOX"]
    assert "2 boxes" in placed.findings[0].message


def test_confidence_stays_and_order_does_not_matter() -> None:
    boxes = (StatedBox("b", 1, 1, 2, 2, confidence=0.5), StatedBox("a", 3, 3, 2, 2), StatedBox("a", 3, 1, 2, 2))
    placed = place_boxes(stated(*boxes), WIDTH, HEIGHT)
    assert placed.boxes == place_boxes(stated(*reversed(boxes)), WIDTH, HEIGHT).boxes
    assert [(box.label, box.top, box.confidence) for box in placed.boxes or ()] == [
        ("a", 1, 1.0),
        ("a", 3, 1.0),
        ("b", 1, 0.5),
    ]


FLOATS = st.floats(-200, 300) | st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -1e308])


@settings(deadline=None, max_examples=100)
@given(st.lists(st.builds(StatedBox, st.just("a"), FLOATS, FLOATS, FLOATS, FLOATS, st.booleans()), max_size=6))
def test_every_box_is_on_the_image_or_a_finding(boxes: list[StatedBox]) -> None:
    placed = place_boxes(stated(*boxes), WIDTH, HEIGHT)
    refused = [finding for finding in placed.findings if finding.severity == "error"]
    assert len(placed.boxes or ()) + len(refused) == len(boxes)
    for box in placed.boxes or ():
        assert 0 <= box.left < box.right <= WIDTH
        assert 0 <= box.top < box.bottom <= HEIGHT
