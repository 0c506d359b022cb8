from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.bundle.predictor import Prediction
from tasks.serving.selection import RatioBox, Selected, select
from tasks.serving.service import Answer
from tasks.vision.boxes import DetectedBox

THRESHOLDS = {"good": 0.9, "bent": 0.25, "cut": 0.125}
CLASSIFIED = Answer(
    model="bolts",
    version="3",
    bundle_digest="d" * 64,
    task="classification",
    labels=("good", "bent", "cut"),
    thresholds=THRESHOLDS,
    prediction=Prediction({"good": 0.875, "bent": 0.5, "cut": 0.125}, ("bent", "cut")),
    width=200,
    height=100,
)
BOXES = (
    DetectedBox("bent", 100, 25, 50, 50, 0.5, is_given=True),
    DetectedBox("cut", 20, 30, 20, 10, 0.5, is_given=True),
    DetectedBox("bent", 10, 25, 50, 50, 0.5, is_given=True),
    DetectedBox("bent", 10, 5, 50, 50, 0.5, is_given=True),
    DetectedBox("good", 0, 0, 200, 100, 0.875, is_given=False),
)
DETECTED = replace(
    CLASSIFIED,
    task="detection",
    prediction=Prediction({"good": 0.875, "bent": 0.5, "cut": 0.5}, ("bent", "cut"), BOXES),
)


@pytest.mark.parametrize(
    ("chosen", "labels"),
    [
        pytest.param({}, ["bent", "cut"], id="thresholds decide"),
        pytest.param({"min_confidence": 0}, ["good", "bent", "cut"], id="zero tells all"),
        pytest.param({"min_confidence": 12.5}, ["good", "bent", "cut"], id="at the confidence"),
        pytest.param({"min_confidence": 12.6}, ["good", "bent"], id="above it"),
        pytest.param({"min_confidence": 87.5}, ["good"], id="its threshold is ignored"),
        pytest.param({"min_confidence": 100}, [], id="none is sure"),
        pytest.param({"max_results": 1}, ["bent"], id="cut to one"),
        pytest.param({"max_results": 0}, [], id="cut to none"),
        pytest.param({"min_confidence": 0, "max_results": 9}, ["good", "bent", "cut"], id="more than there are"),
    ],
)
def test_labels_are_chosen(chosen, labels):
    told = select(CLASSIFIED, **chosen)
    assert [one.label for one in told] == labels
    assert all(one.box is None and one.confidence == CLASSIFIED.prediction.confidences[one.label] for one in told)


def test_equal_labels_are_told_by_name():
    prediction = Prediction({"good": 0.5, "cut": 0.5, "bent": 0.5}, ())
    told = select(replace(CLASSIFIED, prediction=prediction), min_confidence=50)
    assert [one.label for one in told] == ["bent", "cut", "good"]


@pytest.mark.parametrize("percent", [29, 57, 58, 7.1])
def test_confidence_equals_the_same_percentage(percent):
    prediction = Prediction({"good": percent / 100, "bent": 0.0, "cut": 0.0}, ())
    assert select(replace(CLASSIFIED, prediction=prediction), min_confidence=percent)


def test_boxes_are_told_as_ratios_in_order():
    assert select(DETECTED) == [
        Selected("bent", 0.5, RatioBox(0.05, 0.05, 0.25, 0.5)),
        Selected("bent", 0.5, RatioBox(0.05, 0.25, 0.25, 0.5)),
        Selected("bent", 0.5, RatioBox(0.5, 0.25, 0.25, 0.5)),
        Selected("cut", 0.5, RatioBox(0.1, 0.3, 0.1, 0.1)),
    ]


@pytest.mark.parametrize(
    ("chosen", "labels"),
    [
        pytest.param({"min_confidence": 0}, ["good", "bent", "bent", "bent", "cut"], id="all"),
        pytest.param({"min_confidence": 50.1}, ["good"], id="not given, yet sure enough"),
        pytest.param({"max_results": 2}, ["bent", "bent"], id="two"),
    ],
)
def test_boxes_are_chosen(chosen, labels):
    assert [one.label for one in select(DETECTED, **chosen)] == labels


@given(
    width=st.integers(1, 9000),
    height=st.integers(1, 9000),
    edges=st.tuples(*[st.floats(0, 1)] * 4),
)
@example(width=831, height=831, edges=(32.73149942173193 / 831, 32.73149942173193 / 831, 1.0, 1.0))
@settings(max_examples=50, deadline=None)
def test_boxes_end_within_the_image(width, height, edges):
    left, top = edges[0] * width, edges[1] * height
    box = DetectedBox("cut", left, top, (width - left) * edges[2], (height - top) * edges[3], 1.0, is_given=True)
    prediction = Prediction({"good": 0.0, "bent": 0.0, "cut": 1.0}, ("cut",), (box,))
    told = select(replace(DETECTED, prediction=prediction, width=width, height=height))[0].box
    assert 0 <= told.left <= told.left + told.width <= 1
    assert 0 <= told.top <= told.top + told.height <= 1
    assert told.left * width == pytest.approx(box.left)
    assert told.height * height == pytest.approx(box.height, abs=1e-9)


REGION = DetectedBox("anomaly", 20, 10, 50, 50, 0.75, is_given=True)
ABNORMAL = replace(
    CLASSIFIED,
    task="anomaly",
    labels=("anomaly",),
    thresholds={"anomaly": 0.5},
    prediction=Prediction({"anomaly": 0.75}, ("anomaly",), (REGION,)),
)


@pytest.mark.parametrize(
    ("prediction", "least", "expected"),
    [
        pytest.param(ABNORMAL.prediction, None, [("anomaly", RatioBox(0.1, 0.1, 0.25, 0.5))], id="where it is"),
        pytest.param(Prediction({"anomaly": 0.75}, ("anomaly",)), None, [("anomaly", None)], id="nowhere"),
        pytest.param(Prediction({"anomaly": 0.25}, ()), None, [], id="normal"),
        pytest.param(Prediction({"anomaly": 0.25}, ()), 20, [("anomaly", None)], id="normal, all the same told"),
        pytest.param(ABNORMAL.prediction, 80, [], id="not sure enough"),
    ],
)
def test_anomaly_is_told_once_for_each_region_or_for_the_image(prediction, least, expected):
    told = select(replace(ABNORMAL, prediction=prediction), min_confidence=least)
    assert [(one.label, one.box) for one in told] == expected
