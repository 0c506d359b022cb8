import contextlib
import io
import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pydantic import TypeAdapter, ValidationError

from tasks.metrics.classification import ClassificationMetrics, macro
from tasks.metrics.detection import (
    SIZE_AREAS,
    CrossValidatedDetection,
    DetectionMetrics,
    box_threshold,
    coco_map_50,
    count_by_size,
    mark_given,
    measure_detections,
    measure_given_boxes,
)
from tasks.metrics.matching import match_boxes
from tasks.vision.boxes import BoundingBox, DetectedBox
from tests.tasks.metrics.random_boxes import LABELS, Found, Truths, dataset

CUTS = {"bent": 0.5, "cut": 0.25, "lost": 0.6, "odd": 0.5}


def oracle(truths: Truths, found: Found, labels: tuple[str, ...]) -> dict[str, float]:
    """COCO's own evaluation code."""
    known = COCO()
    places = {label: place for place, label in enumerate(labels, start=1)}
    boxes = [(image, box) for image, of_image in enumerate(truths) for box in of_image]
    known.dataset = {
        "images": [{"id": image} for image in range(len(truths))],
        "categories": [{"id": place, "name": label} for label, place in places.items()],
        "annotations": [
            {
                "id": number, "image_id": image, "category_id": places[box.label], "iscrowd": 0,
                "bbox": [box.left, box.top, box.width, box.height], "area": box.width * box.height,
            }
            for number, (image, box) in enumerate(boxes, start=1)
        ],
    }  # fmt: skip
    rows = [
        [image, box.left, box.top, box.width, box.height, box.confidence, places[box.label]]
        for image, of_image in enumerate(found)
        for box in of_image
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        known.createIndex()
        evaluation = COCOeval(known, known.loadRes(np.array(rows, float).reshape(-1, 7)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = ("map", "map_50", "map_75", "small", "medium", "large", "ar_1", "ar_10", "mar_100")
    figures = dict(zip(names, evaluation.stats, strict=False))
    whole = evaluation.eval["precision"][:, :, :, 0, 2]
    for place, label in enumerate(labels):
        figures[label] = float(whole[:, :, place].mean())
        figures[f"{label} 50"] = float(whole[0, :, place].mean())
    return figures


CASES = {
    "usual": {},
    "ties": {"tied": True},
    "one label": {"labels": ("bent",)},
    "more than 100 boxes": {"images": 3, "extra": 400, "labels": ("bent", "cut")},
    "more than 100 tied boxes": {"images": 3, "extra": 400, "labels": ("bent",), "tied": True},
    "many true boxes": {"images": 3, "boxes": 150, "labels": ("bent",)},
    "few true boxes": {"images": 3, "boxes": 1},
}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_figures_are_those_of_coco(case: dict, seed: int) -> None:
    truths, found = dataset(seed, **case)
    if not any(found):
        found[0].append(DetectedBox("bent", 0.0, 0.0, 5.0, 5.0, 0.5, False))  # the oracle fails without any
    expected = oracle(truths, found, LABELS)
    measured = measure_detections(truths, found, LABELS, CUTS)
    for name in ("map", "map_50", "map_75", "mar_100"):
        assert getattr(measured, name) == pytest.approx(max(expected[name], 0.0), abs=1e-6), name
    for size, value in measured.map_by_size.items():
        assert (-1.0 if value is None else value) == pytest.approx(expected[size], abs=1e-6), size
    for label, figures in measured.per_label.items():
        assert figures.average_precision == pytest.approx(max(expected[label], 0.0), abs=1e-6)
        assert figures.average_precision_50 == pytest.approx(max(expected[f"{label} 50"], 0.0), abs=1e-6)
    assert coco_map_50(truths, found, LABELS) == pytest.approx(max(expected["map_50"], 0.0), abs=1e-6)


def test_figures_by_hand() -> None:
    # Surest first: hit, miss, hit of 3 true boxes. Precision at recall 1/3 is 1, at 2/3 it is 2/3, never beyond.
    # 34 of COCO's 101 recall points lie at or below 1/3, 33 more at or below 2/3.
    truths = [
        [BoundingBox("bent", 0, 0, 10, 10), BoundingBox("bent", 50, 50, 100, 100)],
        [BoundingBox("bent", 0, 0, 40, 40)],
    ]
    found = [
        [DetectedBox("bent", 0, 0, 10, 10, 0.9, False), DetectedBox("bent", 50, 50, 100, 100, 0.3, False)],
        [DetectedBox("bent", 200, 0, 40, 40, 0.6, False)],
    ]
    measured = measure_detections(truths, found, LABELS, dict.fromkeys(LABELS, 0.5))
    expected = (34 + 33 * 2 / 3) / 101
    assert (measured.map, measured.map_50, measured.map_75) == pytest.approx((expected,) * 3)
    assert measured.mar_100 == pytest.approx(2 / 3)
    assert measured.map_by_size == pytest.approx({"small": 1.0, "medium": 0.0, "large": 1.0})
    bent = measured.per_label["bent"]
    assert (bent.precision, bent.recall, bent.f1, bent.support) == pytest.approx((1 / 2, 1 / 3, 2 / 5, 3))
    assert (measured.macro_precision, measured.macro_recall, measured.macro_f1) == pytest.approx((1 / 2, 1 / 3, 2 / 5))


@pytest.mark.parametrize("seed", range(8))
def test_counts_are_those_of_the_matches(seed: int) -> None:
    truths, found = dataset(seed, tied=True)
    measured = measure_detections(truths, found, LABELS, CUTS)
    for label, figures in measured.per_label.items():
        hits = extra = missed = 0
        for true_boxes, boxes in zip(truths, found, strict=True):
            given_ = [box for box in boxes if box.confidence >= CUTS[box.label] and box.label == label]
            matches = match_boxes([box for box in true_boxes if box.label == label], given_)
            hits += sum(truth is not None for truth in matches.truth_of)
            extra += sum(truth is None for truth in matches.truth_of)
            missed += sum(box is None for box in matches.found_of)
        assert figures.support == hits + missed
        assert figures.precision == (hits / (hits + extra) if hits + extra else 0.0)
        assert figures.recall == (hits / (hits + missed) if hits + missed else 0.0)
        assert figures.f1 == (2 * hits / (2 * hits + extra + missed) if hits + extra + missed else 0.0)
        assert figures.threshold == CUTS[label]
    assert measured.per_label["odd"].support == 0
    tested = [figures.f1 for figures in measured.per_label.values() if figures.support]
    assert measured.macro_f1 == macro(measured.per_label, "f1") == pytest.approx(np.mean(tested))


def test_given_boxes_are_counted_as_they_are_marked() -> None:
    truths, found = dataset(0)
    marked = mark_given(found, CUTS)
    assert (
        measure_given_boxes(truths, marked, LABELS, CUTS) == measure_detections(truths, found, LABELS, CUTS).per_label
    )
    none = measure_given_boxes(truths, mark_given(found, dict.fromkeys(LABELS, 1.1)), LABELS, CUTS)
    assert {figures.recall for figures in none.values()} == {0.0}
    assert none["bent"].average_precision > 0.0
    assert [[box.is_given for box in image] for image in marked] == [
        [box.confidence >= CUTS[box.label] for box in image] for image in found
    ]


@pytest.mark.parametrize(
    ("truths", "found"),
    [
        pytest.param([[], []], [[], []], id="nothing"),
        pytest.param([], [], id="no image"),
        pytest.param([[]], [[DetectedBox("bent", 0, 0, 5, 5, 0.9, True)]], id="no true box"),
        pytest.param([[BoundingBox("bent", 0, 0, 5, 5)]], [[]], id="nothing found"),
        pytest.param(
            [[BoundingBox("bent", 0, 0, 5, 5)]], [[DetectedBox("cut", 0, 0, 5, 5, 0.9, True)]], id="another label"
        ),
    ],
)
def test_figures_are_zero_without(truths: Truths, found: Found) -> None:
    measured = measure_detections(truths, found, LABELS, CUTS)
    means = ("map", "map_50", "map_75", "mar_100", "macro_precision", "macro_recall", "macro_f1")
    assert {getattr(measured, name) for name in means} == {0.0}
    assert list(measured.per_label) == list(LABELS)
    assert coco_map_50(truths, found, LABELS) == 0.0
    sizes = {"small": 0.0 if any(truths) else None, "medium": None, "large": None}
    assert measured.map_by_size == sizes


def f1_of(truths: Truths, found: Found, label: str, cut: float) -> float:
    hits = given_ = 0
    for true_boxes, boxes in zip(truths, found, strict=True):
        kept = [box for box in boxes if box.label == label and box.confidence >= cut]
        hits += sum(truth is not None for truth in match_boxes(true_boxes, kept).truth_of)
        given_ += len(kept)
    support = sum(box.label == label for image in truths for box in image)
    return 2 * hits / (given_ + support) if given_ + support else 0.0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.integers(1, 6))
def test_no_threshold_beats_the_best(seed: int, tied: bool, images: int) -> None:
    truths, found = dataset(seed, images=images, tied=tied)
    for label in LABELS:
        threshold = box_threshold(truths, found, label)
        assert 0.0 <= threshold <= 1.0
        cuts = {0.0, 1.0, *(box.confidence for image in found for box in image)}
        best = max(f1_of(truths, found, label, cut) for cut in cuts)
        assert f1_of(truths, found, label, threshold) >= best - 1e-9


def _row(*confidences: float, truths: int = 2) -> tuple[Truths, Found]:
    # Every box but those of negative confidence lies on a true box of its own.
    boxes = [
        DetectedBox("bent", 20.0 * place, 0.0 if confidence > 0 else 100.0, 10.0, 10.0, abs(confidence), False)
        for place, confidence in enumerate(confidences)
    ]
    return [[BoundingBox("bent", 20 * place, 0, 10, 10) for place in range(truths)]], [boxes]


@pytest.mark.parametrize(
    ("case", "threshold"),
    [
        pytest.param(_row(0.9, 0.8, -0.2), 0.5, id="middle of the gap below the lowest hit"),
        pytest.param(_row(0.8, 0.6), 0.3, id="all found"),
        pytest.param(_row(0.8, -0.6, truths=1), 0.7, id="one hit"),
        pytest.param(_row(0.9, -0.7, -0.2, truths=4), 0.8, id="most boxes missed"),
        pytest.param(_row(), 0.5, id="nothing found"),
        pytest.param(_row(-0.9, -0.1), 0.5, id="no hit"),
        pytest.param(_row(-0.9, truths=0), 0.5, id="no true box"),
    ],
)
def test_threshold_of_plain_cases(case: tuple[Truths, Found], threshold: float) -> None:
    assert box_threshold(*case, "bent") == pytest.approx(threshold)


def test_threshold_of_equal_f1_lies_in_the_widest_gap() -> None:
    # The surest box alone gives precision 1 and recall 1/2; all four give precision 1/2 and recall 1: F1 2/3 both.
    truths = [[BoundingBox("bent", 0, 0, 10, 10), BoundingBox("bent", 60, 0, 10, 10)]]
    for confidences, threshold in (((0.9, 0.3, 0.25, 0.2), 0.6), ((0.9, 0.85, 0.84, 0.8), 0.4)):
        found = [[DetectedBox("bent", 20.0 * n, 0, 10, 10, told, False) for n, told in enumerate(confidences)]]
        assert box_threshold(truths, found, "bent") == pytest.approx(threshold)


def test_sizes_are_counted_within_cocos_limits() -> None:
    boxes = [BoundingBox("bent", 0, 0, *size) for size in ((1, 1), (32, 32), (33, 32), (96, 96), (97, 96))]
    assert count_by_size([boxes, []]) == {"small": 2, "medium": 3, "large": 2}
    assert list(SIZE_AREAS) == ["small", "medium", "large"]


def test_records_come_back_and_tell_the_tasks_apart() -> None:
    estimate = CrossValidatedDetection(
        map=0.4, map_50=0.7, map_50_std=0.1, macro_f1=0.6, folds=5, images=40, per_label={}
    )
    truths, found = dataset(1, images=3)
    measured = measure_detections(truths, found, LABELS, CUTS, estimate)
    assert measured.cross_validated == estimate
    either = TypeAdapter(ClassificationMetrics | DetectionMetrics)
    assert either.validate_json(measured.model_dump_json()) == measured
    with pytest.raises(ValidationError):
        ClassificationMetrics.model_validate_json(measured.model_dump_json())


def test_library_stays_silent(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        measure_detections(*dataset(0, images=2), LABELS, CUTS)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
