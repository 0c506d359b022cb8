"""Advice drawn from an anomaly model's numbers: what to look at and what to do, with the figures it rests on."""

from collections.abc import Callable, Iterator, Sequence

from tasks.evaluate.records import ImagePrediction
from tasks.metrics.anomaly import ANOMALY, AnomalyMetrics
from tasks.report.facts import Advice, RunFacts, count_images, most_important_first
from tasks.report.inputs import ReportInputs
from tasks.report.shared_advice import conflicting_copies, unusable_files

HIGH_ERROR_SHARE = 0.2
FEW_NORMAL = 60
"""Of images to learn from: the rarest looks of good parts are missing among fewer."""
FEW_ANOMALIES = 10
GOOD_SEPARATION = 0.97
"""Image AUROC at which confidences tell the two kinds apart, so that errors are the threshold's."""


def advise_on_anomaly_model(inputs: ReportInputs[AnomalyMetrics]) -> list[Advice]:
    """Return all advice, most important first."""
    facts: RunFacts[AnomalyMetrics] = RunFacts(inputs)
    return most_important_first(advice for rule in _RULES for advice in rule(facts))


def _false_alarms(facts: RunFacts[AnomalyMetrics]) -> Iterator[Advice]:
    images = _wrong(facts, is_abnormal=False)
    if images:
        metrics = facts.inputs.metrics
        yield Advice(
            "high" if metrics.false_alarm_rate > HIGH_ERROR_SHARE else "medium",
            f"{count_images(len(images))} without a defect {'is' if len(images) == 1 else 'are'} called abnormal",
            f"That is {metrics.false_alarm_rate:.0%} of the {metrics.normal_images} normal test images. Look at where "
            "they are hot: a defect that nobody labelled, or a look that good parts may have and the training images "
            "lack. Label the first as a defect, and add images of the second to the good ones.",
            _references(images),
        )


def _missed(facts: RunFacts[AnomalyMetrics]) -> Iterator[Advice]:
    images = _wrong(facts, is_abnormal=True)
    if not images:
        return
    metrics = facts.inputs.metrics
    threshold = "Confidences tell most of them apart, so a lower threshold would find them, with more false alarms: "
    threshold += "give the validation images some anomalies, or raise training.anomaly.false_alarm_rate."
    detail = "Where the defect is small, a larger training.input_size may show it; where good parts differ widely, a "
    detail += "larger training.anomaly.memory_patches or a training.preprocessing.crop may."
    is_separated = (metrics.image_auroc or 0.0) >= GOOD_SEPARATION
    yield Advice(
        "high" if 1.0 - metrics.macro_recall > HIGH_ERROR_SHARE else "medium",
        f"{count_images(len(images))} with a defect {'passes' if len(images) == 1 else 'pass'} as normal",
        f"Of {metrics.per_label[ANOMALY].support} abnormal test images {1.0 - metrics.macro_recall:.0%} are missed. "
        + (threshold if is_separated else detail),
        _references(images),
    )


def _few_normal(facts: RunFacts[AnomalyMetrics]) -> Iterator[Advice]:
    count = len(facts.inputs.entries.get("train", ()))
    if count < FEW_NORMAL:
        yield Advice(
            "medium",
            f"Only {count_images(count)} to learn from",
            f"What is normal is learned from them alone: whatever good parts may look like and they do not show counts "
            f"as abnormal. Collect {FEW_NORMAL} or more, from different parts, days and lots; they need no labels but "
            "good.",
        )


def _few_anomalies(facts: RunFacts[AnomalyMetrics]) -> Iterator[Advice]:
    count = facts.inputs.metrics.per_label[ANOMALY].support
    if count < FEW_ANOMALIES:
        yield Advice(
            "medium",
            f"Only {count_images(count)} with a defect to test on",
            "Nothing was learned from them, but what is measured on so few says little. Keep every defect you come "
            "across for the test.",
        )


def _wrong(facts: RunFacts[AnomalyMetrics], *, is_abnormal: bool) -> list[ImagePrediction]:
    return [one for one in facts.inputs.predictions if bool(one.truth) == is_abnormal and not one.is_correct]


def _references(images: Sequence[ImagePrediction]) -> tuple[str, ...]:
    return tuple(image.source_ref for image in images)


_RULES: Sequence[Callable[[RunFacts[AnomalyMetrics]], Iterator[Advice]]] = (
    _missed,
    _false_alarms,
    _few_normal,
    _few_anomalies,
    conflicting_copies,
    unusable_files,
)
