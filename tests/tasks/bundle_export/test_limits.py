"""How two models' answers are compared, and when an export is refused."""

import math

import pytest

from tasks.bundle.predictor import Prediction, Predictor
from tasks.bundle_export.limits import reasons_against
from tasks.bundle_export.parity import measure_parity
from tasks.bundle_export.records import Comparison, ModelFigures, Parity
from tasks.evaluate.records import GateVerdict
from tasks.metrics.classification import ClassificationMetrics
from tasks.vision.boxes import DetectedBox

SAME = {
    "images": 3,
    "confidence_difference": 0.0,
    "mean_confidence_difference": 0.0,
    "edge_difference_pixels": 0.0,
    "unmatched_boxes": 0,
    "unmatched_given_boxes": 0,
}
METRICS = ClassificationMetrics(
    accuracy=1, macro_precision=1, macro_recall=1, macro_f1=1, per_label={}, calibration_error=0
)
PASSED = GateVerdict(passed=True, reasons=(), judged_on={})
FAILED = GateVerdict(passed=False, reasons=("macro-F1 0.700 is below gate.min_macro_f1 0.8",), judged_on={})


def comparison(before=0.9, after=0.9, **parity):
    figures = [ModelFigures(megabytes=1, milliseconds=1, metric=metric) for metric in (before, after)]
    return Comparison(original=figures[0], exported=figures[1], parity=Parity(**(SAME | parity)), metrics=METRICS)


@pytest.mark.parametrize(
    ("format_name", "compared", "verdict", "expected"),
    [
        pytest.param("onnx", comparison(), PASSED, [], id="the same"),
        pytest.param("onnx", comparison(confidence_difference=1e-4), PASSED, [], id="confidence at the limit"),
        pytest.param("openvino", comparison(confidence_difference=1.1e-4), PASSED, ["a confidence"], id="confidence"),
        pytest.param("onnx", comparison(confidence_difference=math.nan), PASSED, ["a confidence"], id="no number"),
        pytest.param("openvino", comparison(edge_difference_pixels=0.5), PASSED, [], id="edge at the limit"),
        pytest.param("openvino", comparison(edge_difference_pixels=0.51), PASSED, ["an edge"], id="edge"),
        pytest.param("onnx", comparison(unmatched_boxes=2), PASSED, ["2 boxes"], id="boxes"),
        pytest.param(
            "onnx-int8",
            comparison(confidence_difference=0.4, edge_difference_pixels=9, unmatched_boxes=4),
            PASSED,
            [],
            id="8 bits differ",
        ),
        pytest.param("onnx-int8", comparison(0.9, 0.89), PASSED, [], id="loss at the limit"),
        pytest.param("onnx-int8", comparison(0.9, 0.889), PASSED, ["from 0.900 to 0.889"], id="loss"),
        pytest.param("onnx-int8", comparison(0.9, 0.95), PASSED, [], id="gain"),
        pytest.param(
            "onnx-int8", comparison(0.9, 0.7), FAILED, ["gate: macro-F1", "falls by 0.200"], id="gate and loss"
        ),
    ],
)
def test_reasons(format_name, compared, verdict, expected):
    reasons = reasons_against(format_name, compared, verdict, 0.01)
    assert len(reasons) == len(expected)
    assert all(part in reason for part, reason in zip(expected, reasons, strict=True))


def box(label="cross", left=10.0, confidence=0.8, side=20.0):
    return DetectedBox(label, left, 10.0, side, side, confidence, is_given=confidence >= 0.3)


def answer(*boxes, cross=0.8):
    return Prediction({"cross": cross, "ring": 0.2}, (), boxes)


@pytest.mark.parametrize(
    ("expected", "found", "parity"),
    [
        pytest.param([answer(box())], [answer(box())], {}, id="the same"),
        pytest.param(
            [answer(cross=0.8)],
            [answer(cross=0.7)],
            {"confidence_difference": 0.1, "mean_confidence_difference": 0.05},
            id="label",
        ),
        pytest.param([answer(box())], [answer(box(left=12.0))], {"edge_difference_pixels": 2.0}, id="moved"),
        pytest.param(
            [answer(box())], [answer(box(confidence=0.75))], {"confidence_difference": 0.05}, id="box less sure"
        ),
        pytest.param(
            [answer(box(), box(left=50, confidence=0.4))],
            [answer(box())],
            {"unmatched_boxes": 1, "unmatched_given_boxes": 1},
            id="one missing",
        ),
        pytest.param([answer(box())], [answer(box(), box(left=50, confidence=0.2))], {"unmatched_boxes": 1}, id="more"),
        pytest.param([answer(box())], [answer(box(), box(left=50, confidence=0.0505))], {}, id="hardly told"),
        pytest.param(
            [answer(box())],
            [answer(box("ring"))],
            {"unmatched_boxes": 2, "unmatched_given_boxes": 2},
            id="another label",
        ),
        pytest.param(
            [answer(box(), box(left=12, confidence=0.7))],
            [answer(box(left=12, confidence=0.8), box(confidence=0.7))],
            {"confidence_difference": 0.1},
            id="paired by place",
        ),
    ],
)
def test_parity(detector, expected, found, parity):
    measured = measure_parity(Predictor.open(detector).card, expected, found)
    assert measured.model_dump() == pytest.approx(SAME | {"images": 1} | parity, abs=1e-9)


@pytest.mark.parametrize("edge", range(4), ids=["left", "top", "right", "bottom"])
def test_every_edge_counts(detector, edge):
    edges = [10.0, 10.0, 30.0, 30.0]
    edges[edge] += 1.5
    left, top, right, bottom = edges
    moved = DetectedBox("cross", left, top, right - left, bottom - top, 0.8, is_given=True)
    parity = measure_parity(Predictor.open(detector).card, [answer(box())], [answer(moved)])
    assert parity.edge_difference_pixels == pytest.approx(1.5)
    assert parity.unmatched_boxes == 0


def test_cut_off_lists_may_end_differently(detector):
    card = Predictor.open(detector).card
    card = card.model_copy(update={"decoding": card.decoding.model_copy(update={"max_boxes": 2})})
    expected = answer(box(), box(left=50, confidence=0.6))
    found = answer(box(), box(left=90, confidence=0.6))
    assert measure_parity(card, [expected], [found]).unmatched_boxes == 0
    assert measure_parity(card, [expected], [answer(box())]).unmatched_boxes == 0
    assert measure_parity(card, [answer(box())], [answer(box(left=50))]).unmatched_boxes == 2
