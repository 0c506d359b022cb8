"""Advice drawn from the numbers: what to look at and what to do, each with the figures it rests on.

A rule speaks only when the numbers carry it: a pattern needs several images, a difference needs more than chance.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import get_args

from tasks.report.advice_on_figures import calibration, fold_spread, gap_to_test, thresholds, unclear_answers
from tasks.report.facts import Advice, Facts, HeldOutImage, Severity, count_images, enumerated, quoted
from tasks.report.inputs import ReportInputs

SUSPECT_CONFIDENCE = 0.8
"""A model this sure of another label may be right about it."""
SUSPECT_OWN_CONFIDENCE = 0.1
MIN_CONFIDENT_HITS = 5
MIN_CONFIDENT_PRECISION = 0.8
"""Confident answers of a label are believed after this many were right, and if this share of them was."""
MAX_SUSPECTS, MAX_SUSPECT_SHARE = 2, 0.25
"""More suspects of one label than both: the model does not know the label; its labelling need not be wrong."""
HIGH_PAIR_SHARE = 0.2
MAX_PAIRS = 3
FEW_IMAGES = 20
WEAK_SHARE = 0.5
MIN_WEAK_IMAGES = 5
LARGE_IMBALANCE = 10.0
GOOD_F1 = 0.8


def advise(inputs: ReportInputs) -> list[Advice]:
    """Return all advice, most important first."""
    facts = Facts(inputs)
    found = [advice for rule in _RULES for advice in rule(facts)]
    return sorted(found, key=lambda advice: get_args(Severity).index(advice.severity))


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


def _conflicting_copies(facts: Facts) -> Iterator[Advice]:
    refs = tuple(one.source_ref for one in facts.inputs.findings if one.code == "WARNING_CONFLICTING_LABELS")
    if refs:
        yield Advice(
            "medium",
            "The same image stands under different labels",
            f"{len(refs)} files were left out because files with the same bytes carry different labels. Decide which "
            "label is true, delete the other copies, and train again.",
            refs,
        )


def _few_images(facts: Facts) -> Iterator[Advice]:
    few = {label: count for label, count in facts.counts.items() if count < FEW_IMAGES}
    if not few:
        return
    each = enumerated(f"{quoted(label)} {few[label]}" for label in sorted(few, key=lambda label: (few[label], label)))
    fewest = max(min(few.values()), 1)
    yield Advice(
        "high" if any(_cross_validated_f1(facts.inputs, label) < GOOD_F1 for label in few) else "medium",
        f"{'One label has' if len(few) == 1 else f'{len(few)} labels have'} fewer than {FEW_IMAGES} images",
        f"Number of images: {each}. With {count_images(fewest)}, one more or less that is right moves a label's recall "
        f"by {100 / fewest:.0f} points or more, so its figures are rough. Collect {FEW_IMAGES} or more per label, from "
        "different parts, days and lots.",
    )


def _confused_pairs(facts: Facts) -> Iterator[Advice]:
    pairs = list(facts.confused)
    if not pairs:
        return
    ways = [way for a, b in pairs[:MAX_PAIRS] for way in ((a, b), (b, a)) if facts.mistakes[way]]
    said = "; ".join(
        f"{facts.mistakes[way]} of {count_images(facts.judged[way[0]])} of {quoted(way[0])} are taken for "
        f"{quoted(way[1])}"
        for way in sorted(ways, key=lambda way: (-facts.share(*way), way))
    )
    others = f", and {len(pairs) - 1} more pairs" if len(pairs) > 2 else ", and one more pair" * (len(pairs) - 1)
    yield Advice(
        "high" if facts.confused[pairs[0]] >= HIGH_PAIR_SHARE else "medium",
        f"{quoted(pairs[0][0])} and {quoted(pairs[0][1])} are confused{others}",
        f"On images that the model had not seen: {said}. Check that both labels of a pair follow one written rule and "
        "that the difference can be seen at the size the network sees; then add images near the border between the "
        "two. Where the difference does not matter, make them one label.",
        tuple(image.source_ref for image in facts.images if not image.is_right and (image.label, image.top) in ways),
    )


def _weak_labels(facts: Facts) -> Iterator[Advice]:
    covered = {label for pair in list(facts.confused)[:MAX_PAIRS] for label in pair}
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


def _unusable_files(facts: Facts) -> Iterator[Advice]:
    refs = tuple(sorted({one.source_ref for one in facts.inputs.findings if one.severity == "error"}))
    if refs:
        yield Advice(
            "low",
            f"{len(refs)} {'file' if len(refs) == 1 else 'files'} could not be used",
            "They were left out of training and test; the findings say what is wrong with each. Repair or remove them.",
            refs,
        )


_RULES: Sequence[Callable[[Facts], Iterable[Advice]]] = (
    _suspected_mislabels,
    _majority,
    gap_to_test,
    _confused_pairs,
    _weak_labels,
    _few_images,
    _conflicting_copies,
    thresholds,
    fold_spread,
    unclear_answers,
    calibration,
    _unusable_files,
)


def _cross_validated_f1(inputs: ReportInputs, label: str) -> float:
    crossed = inputs.metrics.cross_validated
    figures = crossed.per_label if crossed else inputs.metrics.per_label
    return figures[label].f1
