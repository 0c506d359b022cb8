"""The judgement on answers through an endpoint."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.bundle.adjustments import Region
from tasks.bundle.anomaly import find_regions
from tasks.bundle.predictor import Prediction
from tasks.promote.endpoint_answers import EndpointAnswer, read_answer
from tasks.promote.endpoint_outcome import EndpointOutcome, compare_with_expected
from tasks.vision.boxes import DetectedBox
from tasks.vision.heat_maps import HeatMap
from tests.tasks.bundle.made_anomaly_model import SCORING

DIGEST = "a" * 64
THRESHOLDS = {"anomaly": 0.5, "bent": 0.5, "cut": 0.5, "good": 0.5}
WHOLE = Region(0, 0, 128, 64)
CUT = DetectedBox("cut", 10.0, 20.0, 30.0, 40.0, 0.9, True)
UNTOLD = DetectedBox("bent", 0.0, 0.0, 9.0, 9.0, 0.2, False)
EXPECTED = Prediction({"cut": 0.9, "bent": 0.2, "good": 0.0}, ("cut",), (CUT, UNTOLD))
ANSWER = EndpointAnswer("4", DIGEST, EXPECTED.confidences, ("cut",), (CUT,), 100, 80, 12.0)


def judged(answers, expected=None, **limits):
    asked = {"version": "4", "bundle_digest": DIGEST, "max_confidence_drift": 0.01, "max_latency_ms": 100.0}
    return compare_with_expected(
        expected or [EXPECTED] * len(answers), answers, thresholds=THRESHOLDS, **(asked | limits)
    )


def changed(**fields):
    return dataclasses.replace(ANSWER, **fields)


def moved(**fields):
    return (dataclasses.replace(CUT, **fields),)


def test_equal_answers_pass():
    expected = EndpointOutcome(passed=True, images=2, version="4", latency_ms_p50=16.0, latency_ms_p95=19.6)
    assert judged([ANSWER, changed(milliseconds=20.0)]) == expected


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(changed(confidences=EXPECTED.confidences | {"cut": 0.905}), id="confidence"),
        pytest.param(changed(boxes=moved(confidence=0.905)), id="box's confidence"),
        pytest.param(changed(boxes=moved(left=10.4)), id="box's edge"),
        pytest.param(changed(milliseconds=100.0), id="milliseconds"),
    ],
)
def test_within_the_limits_passes(answer):
    assert judged([answer]).reasons == ()


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        pytest.param(changed(version="3"), "1 of 2 answers were made by version 3", id="version"),
        pytest.param(changed(version="3"), "a mixed answer", id="mixed"),
        pytest.param(changed(bundle_digest="b" * 64), "by version 4 (bbbbbbbbbbbb)", id="bundle"),
        pytest.param(changed(confidences=EXPECTED.confidences | {"good": 0.02}), "differs by 0.02", id="confidence"),
        pytest.param(changed(confidences={"cut": 0.9}), "differs by 1", id="other labels"),
        pytest.param(changed(labels=("cut", "good")), "differs by 1", id="label told"),
        pytest.param(changed(labels=()), "differs by 1", id="label not told"),
        pytest.param(changed(labels=("cut", "nobody")), "differs by 1", id="unknown label"),
        pytest.param(changed(boxes=()), "differs by 1", id="box not told"),
        pytest.param(changed(boxes=(CUT, CUT)), "differs by 1", id="box told twice"),
        pytest.param(changed(boxes=(CUT, UNTOLD)), "differs by 1", id="box below its threshold"),
        pytest.param(changed(boxes=moved(label="good")), "differs by 1", id="box's label"),
        pytest.param(changed(boxes=moved(label="nobody")), "differs by 1", id="unknown box"),
        pytest.param(changed(boxes=moved(width=31.0)), "an edge of a box lies 1 pixels", id="box's edge"),
        pytest.param(changed(milliseconds=1000.0), "951 ms (95th percentile), more than max_latency_ms 100", id="slow"),
        pytest.param(EndpointAnswer(problem="404 gone"), "1 of 2 images got no answer, the first", id="no answer"),
        pytest.param(EndpointAnswer(problem="404 gone"), "image 2: 404 gone", id="which"),
    ],
)
def test_beyond_the_limits_is_a_reason(answer, word):
    outcome = judged([ANSWER, answer])
    assert not outcome.passed
    assert len(outcome.reasons) == 1
    assert word in outcome.reasons[0]
    assert outcome.reasons[0].startswith("endpoint: ")


def test_boxes_confidence_counts():
    assert judged([changed(boxes=moved(confidence=0.905))]).max_confidence_drift == pytest.approx(0.005)


def test_all_by_another_version_is_no_mixed_answer():
    (reason,) = judged([changed(version="3")] * 2).reasons
    assert "mixed" not in reason
    assert "2 of 2 answers were made by version 3" in reason


def test_nothing_sent_shows_nothing():
    outcome = judged([])
    assert (outcome.passed, outcome.images, outcome.version) == (False, 0, "")
    assert "no image was sent" in outcome.reasons[0]


@pytest.mark.parametrize(
    ("answers", "warning"),
    [
        pytest.param([], "no image was sent", id="no image left"),
        pytest.param([changed(milliseconds=1000.0)], "more than max_latency_ms", id="slow"),
    ],
)
def test_rollback_is_warned_of_what_may_not_hold_it_up(answers, warning):
    outcome = judged(answers, [EXPECTED] * len(answers), is_rollback=True)
    assert (outcome.passed, outcome.reasons, len(outcome.warnings)) == (True, (), 1)
    assert warning in outcome.warnings[0]
    assert not judged([changed(version="3")], is_rollback=True).passed


def test_nothing_answered_has_no_figures():
    outcome = judged([EndpointAnswer(problem="503 later")] * 2)
    assert (outcome.passed, outcome.images, outcome.latency_ms_p95) == (False, 2, 0.0)


def test_what_lies_on_its_threshold_may_be_told_once():
    near = dataclasses.replace(CUT, confidence=0.5005)
    expected = Prediction({"cut": 0.5005, "bent": 0.2, "good": 0.0}, ("cut",), (near,))
    answer = changed(confidences={"cut": 0.4995, "bent": 0.2, "good": 0.0}, labels=(), boxes=())
    assert judged([answer], [expected]).passed
    assert not judged([answer], [expected], max_confidence_drift=0.0001).passed


def test_answers_to_other_images_are_a_mistake():
    with pytest.raises(ValueError, match="zip"):
        judged([ANSWER], [EXPECTED, EXPECTED])


# Anomaly models


HOT = Prediction(
    {"anomaly": 0.9}, ("anomaly",), heat_map=HeatMap.of(np.array([[0, 0, 0, 0], [60, 10, 10, 60]], np.float32))
)
"""Between the two hot columns heat lies at the limit: one region, or two."""


def heat_answer(*boxes, labels=("anomaly",)):
    told = tuple(DetectedBox("anomaly", *box, 0.9, True) for box in boxes)
    return EndpointAnswer("4", DIGEST, {"anomaly": 0.9}, labels, told, 128, 64, 12.0)


def regions_at(limit):
    found = find_regions(
        HOT.heat_map.heat(), SCORING.model_copy(update={"region_limit": limit}), "", 0.9, WHOLE, is_given=True
    )
    return [(box.left, box.top, box.width, box.height) for box in found]


@pytest.mark.parametrize(
    ("answer", "passes"),
    [
        pytest.param(heat_answer(*regions_at(9.95)), True, id="one region"),
        pytest.param(heat_answer(*regions_at(10.05)), True, id="two regions, by a rounding"),
        pytest.param(heat_answer(*regions_at(30.0)), False, id="of another limit"),
        pytest.param(heat_answer(regions_at(10.05)[0]), False, id="one of two"),
        pytest.param(heat_answer((0, 0, 128, 64)), False, id="all of the image"),
        pytest.param(heat_answer(), False, id="none"),
        pytest.param(heat_answer(*regions_at(9.95), labels=()), False, id="without the label"),
    ],
)
def test_boxes_of_an_anomaly_model_lie_around_its_heat(answer, passes):
    assert [len(regions_at(limit)) for limit in (9.95, 10.05)] == [1, 2]
    outcome = judged([answer], [HOT], scoring=SCORING)
    assert (outcome.passed, outcome.max_confidence_drift) == ((True, 0.0) if passes else (False, 1.0))


def test_boxes_without_their_label_are_another_answer():
    expected = dataclasses.replace(HOT, confidences={"anomaly": 0.5001})
    below = dataclasses.replace(heat_answer(*regions_at(9.95), labels=()), confidences={"anomaly": 0.4999})
    assert judged([dataclasses.replace(below, boxes=())], [expected], scoring=SCORING).passed
    assert not judged([below], [expected], scoring=SCORING).passed


def test_only_the_hottest_regions_are_told():
    first, second = regions_at(10.05)
    few = SCORING.model_copy(update={"max_boxes": 1})
    assert judged([heat_answer(first)], [HOT], scoring=few).passed
    assert not judged([heat_answer(first, second)], [HOT], scoring=few).passed


# The document


DOCUMENT = {
    "model": "bolts",
    "version": "4",
    "bundle_digest": DIGEST,
    "width": 100,
    "height": 80,
    "labels": [{"label": "cut", "confidence": 90.0}],
    "boxes": [
        {
            "label": "cut",
            "confidence": 90.0,
            "ratios": {"left": 0.1, "top": 0.2, "width": 0.3, "height": 0.4},
            "pixels": {"left": 10.0, "top": 20.0, "width": 30.0, "height": 40.0},
        }
    ],
    "confidences": {"cut": 90.0, "bent": 20.0, "good": 0.0},
}


def test_document_is_read():
    assert read_answer(json.dumps(DOCUMENT).encode(), 12.0) == ANSWER


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({}, id="empty"),
        pytest.param(DOCUMENT | {"version": None}, id="no version"),
        pytest.param(DOCUMENT | {"confidences": {"cut": 101}}, id="beyond 100"),
        pytest.param(DOCUMENT | {"confidences": {"cut": float("nan")}}, id="no number"),
        pytest.param(DOCUMENT | {"boxes": [{"label": "cut", "confidence": 90}]}, id="box without a place"),
    ],
)
def test_other_documents_are_a_problem(document):
    answer = read_answer(json.dumps(document).encode(), 12.0)
    assert answer.problem
    assert answer.version == ""


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(DOCUMENT)), inner, max_size=4),
    max_leaves=6,
)


@settings(max_examples=50, deadline=None)
@given(changes=st.dictionaries(st.sampled_from(sorted(DOCUMENT)), JSON, max_size=3))
def test_any_document_is_an_answer_or_a_problem(changes):
    answer = read_answer(json.dumps(DOCUMENT | changes).encode(), 1.0)
    assert not (answer.problem and judged([answer]).passed)
