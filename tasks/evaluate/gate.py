"""The gate: do the figures reach the limits? A failed gate is a result with reasons, never an exception."""

from tasks.evaluate.records import GateVerdict
from tasks.metrics.classification import ClassificationMetrics, LabelMetrics, macro

MIN_TEST_IMAGES = 10
"""A label with fewer test images is judged on its cross-validated figures: one image would move recall by 10 %."""


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
    if macro_f1 < min_macro_f1:
        reasons.append(
            f"macro-F1 {macro_f1:.3f} is below gate.min_macro_f1 {min_macro_f1:g} ({_sources_in_words(sources)})"
        )
    reasons += [
        f"recall {figures.recall:.3f} of label {label!r} is below gate.min_label_recall {min_label_recall:g}"
        f" ({sources[label]}, {figures.support} images)"
        for label, figures in judged.items()
        if figures.recall < min_label_recall
    ]
    return GateVerdict(passed=not reasons, reasons=tuple(reasons), judged_on=sources, macro_f1=macro_f1)


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
