import pytest

from tasks.evaluate.gate import MIN_TEST_IMAGES, judge
from tasks.metrics.classification import ClassificationMetrics, CrossValidated, LabelMetrics

ENOUGH, FEW = MIN_TEST_IMAGES, MIN_TEST_IMAGES - 1


def _label(f1: float, recall: float, support: int = ENOUGH) -> LabelMetrics:
    return LabelMetrics(precision=f1, recall=recall, f1=f1, threshold=0.5, support=support)


def _metrics(
    tested: dict[str, LabelMetrics], estimated: dict[str, LabelMetrics] | None = None
) -> ClassificationMetrics:
    cross_validated = None
    if estimated is not None:
        cross_validated = CrossValidated(
            macro_f1=0.0, macro_f1_std=0.0, accuracy=0.0, folds=5, images=100, per_label=estimated
        )
    return ClassificationMetrics(
        accuracy=0.0,
        macro_precision=0.0,
        macro_recall=0.0,
        macro_f1=0.0,
        per_label=tested,
        calibration_error=0.0,
        cross_validated=cross_validated,
    )


BOTH = {"a": _label(0.9, 0.9), "b": _label(0.7, 0.6)}
CASES = {
    "well above": (BOTH, None, 0.5, 0.5, []),
    "exactly at both limits": (BOTH, None, 0.8, 0.6, []),
    "macro-F1 just below": (BOTH, None, 0.801, 0.6, [("macro-F1", "0.800", "0.801")]),
    "recall just below": (BOTH, None, 0.8, 0.601, [("'b'", "recall", "0.600", "0.601")]),
    "recalls of both": (BOTH, None, 0.0, 0.95, [("'a'", "0.900", "0.95"), ("'b'", "0.600", "0.95")]),
    "everything": (BOTH, None, 1.0, 1.0, [("macro-F1",), ("'a'",), ("'b'",)]),
    "limits of 0": ({"a": _label(0.0, 0.0), "b": _label(0.0, 0.0)}, None, 0.0, 0.0, []),
    "perfect at limits of 1": ({"a": _label(1.0, 1.0), "b": _label(1.0, 1.0)}, None, 1.0, 1.0, []),
    "mean of three at the limit": (
        {"a": _label(0.7, 0.7), "b": _label(0.8, 0.8), "c": _label(0.9, 0.9)},
        None,
        0.8,
        0.7,
        [],
    ),
    "one label at 0": (
        {"a": _label(1.0, 1.0), "b": _label(0.0, 0.0)},
        None,
        0.5,
        0.6,
        [("'b'", "recall", "0.000", "0.6")],
    ),
    "small label good in cross-validation": (
        {"a": _label(0.9, 0.9), "b": _label(0.0, 0.0, FEW)},
        {"a": _label(0.1, 0.1), "b": _label(0.9, 0.9, 40)},
        0.9,
        0.9,
        [],
    ),
    "small label bad in cross-validation": (
        {"a": _label(0.9, 0.9), "b": _label(1.0, 1.0, FEW)},
        {"a": _label(0.9, 0.9), "b": _label(0.7, 0.5, 40)},
        0.8,
        0.6,
        [("'b'", "0.500", "0.6", "cross-validation", "40 images")],
    ),
    "label without test images": (
        {"a": _label(0.9, 0.9), "b": _label(0.0, 0.0, 0)},
        {"a": _label(0.9, 0.9), "b": _label(0.9, 0.9, 5)},
        0.9,
        0.9,
        [],
    ),
    "small label without cross-validation": (
        {"a": _label(0.9, 0.9), "b": _label(0.5, 0.5, FEW)},
        None,
        0.0,
        0.6,
        [("'b'", "0.500", "test", f"{FEW} images")],
    ),
    "label with just enough test images": (
        {"a": _label(0.9, 0.9), "b": _label(0.5, 0.5, ENOUGH)},
        {"a": _label(0.9, 0.9), "b": _label(0.9, 0.9, 40)},
        0.0,
        0.6,
        [("'b'", "0.500", "test", f"{ENOUGH} images")],
    ),
}


@pytest.mark.parametrize(("tested", "estimated", "macro_f1", "recall", "reasons"), CASES.values(), ids=CASES.keys())
def test_gate(
    tested: dict[str, LabelMetrics],
    estimated: dict[str, LabelMetrics] | None,
    macro_f1: float,
    recall: float,
    reasons: list[tuple[str, ...]],
) -> None:
    verdict = judge(_metrics(tested, estimated), macro_f1, recall)
    assert len(verdict.reasons) == len(reasons), verdict.reasons
    for told, words in zip(verdict.reasons, reasons, strict=True):
        assert all(word in told for word in words), told
    assert verdict.passed == (not reasons)


def test_sources_are_named_per_label() -> None:
    tested = {"a": _label(0.9, 0.9), "b": _label(0.1, 0.1, FEW), "c": _label(0.1, 0.1, 0)}
    verdict = judge(_metrics(tested, dict.fromkeys("abc", _label(0.6, 0.6, 30))), 0.0, 0.0)
    assert verdict.judged_on == {"a": "test", "b": "cross-validation", "c": "cross-validation"}
    assert verdict.macro_f1 == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("supports", "words"),
    [((ENOUGH, ENOUGH), "on the test images"), ((ENOUGH, FEW), "1 of 2 labels"), ((FEW, FEW), "every label")],
    ids=["all tested", "one small", "all small"],
)
def test_reason_tells_which_figures_were_judged(supports: tuple[int, int], words: str) -> None:
    tested = {label: _label(0.1, 1.0, support) for label, support in zip("ab", supports, strict=True)}
    (reason,) = judge(_metrics(tested, dict.fromkeys("ab", _label(0.1, 1.0, 40))), 0.5, 0.0).reasons
    assert words in reason
