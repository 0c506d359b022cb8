import pytest

from tasks.evaluate.gate import MIN_TEST_BOXES, judge_detection
from tasks.metrics.detection import BoxLabelMetrics, CrossValidatedDetection, DetectionMetrics

ENOUGH, FEW = MIN_TEST_BOXES, MIN_TEST_BOXES - 1
Labels = dict[str, BoxLabelMetrics]


def _label(recall: float, support: int = ENOUGH) -> BoxLabelMetrics:
    return BoxLabelMetrics(
        precision=0.5, recall=recall, f1=0.5, threshold=0.5, support=support,
        average_precision=0.3, average_precision_50=0.5,
    )  # fmt: skip


def _metrics(map_50: float, tested: Labels, estimate: tuple[float, Labels] | None = None) -> DetectionMetrics:
    cross_validated = estimate and CrossValidatedDetection(
        map=0.3, map_50=estimate[0], map_50_std=0.1, macro_f1=0.5, folds=5, images=100, per_label=estimate[1]
    )
    return DetectionMetrics(
        map=0.3,
        map_50=map_50,
        map_75=0.3,
        mar_100=0.4,
        map_by_size={"small": None, "medium": 0.3, "large": None},
        macro_precision=0.5,
        macro_recall=0.5,
        macro_f1=0.5,
        per_label=tested,
        cross_validated=cross_validated,
    )


BOTH = {"a": _label(0.9), "b": _label(0.6)}
SMALL = {"a": _label(0.9), "b": _label(0.0, FEW)}
CASES = {
    "well above": (0.9, BOTH, None, 0.5, 0.5, []),
    "exactly at both limits": (0.5, BOTH, None, 0.5, 0.6, []),
    "mAP50 just below": (0.499, BOTH, None, 0.5, 0.6, [("mAP50 0.499", "gate.min_map_50 0.5", "on the test images")]),
    "recall just below": (0.9, BOTH, None, 0.5, 0.601, [("'b'", "recall 0.600", "0.601", "test, 10 boxes")]),
    "everything": (0.1, BOTH, None, 1.0, 1.0, [("mAP50",), ("'a'",), ("'b'",)]),
    "limits of 0": (0.0, {"a": _label(0.0)}, None, 0.0, 0.0, []),
    "small label without an estimate is not judged": (0.5, SMALL, None, 0.5, 0.6, []),
    "small label good in cross-validation": (
        0.1, SMALL, (0.8, {"a": _label(0.1, 30), "b": _label(0.7, 30)}), 0.7, 0.6, [],
    ),
    "small label bad in cross-validation": (
        0.9,
        SMALL,
        (0.4, {"a": _label(0.1, 30), "b": _label(0.5, 30)}),
        0.5,
        0.6,
        [
            ("mAP50 0.400", "cross-validated: fewer than 10 test boxes of 1 of 2 labels"),
            ("'b'", "0.500", "cross-validation, 30 boxes"),
        ],
    ),
    "large labels are judged on the test in spite of an estimate": (
        0.4, BOTH, (0.9, dict.fromkeys("ab", _label(0.5, 30))), 0.5, 0.6, [("mAP50 0.400", "on the test images")],
    ),
    "label without a box anywhere": (0.5, SMALL, (0.5, {"a": _label(0.9), "b": _label(0.0, 0)}), 0.5, 0.6, []),
    "no test box": (0.0, {"a": _label(0.0, 0)}, None, 0.5, 0.6, [("no box", "nothing to measure")]),
    "no test box, estimated": (
        0.0, {"a": _label(0.0, 0)}, (0.9, {"a": _label(0.9, 40)}), 0.5, 0.6, [("no box", "nothing to measure")],
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("map_50", "tested", "estimate", "min_map_50", "recall", "reasons"), CASES.values(), ids=CASES.keys()
)
def test_gate(
    map_50: float,
    tested: Labels,
    estimate: tuple[float, Labels] | None,
    min_map_50: float,
    recall: float,
    reasons: list[tuple[str, ...]],
) -> None:
    verdict = judge_detection(_metrics(map_50, tested, estimate), min_map_50, recall)
    assert len(verdict.reasons) == len(reasons), verdict.reasons
    for told, words in zip(verdict.reasons, reasons, strict=True):
        assert all(word in told for word in words), told
    assert verdict.passed == (not reasons)
    assert verdict.macro_f1 is None


@pytest.mark.parametrize(
    ("estimate", "judged_on", "map_50"),
    [
        (None, {"a": "test", "b": "too few boxes", "c": "too few boxes"}, 0.4),
        (
            (0.7, {"a": _label(0.9, 40), "b": _label(0.9, 3), "c": _label(0.0, 0)}),
            {"a": "test", "b": "cross-validation", "c": "too few boxes"},
            0.7,
        ),
    ],
    ids=["no estimate", "estimate"],
)
def test_sources_are_named_per_label(
    estimate: tuple[float, Labels] | None, judged_on: dict[str, str], map_50: float
) -> None:
    tested = {"a": _label(0.9, ENOUGH), "b": _label(0.9, FEW), "c": _label(0.0, 0)}
    verdict = judge_detection(_metrics(0.4, tested, estimate), 0.0, 0.0)
    assert verdict.judged_on == judged_on
    assert verdict.map_50 == map_50


def test_nothing_was_judged_without_a_test_box() -> None:
    assert judge_detection(_metrics(0.0, {"a": _label(0.0, 0)}), 0.5, 0.5).map_50 is None


def test_estimate_is_weighed_by_the_test_boxes() -> None:
    # The cross-validated images hold mostly easy boxes, the test images mostly hard ones: that is no contradiction.
    tested = {"easy": _label(1.0, 5), "hard": _label(0.2, 40)}
    estimate = (0.9, {"easy": _label(1.0, 200), "hard": _label(0.2, 10)})
    assert judge_detection(_metrics(0.9, tested, estimate), 0.0, 0.0).passed


@pytest.mark.parametrize(
    ("tested", "estimated", "is_contradicted"),
    [
        ({"a": _label(0.2, 9), "b": _label(0.2, 9)}, 0.9, True),
        ({"a": _label(0.2, 9), "b": _label(0.2, 9)}, 0.4, False),
        ({"a": _label(0.0, 5), "b": _label(0.0, 4)}, 0.9, False),
        ({"a": _label(0.8, 9), "b": _label(0.9, 9)}, 0.9, False),
    ],
    ids=["far below", "within the interval", "too few boxes", "about equal"],
)
def test_test_boxes_may_contradict_the_estimate(tested: Labels, estimated: float, is_contradicted: bool) -> None:
    estimate = (0.9, dict.fromkeys("ab", _label(estimated, 40)))
    reasons = judge_detection(_metrics(0.9, tested, estimate), 0.0, 0.0).reasons
    assert ["contradicts" in reason for reason in reasons] == [True] * is_contradicted
