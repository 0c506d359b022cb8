"""The gate: do the figures reach the limits? A failed gate is a result with reasons, never an exception."""

from collections.abc import Mapping

from tasks.evaluate.records import GateVerdict
from tasks.metrics.anomaly import AnomalyMetrics
from tasks.metrics.classification import ClassificationMetrics, LabelMetrics, macro
from tasks.metrics.detection import DetectionMetrics
from tasks.metrics.intervals import wilson_interval
from tasks.metrics.multi_label import MultiLabelMetrics
from tasks.metrics.task_metrics import TaskMetrics

MIN_TEST_IMAGES = 10
"""A label with fewer test images is judged on its cross-validated figures: one image would move recall by 10 %."""
MIN_TEST_BOXES = 10
"""A label with fewer test boxes is judged on its cross-validated figures, or not by itself where there are none."""

MAX_CONTRADICTION = 0.1
"""A share of the test split, at the upper end of its 95 % interval, may lie this far below the cross-validated one."""
ROUNDING = 1e-9
"""The mean of 0.7, 0.8 and 0.9 is 0.7999999999999999, and reaches a limit of 0.8."""

TEST, CROSS_VALIDATION, TOO_FEW = "test", "cross-validation", "too few boxes"


def judge(
    metrics: ClassificationMetrics | MultiLabelMetrics, min_macro_f1: float, min_label_recall: float
) -> GateVerdict:
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
    reasons += _low_recalls(judged, sources, min_label_recall, "images")
    reasons += (
        _contradictions(metrics)
        if isinstance(metrics, ClassificationMetrics)
        else _recall_contradictions(metrics, "labels")
    )
    return GateVerdict(passed=not reasons, reasons=tuple(reasons), judged_on=sources, macro_f1=macro_f1)


def judge_detection(metrics: DetectionMetrics, min_map_50: float, min_label_recall: float) -> GateVerdict:
    """Compare a detector's figures with the limits.

    mAP50 is judged on the test images, or on the cross-validated figure when there is one and a label has fewer than
    `MIN_TEST_BOXES` test boxes. Every label's recall is judged on its test figures, or on the cross-validated ones when
    it has fewer test boxes than that; a small label without these is not judged by itself. A test split without any box
    measures nothing, and does not pass.
    """
    judged, sources = {}, {}
    for label, tested in metrics.per_label.items():
        figures, sources[label] = _box_figures(label, tested, metrics)
        if figures:
            judged[label] = figures
    map_50, source = _judged_map_50(metrics)
    reasons = []
    if not any(figures.support for figures in metrics.per_label.values()):
        reasons.append(
            "the test images hold no box, so there is nothing to measure on; add images with boxes to the test split"
        )
    if map_50 is not None and map_50 < min_map_50 - ROUNDING:
        reasons.append(f"mAP50 {map_50:.3f} is below gate.min_map_50 {min_map_50:g} ({source})")
    reasons += _low_recalls(judged, sources, min_label_recall, "boxes")
    reasons += _recall_contradictions(metrics, "boxes")
    return GateVerdict(passed=not reasons, reasons=tuple(reasons), judged_on=sources, map_50=map_50)


def judge_anomalies(metrics: AnomalyMetrics, min_image_auroc: float, min_label_recall: float) -> GateVerdict:
    """Compare an anomaly model's figures on the test images with the limits.

    Without normal images, or without abnormal ones, nothing can be measured, and the model does not pass.
    """
    reasons = []
    if metrics.image_auroc is None:
        lacking = "normal" if not metrics.normal_images else "abnormal"
        reasons.append(
            f"the test images hold no {lacking} one, so there is nothing to measure; add some to the test split, or "
            "choose another data.split"
        )
    elif metrics.image_auroc < min_image_auroc - ROUNDING:
        reasons.append(
            f"image AUROC {metrics.image_auroc:.3f} is below gate.min_image_auroc {min_image_auroc:g} (on the test "
            "images)"
        )
    judged = {label: figures for label, figures in metrics.per_label.items() if figures.support}
    sources = dict.fromkeys(judged, TEST)
    reasons += _low_recalls(judged, sources, min_label_recall, "images")
    return GateVerdict(passed=not reasons, reasons=tuple(reasons), judged_on=sources, image_auroc=metrics.image_auroc)


def judge_metrics(metrics: TaskMetrics, limits: Mapping[str, float]) -> GateVerdict:
    """Compare the figures of a model of any task with the limits of its task, which are named as in `gate`."""
    recall = limits["min_label_recall"]
    if isinstance(metrics, AnomalyMetrics):
        return judge_anomalies(metrics, limits["min_image_auroc"], recall)
    if isinstance(metrics, DetectionMetrics):
        return judge_detection(metrics, limits["min_map_50"], recall)
    return judge(metrics, limits["min_macro_f1"], recall)


def _low_recalls(
    judged: Mapping[str, LabelMetrics], sources: Mapping[str, str], min_label_recall: float, unit: str
) -> list[str]:
    return [
        f"recall {figures.recall:.3f} of label {label!r} is below gate.min_label_recall {min_label_recall:g}"
        f" ({sources[label]}, {figures.support} {unit})"
        for label, figures in judged.items()
        if figures.recall < min_label_recall - ROUNDING
    ]


def _contradictions(metrics: ClassificationMetrics) -> list[str]:
    # Labels may be too small to be judged on their test images one by one; all test images together are not.
    estimate = metrics.cross_validated
    images = sum(figures.support for figures in metrics.per_label.values())
    if estimate is None or images < MIN_TEST_IMAGES:
        return []
    if not _contradicts(metrics.accuracy, images, estimate.accuracy):
        return []
    return [
        f"accuracy {metrics.accuracy:.3f} on {images} test images contradicts the cross-validated "
        f"{estimate.accuracy:.3f}; the test images differ from those trained on"
    ]


def _recall_contradictions(metrics: DetectionMetrics | MultiLabelMetrics, unit: str) -> list[str]:
    # mAP50 has no interval; the share of true boxes found has one, and tells of the same failure. So with labels.
    estimate = metrics.cross_validated
    count = sum(figures.support for figures in metrics.per_label.values())
    if estimate is None or count < MIN_TEST_BOXES:
        return []
    tested = sum(figures.recall * figures.support for figures in metrics.per_label.values()) / count
    # Labels are not equally easy: the estimate is weighed as the test split is.
    expected = sum(estimate.per_label[label].recall * one.support for label, one in metrics.per_label.items()) / count
    if not _contradicts(tested, count, expected):
        return []
    return [
        f"{tested:.3f} of the {count} test {unit} found contradicts the cross-validated {expected:.3f}; "
        "the test images differ from those trained on"
    ]


def _contradicts(share: float, count: int, expected: float) -> bool:
    return wilson_interval(round(share * count), count)[1] < expected - MAX_CONTRADICTION


def _figures(
    label: str, tested: LabelMetrics, metrics: ClassificationMetrics | MultiLabelMetrics
) -> tuple[LabelMetrics, str]:
    if tested.support < MIN_TEST_IMAGES and metrics.cross_validated:
        return metrics.cross_validated.per_label[label], CROSS_VALIDATION
    return tested, TEST


def _box_figures(label: str, tested: LabelMetrics, metrics: DetectionMetrics) -> tuple[LabelMetrics | None, str]:
    if tested.support >= MIN_TEST_BOXES:
        return tested, TEST
    estimated = metrics.cross_validated and metrics.cross_validated.per_label[label]
    if estimated and estimated.support:
        return estimated, CROSS_VALIDATION
    return None, TOO_FEW


def _judged_map_50(metrics: DetectionMetrics) -> tuple[float | None, str]:
    supports = [figures.support for figures in metrics.per_label.values()]
    small = sum(support < MIN_TEST_BOXES for support in supports)
    if small and metrics.cross_validated:
        which = f"{small} of {len(supports)} labels"
        return metrics.cross_validated.map_50, f"cross-validated: fewer than {MIN_TEST_BOXES} test boxes of {which}"
    return metrics.map_50 if any(supports) else None, "on the test images"


def _sources_in_words(sources: Mapping[str, str]) -> str:
    small = sum(source != TEST for source in sources.values())
    if not small:
        return "on the test images"
    if small == len(sources):
        return f"cross-validated: every label has fewer than {MIN_TEST_IMAGES} test images"
    return f"{small} of {len(sources)} labels cross-validated: fewer than {MIN_TEST_IMAGES} test images"
