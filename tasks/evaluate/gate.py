"""The gate: do the figures reach the limits? A failed gate is a result with reasons, never an exception."""

from tasks.evaluate.records import GateVerdict
from tasks.metrics.classification import ClassificationMetrics, LabelMetrics, macro
from tasks.metrics.intervals import wilson_interval

MIN_TEST_IMAGES = 10
"""A label with fewer test images is judged on its cross-validated figures: one image would move recall by 10 %."""


MAX_CONTRADICTION = 0.1
"""Accuracy on the test images, at the upper end of its 95 % interval, may lie this far below the cross-validated."""
ROUNDING = 1e-9
"""The mean of 0.7, 0.8 and 0.9 is 0.7999999999999999, and reaches a limit of 0.8."""


def judge(metrics: ClassificationMetrics, min_macro_f1: float, min_label_recall: float) -> GateVerdict:
    """Compare a classifier's figures with the limits.

    Every label is judged on its test figures, or on the cross-validated ones when it has fewer than
    `MIN_TEST_IMAGES` test images; macro-F1 is the mean over the figures so chosen.
    """
    judged, sources = {}, {}
    for label, tested in metrics.per_label.items():
        judged[label], sources[label] = _figures(label, tested, metrics)
    macro_f1 = macro(judged, "f1")
    reasons = []
    if macro_f1 < min_macro_f1 - ROUNDING:
        reasons.append(
            f"macro-F1 {macro_f1:.3f} is below gate.min_macro_f1 {min_macro_f1:g} ({_sources_in_words(sources)})"
        )
    reasons += [
        f"recall {figures.recall:.3f} of label {label!r} is below gate.min_label_recall {min_label_recall:g}"
        f" ({sources[label]}, {figures.support} images)"
        for label, figures in judged.items()
        if figures.recall < min_label_recall - ROUNDING
    ]
    reasons += _contradictions(metrics)
    return GateVerdict(passed=not reasons, reasons=tuple(reasons), judged_on=sources, macro_f1=macro_f1)


def _contradictions(metrics: ClassificationMetrics) -> list[str]:
    # Labels may be too small to be judged on their test images one by one; all test images together are not.
    estimate = metrics.cross_validated
    images = sum(figures.support for figures in metrics.per_label.values())
    if estimate is None or images < MIN_TEST_IMAGES:
        return []
    highest = wilson_interval(round(metrics.accuracy * images), images)[1]
    if highest >= estimate.accuracy - MAX_CONTRADICTION:
        return []
    return [
        f"accuracy {metrics.accuracy:.3f} on {images} test images contradicts the cross-validated "
        f"{estimate.accuracy:.3f}; the test images differ from those trained on"
    ]


def _figures(label: str, tested: LabelMetrics, metrics: ClassificationMetrics) -> tuple[LabelMetrics, str]:
    if tested.support < MIN_TEST_IMAGES and metrics.cross_validated:
        return metrics.cross_validated.per_label[label], "cross-validation"
    return tested, "test"


def _sources_in_words(sources: dict[str, str]) -> str:
    small = sum(source != "test" for source in sources.values())
    if not small:
        return "on the test images"
    if small == len(sources):
        return f"cross-validated: every label has fewer than {MIN_TEST_IMAGES} test images"
    return f"{small} of {len(sources)} labels cross-validated: fewer than {MIN_TEST_IMAGES} test images"
