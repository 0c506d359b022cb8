import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.metrics.matching import (
    MATCH_IOU,
    box_overlaps,
    confusion_with_background,
    match_boxes,
    pair_same_boxes,
    precision_recall_at_50,
    rank_boxes,
)
from tasks.vision.boxes import BoundingBox, DetectedBox
from tests.tasks.metrics.random_boxes import found_on_a_raster, images_on_a_raster, true_on_a_raster

LABELS = ("a", "b", "c")
TRUE, FOUND = true_on_a_raster(LABELS), found_on_a_raster(LABELS)
IMAGES = images_on_a_raster(LABELS)


def true(left: int, top: int, width: int, height: int, label: str = "a") -> BoundingBox:
    return BoundingBox(label, left, top, width, height)


def found(left: float, top: float, width: float, height: float, confidence: float, label: str = "a") -> DetectedBox:
    return DetectedBox(label, left, top, width, height, confidence, True)


def iou_by_pixels(one: BoundingBox | DetectedBox, other: BoundingBox | DetectedBox) -> float:
    grids = []
    for box in (one, other):
        grid = np.zeros((32, 32), bool)
        grid[int(box.top) : int(box.bottom), int(box.left) : int(box.right)] = True
        grids.append(grid)
    return float((grids[0] & grids[1]).sum() / (grids[0] | grids[1]).sum())


def greedy(truths: list[BoundingBox], boxes: list[DetectedBox], same_label: bool) -> list[int | None]:
    taken: dict[int, int] = {}
    for place in sorted(range(len(boxes)), key=lambda i: -boxes[i].confidence):
        candidates = [
            (iou_by_pixels(truth, boxes[place]), -number)
            for number, truth in enumerate(truths)
            if number not in taken.values() and (truth.label == boxes[place].label or not same_label)
        ]
        if candidates and max(candidates)[0] >= MATCH_IOU:
            taken[place] = -max(candidates)[1]
    return [taken.get(place) for place in range(len(boxes))]


@settings(max_examples=60, deadline=None)
@given(st.lists(TRUE, max_size=5), st.lists(FOUND, max_size=5))
def test_overlap_is_that_of_the_pixels(truths: list[BoundingBox], boxes: list[DetectedBox]) -> None:
    overlaps = box_overlaps(truths, boxes)
    assert overlaps.shape == (len(truths), len(boxes))
    for row, truth in enumerate(truths):
        for column, box in enumerate(boxes):
            assert overlaps[row, column] == pytest.approx(iou_by_pixels(truth, box), abs=1e-12)


def test_overlap_of_fractions_of_pixels() -> None:
    assert box_overlaps([true(0, 0, 10, 10)], [found(2.5, 0, 10, 10, 1.0)])[0, 0] == pytest.approx(75 / 125)
    assert box_overlaps([true(0, 0, 10, 10)], [found(0, 0, 0.0, 0.0, 1.0)])[0, 0] == 0.0


@settings(max_examples=100, deadline=None)
@given(st.lists(TRUE, max_size=5), st.lists(FOUND, max_size=7), st.booleans())
def test_matches_are_those_of_plain_greedy(
    truths: list[BoundingBox], boxes: list[DetectedBox], same_label: bool
) -> None:
    matches = match_boxes(truths, boxes, same_label=same_label)
    expected = greedy(truths, boxes, same_label)
    assert list(matches.truth_of) == expected
    assert list(matches.found_of) == [
        expected.index(number) if number in expected else None for number in range(len(truths))
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(TRUE, max_size=5), st.lists(FOUND, max_size=7), st.sampled_from((0.2, 0.5, 0.8)))
def test_unsure_boxes_change_no_match(truths: list[BoundingBox], boxes: list[DetectedBox], threshold: float) -> None:
    kept = [place for place, box in enumerate(boxes) if box.confidence >= threshold]
    whole = match_boxes(truths, boxes).truth_of
    assert match_boxes(truths, [boxes[place] for place in kept]).truth_of == tuple(whole[place] for place in kept)


@pytest.mark.parametrize(
    ("truths", "boxes", "expected"),
    [
        pytest.param([], [found(0, 0, 4, 4, 0.9)], [None], id="no true box"),
        pytest.param([true(0, 0, 4, 4)], [], [], id="nothing found"),
        pytest.param([true(0, 0, 4, 4)], [found(0, 0, 4, 2, 0.9)], [0], id="exactly one half"),
        pytest.param([true(0, 0, 4, 4)], [found(0, 0, 4, 1.99, 0.9)], [None], id="just below one half"),
        pytest.param([true(0, 0, 4, 4)], [found(0, 0, 4, 3, 0.5), found(0, 0, 4, 4, 0.4)], [0, None], id="surest"),
        pytest.param([true(0, 0, 4, 4)], [found(0, 0, 4, 3, 0.4), found(0, 0, 4, 4, 0.5)], [None, 0], id="any order"),
        pytest.param(
            [true(0, 0, 4, 4), true(0, 1, 4, 4)], [found(0, 1, 4, 4, 0.9), found(0, 1, 4, 4, 0.8)], [1, 0],
            id="second takes what is left",
        ),
        pytest.param([true(0, 0, 4, 4, "b")], [found(0, 0, 4, 4, 0.9)], [None], id="another label"),
    ],
)  # fmt: skip
def test_match(truths: list[BoundingBox], boxes: list[DetectedBox], expected: list[int | None]) -> None:
    assert list(match_boxes(truths, boxes).truth_of) == expected


@settings(max_examples=100, deadline=None)
@given(IMAGES)
def test_confusion_counts_every_box_once(images: list[tuple[list[BoundingBox], list[DetectedBox]]]) -> None:
    truths, boxes = [image[0] for image in images], [image[1] for image in images]
    matrix = confusion_with_background(truths, boxes, LABELS)
    assert matrix.shape == (4, 4)
    for place, label in enumerate(LABELS):
        assert matrix[place].sum() == sum(box.label == label for image in truths for box in image)
        assert matrix[:, place].sum() == sum(box.label == label for image in boxes for box in image)
    assert matrix[3, 3] == 0
    pairs = [match_boxes(*image, same_label=False).truth_of for image in images]
    assert matrix[:3, :3].sum() >= sum(bool(set(one) - {None}) for one in pairs)


@pytest.mark.parametrize(
    ("truths", "boxes", "cells"),
    [
        pytest.param([true(0, 0, 4, 4)], [found(0, 0, 4, 4, 0.9)], {"aa"}, id="right"),
        pytest.param([true(0, 0, 4, 4)], [found(0, 0, 4, 4, 0.9, "b")], {"ab"}, id="wrong label"),
        pytest.param([true(0, 0, 4, 4)], [], {"a-"}, id="missed"),
        pytest.param([], [found(0, 0, 4, 4, 0.9, "b")], {"-b"}, id="nothing is there"),
        pytest.param([true(0, 0, 4, 4)], [found(9, 9, 4, 4, 0.9)], {"a-", "-a"}, id="elsewhere"),
        pytest.param(
            [true(0, 0, 4, 4, "a"), true(0, 1, 4, 4, "b")],
            [found(0, 0, 4, 4, 0.9, "b"), found(0, 0, 4, 4, 0.8, "a")],
            {"bb", "aa"},
            id="the same label goes before the higher overlap",
        ),
    ],
)
def test_cell_of_the_confusion(truths: list[BoundingBox], boxes: list[DetectedBox], cells: set[str]) -> None:
    matrix = confusion_with_background([truths], [boxes], LABELS[:2])
    names = "ab-"
    assert {names[row] + names[column] for row, column in zip(*np.nonzero(matrix), strict=True)} == cells
    assert matrix.max() == 1


@settings(max_examples=60, deadline=None)
@given(IMAGES)
def test_ranks_and_curves_follow_the_matches(images: list[tuple[list[BoundingBox], list[DetectedBox]]]) -> None:
    truths, boxes = [image[0] for image in images], [image[1] for image in images]
    ranked = rank_boxes(truths, boxes, LABELS)
    curves = precision_recall_at_50(truths, boxes, LABELS)
    assert list(ranked) == list(LABELS)
    assert set(curves) == {label for label in LABELS if ranked[label].support}
    for label, curve in curves.items():
        for threshold, precision, recall in zip(curve.thresholds, curve.precision, curve.recall, strict=True):
            kept = [[box for box in image if box.label == label and box.confidence >= threshold] for image in boxes]
            hits = sum(
                truth is not None
                for true_boxes, image in zip(truths, kept, strict=True)
                for truth in match_boxes(true_boxes, image).truth_of
            )
            assert precision == pytest.approx(hits / sum(map(len, kept)))
            assert recall == pytest.approx(hits / ranked[label].support)
        assert sorted(set(curve.thresholds), reverse=True) == list(curve.thresholds)
        given_ = sum(box.is_given for image in boxes for box in image if box.label == label)
        assert ranked[label].given.sum() == given_


@pytest.mark.parametrize(
    ("one", "other", "pairs", "unpaired"),
    [
        pytest.param([found(0, 0, 4, 4, 0.5)], [found(0, 0, 4, 4, 0.5)], [(0, 0)], 0, id="the same"),
        pytest.param(
            [found(0, 0, 4, 4, 0.5), found(9, 9, 4, 4, 0.4999)],
            [found(9, 9, 4, 4, 0.5), found(0, 0, 4, 4, 0.4999)],
            [(0, 1), (1, 0)],
            0,
            id="changed places",
        ),
        pytest.param([found(0, 0, 4, 4, 0.5)], [found(0, 0, 4, 4, 0.52)], [], 2, id="not as sure"),
        pytest.param([found(0, 0, 4, 4, 0.5)], [found(0, 0, 4, 4, 0.5, "b")], [], 2, id="another label"),
        pytest.param([found(0, 0, 4, 4, 0.5)] * 2, [found(0, 0, 4, 4, 0.5)], [(0, 0)], 1, id="told twice"),
        pytest.param([], [found(0, 0, 4, 4, 0.5)], [], 1, id="not found"),
        pytest.param([], [], [], 0, id="nothing"),
    ],
)
def test_boxes_of_two_answers_are_paired(one, other, pairs, unpaired) -> None:
    found_pairs, alone = pair_same_boxes(one, other, 0.001)
    assert [(one.index(a), other.index(b)) for a, b in found_pairs] == pairs
    assert len(alone) == unpaired
