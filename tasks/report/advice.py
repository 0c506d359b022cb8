"""Advice drawn from the numbers: what to look at and what to do, each with the figures it rests on.

A rule speaks only when the numbers carry it: a pattern needs several images, a difference needs more than chance.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from tasks.metrics.classification import ClassificationMetrics
from tasks.report.advice_on_figures import calibration, fold_spread, gap_to_test, thresholds, unclear_answers
from tasks.report.facts import Advice, Facts, HeldOutImage, count_images, enumerated, most_important_first, quoted
from tasks.report.inputs import ReportInputs
from tasks.report.shared_advice import (
    IMAGES,
    conflicting_copies,
    confused_pairs,
    few_things,
    labels_spoken_of,
    unusable_files,
)

SUSPECT_CONFIDENCE = 0.8
"""A model this sure of another label may be right about it."""
SUSPECT_OWN_CONFIDENCE = 0.1
MIN_CONFIDENT_HITS = 5
MIN_CONFIDENT_PRECISION = 0.8
"""Confident answers of a label are believed after this many were right, and if this share of them was."""
MAX_SUSPECTS, MAX_SUSPECT_SHARE = 2, 0.25
"""More suspects of one label than both: the model does not know the label; its labelling need not be wrong."""
WEAK_SHARE = 0.5
MIN_WEAK_IMAGES = 5
LARGE_IMBALANCE = 10.0


def advise(inputs: ReportInputs[ClassificationMetrics]) -> list[Advice]:
    """Return all advice, most important first."""
    facts = Facts(inputs)
    return most_important_first(advice for rule in _RULES for advice in rule(facts))


def _suspected_mislabels(facts: Facts) -> Iterator[Advice]:
    suspects = suspected_mislabels(facts)
    if suspects:
        each = enumerated(f"{i.source_ref} ({quoted(i.label)}, answered {quoted(i.top)})" for i in suspects)
        yield Advice(
            "high",
            f"{count_images(len(suspects))} may carry the wrong label",
            f"A model that had not seen them answers another label with a confidence of {SUSPECT_CONFIDENCE} or more "
            f"and gives their own {SUSPECT_OWN_CONFIDENCE} at most: {each}. Look at each: where the label is wrong, "
            "correct it and train again; where it is right, add more images like it.",
            tuple(image.source_ref for image in suspects),
        )


def suspected_mislabels(facts: Facts) -> list[HeldOutImage]:
    """Return the images that a trustworthy answer contradicts, the surest first."""
    sure = [image for image in facts.images if image.confidence >= SUSPECT_CONFIDENCE]
    hits = Counter(image.top for image in sure if image.is_right)
    answers = Counter(image.top for image in sure)
    # A model that is often surely wrong about a label says nothing about the labelling.
    believed = {
        top
        for top, count in answers.items()
        if hits[top] >= MIN_CONFIDENT_HITS and hits[top] >= MIN_CONFIDENT_PRECISION * count
    }
    doubted = [i for i in sure if not i.is_right and i.top in believed and i.own_confidence <= SUSPECT_OWN_CONFIDENCE]
    per_label = Counter(image.label for image in doubted)
    kept = [
        image
        for image in doubted
        if per_label[image.label] <= max(MAX_SUSPECTS, MAX_SUSPECT_SHARE * facts.judged[image.label])
    ]
    return sorted(kept, key=lambda image: (-image.confidence, image.source_ref))


def _few_images(facts: Facts) -> Iterator[Advice]:
    crossed = facts.inputs.metrics.cross_validated
    figures = crossed.per_label if crossed else facts.inputs.metrics.per_label
    return few_things(facts.counts, lambda label: figures[label].f1, IMAGES)


def _confused_pairs(facts: Facts) -> Iterator[Advice]:
    def images_of(ways: Sequence[tuple[str, str]]) -> Iterator[str]:
        return (i.source_ref for i in facts.images if not i.is_right and (i.label, i.top) in ways)

    return confused_pairs(facts.confusions, IMAGES, images_of)


def _weak_labels(facts: Facts) -> Iterator[Advice]:
    covered = labels_spoken_of(facts.confusions)
    weak = []
    for label in facts.inputs.labels:
        missed = sum(count for (truth, _), count in facts.mistakes.items() if truth == label)
        judged = facts.judged[label]
        if label not in covered and judged >= MIN_WEAK_IMAGES and missed > WEAK_SHARE * judged:
            weak.append(f"{quoted(label)} {judged - missed} of {judged}")
    if weak:
        yield Advice(
            "high",
            "Labels that are mostly not recognised",
            f"Recognised without having been seen: {enumerated(weak)}. The answers spread over other labels: what "
            "these images share is hard to see. Add images, or try a larger input size.",
        )


def _majority(facts: Facts) -> Iterator[Advice]:
    if not facts.images:
        return
    total = len(facts.images)
    label, count = max(facts.judged.items(), key=lambda item: (item[1], item[0]))
    right = sum(image.is_right for image in facts.images)
    if right <= count:
        yield Advice(
            "high",
            f"Always answering {quoted(label)} would be right at least as often",
            f"Of {count_images(total)} that the model had not seen it gets {right} right ({right / total:.3f}); "
            f"{count} ({count / total:.3f}) carry {quoted(label)}. Do not judge this model by its accuracy: look at "
            "the recall of the other labels, and add images of them.",
        )
        return
    fewest, least = min(facts.counts.items(), key=lambda item: (item[1], item[0]))
    most = facts.counts.get(label, count)
    if most >= LARGE_IMBALANCE * max(least, 1):
        yield Advice(
            "low",
            "The labels are very unequal in number",
            f"{quoted(label)} has {count_images(most)}, {quoted(fewest)} has {least}. Accuracy then says mostly how "
            f"{quoted(label)} fares ({count / total:.3f} without looking at any image); judge by macro-F1 and "
            "recall, and collect images of the rare labels first.",
        )


_RULES: Sequence[Callable[[Facts], Iterable[Advice]]] = (
    _suspected_mislabels,
    _majority,
    gap_to_test,
    _confused_pairs,
    _weak_labels,
    _few_images,
    conflicting_copies,
    thresholds,
    fold_spread,
    unclear_answers,
    calibration,
    unusable_files,
)
