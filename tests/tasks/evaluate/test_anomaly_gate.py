"""The limits of an anomaly model, and what counts as a right answer of it."""

import numpy as np
import pytest

from tasks.evaluate.gate import judge_anomalies, judge_metrics
from tasks.evaluate.records import ImagePrediction
from tasks.metrics.anomaly import AnomalyMetrics, measure_anomalies
from tasks.vision.boxes import BoundingBox, DetectedBox
from tasks.vision.heat_maps import HeatMap

HEAT = HeatMap.of(np.zeros((2, 2), np.float32))


def metrics(normal: list[float], abnormal: list[float]) -> AnomalyMetrics:
    truth = np.array([False] * len(normal) + [True] * len(abnormal))
    return measure_anomalies(truth, np.array(normal + abnormal), 0.5, None)


GOOD = metrics([0.1, 0.2, 0.3, 0.55], [0.4, 0.6, 0.7, 0.8, 0.9])  # 19 of 20 pairs in order, 4 of 5 found
CASES = {
    "above both": (GOOD, 0.9, 0.6, []),
    "at both": (GOOD, 0.95, 0.8, []),
    "area below": (GOOD, 0.951, 0.6, [("image AUROC 0.950", "gate.min_image_auroc 0.951")]),
    "recall below": (GOOD, 0.9, 0.81, [("recall 0.800", "gate.min_label_recall 0.81")]),
    "no anomaly": (metrics([0.1, 0.2], []), 0.0, 0.0, [("no abnormal one",)]),
    "no normal image": (metrics([], [0.1, 0.9]), 0.0, 0.0, [("no normal one",)]),
}


@pytest.mark.parametrize(("measured", "area", "recall", "reasons"), CASES.values(), ids=CASES)
def test_reasons(measured: AnomalyMetrics, area: float, recall: float, reasons: list[tuple[str, ...]]) -> None:
    verdict = judge_anomalies(measured, area, recall)
    assert verdict.passed == (not reasons)
    assert len(verdict.reasons) == len(reasons)
    for reason, words in zip(verdict.reasons, reasons, strict=True):
        assert all(word in reason for word in words)
    assert verdict.image_auroc == measured.image_auroc
    limits = {"min_image_auroc": area, "min_label_recall": recall, "min_map_50": 1.0, "min_macro_f1": 1.0}
    assert judge_metrics(measured, limits) == verdict


@pytest.mark.parametrize(
    ("truth", "given", "is_correct"),
    [
        pytest.param((), (), True, id="normal and passed"),
        pytest.param(("anomaly",), ("anomaly",), True, id="found, wherever the box lies"),
        pytest.param((), ("anomaly",), False, id="false alarm"),
        pytest.param(("anomaly",), (), False, id="missed"),
    ],
)
def test_the_verdict_alone_is_right_or_wrong(truth: tuple[str, ...], given: tuple[str, ...], is_correct: bool) -> None:
    boxes = (DetectedBox("anomaly", 50, 50, 9, 9, 0.7, bool(given)),) if given else ()
    true_boxes = (BoundingBox("anomaly", 0, 0, 5, 5),) if truth else ()
    one = ImagePrediction(
        source_ref="a.png",
        sha256="",
        truth=truth,
        confidences={"anomaly": 0.7 if given else 0.2},
        given=given,
        true_boxes=true_boxes,
        boxes=boxes,
        heat_map=HEAT,
    )
    assert one.is_correct == is_correct
    assert ImagePrediction.model_validate_json(one.model_dump_json(exclude_none=True)) == one
