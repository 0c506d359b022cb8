"""Advice on a classifier of any number of labels: what to look at and what to do, each with the figures it rests on."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from tasks.metrics.multi_label import MultiLabelMetrics
from tasks.report.advice_on_figures import MAX_CHANCE, fold_spread, thresholds
from tasks.report.facts import Advice, count_images, enumerated, most_important_first, quoted
from tasks.report.inputs import ReportInputs
from tasks.report.multi_label_facts import AnsweredImage, MultiLabelFacts
from tasks.report.shared_advice import IMAGES, conflicting_copies, few_things, unusable_files

SURE = 0.9
"""A model this sure of a label that an image does not carry may be right about it."""
MIN_SURE_HITS, MIN_SURE_PRECISION = 5, 0.9
"""Sure answers of a label are believed after this many were right, and if this share of them was."""
MIN_WEAK_IMAGES, WEAK_SHARE = 5, 0.5
MIN_COMPANION_SHARE = 0.7


def advise_on_labels(inputs: ReportInputs[MultiLabelMetrics]) -> list[Advice]:
    """Return all advice, most important first."""
    facts = MultiLabelFacts(inputs)
    return most_important_first(advice for rule in _RULES for advice in rule(facts))


def lacking_labels(facts: MultiLabelFacts) -> list[tuple[AnsweredImage, str]]:
    """Return images with a label that they do not carry and a trustworthy answer gives them, the surest first."""
    sure = [(one, label) for one in facts.answers for label in one.given if one.image.confidences[label] >= SURE]
    answers = Counter(label for _, label in sure)
    hits = Counter(label for one, label in sure if label in one.image.truth)
    believed = {
        label
        for label, count in answers.items()
        if hits[label] >= MIN_SURE_HITS and hits[label] >= MIN_SURE_PRECISION * count
    }
    found = [(one, label) for one, label in sure if label in believed and label in one.false]
    return sorted(found, key=lambda pair: (-pair[0].image.confidences[pair[1]], pair[0].image.source_ref))


def _lacking_labels(facts: MultiLabelFacts) -> Iterator[Advice]:
    found = lacking_labels(facts)
    if found:
        each = enumerated(f"{one.image.source_ref} ({quoted(label)})" for one, label in found)
        images = tuple(dict.fromkeys(one.image.source_ref for one, _ in found))
        yield Advice(
            "high",
            f"{count_images(len(images))} may lack a label",
            f"A model that had not seen them gives, with a confidence of {SURE} or more, a label that they do not "
            f"carry: {each}. Look at each: where the label fits, add it and train again.",
            images,
        )


def _few_images(facts: MultiLabelFacts) -> Iterator[Advice]:
    crossed = facts.inputs.metrics.cross_validated
    figures = crossed.per_label if crossed else facts.inputs.metrics.per_label
    return few_things(facts.counts, lambda label: figures[label].f1, IMAGES)


def _weak_labels(facts: MultiLabelFacts) -> Iterator[Advice]:
    weak = [
        label
        for label in facts.inputs.labels
        if facts.carried[label] >= MIN_WEAK_IMAGES and facts.missed[label] > WEAK_SHARE * facts.carried[label]
    ]
    if weak:
        each = enumerated(
            f"{quoted(label)} {facts.carried[label] - facts.missed[label]} of {facts.carried[label]}" for label in weak
        )
        yield Advice(
            "high",
            "Labels that are mostly not recognised",
            f"Given without having been seen: {each}. Check that images without the label do lack it, for each that "
            "does not teaches the opposite; then add images, or try a larger input size.",
            tuple(one.image.source_ref for one in facts.answers if set(one.missed) & set(weak)),
        )


def _companions(facts: MultiLabelFacts) -> Iterator[Advice]:
    """Tell of labels that are wrongly given mostly to images of one other label."""
    wrong = Counter(label for one in facts.answers for label in one.false)
    beside = Counter((label, true) for one in facts.answers for label in one.false for true in one.image.truth)
    often = {pair: count for pair, count in beside.items() if count >= MIN_COMPANION_SHARE * wrong[pair[0]]}
    for (label, true), count in sorted(often.items(), key=lambda item: (-item[1], item[0])):
        others = [true in one.image.truth for one in facts.answers if label not in one.image.truth]
        if chance_of_hits(count, wrong[label], sum(others) / len(others)) <= MAX_CHANCE:
            yield Advice(
                "medium",
                f"{quoted(label)} is wrongly given to images of {quoted(true)}",
                f"{count} of the {count_images(wrong[label])} that it is wrongly given to carry {quoted(true)}. Where "
                f"the two often stand together, the model takes one for a sign of the other: add images of "
                f"{quoted(true)} without {quoted(label)}.",
                tuple(one.image.source_ref for one in facts.answers if label in one.false and true in one.image.truth),
            )


def chance_of_hits(hits: int, trials: int, share: float) -> float:
    """Return how likely chance makes as many hits or more, each trial being one with a probability of `share`."""
    from scipy.stats import binom  # takes a second to import

    return float(binom.sf(hits - 1, trials, share))


_RULES: Sequence[Callable[[MultiLabelFacts], Iterable[Advice]]] = (
    _lacking_labels,
    _few_images,
    _weak_labels,
    _companions,
    conflicting_copies,
    thresholds,
    fold_spread,
    unusable_files,
)
