"""Advice that holds for models of every task, whether they judge images or boxes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.metrics.classification import LabelMetrics
from tasks.report.data_wording import counted
from tasks.report.facts import Advice, Confusions, RunFacts, count_images, enumerated, quoted

FEW_THINGS = 20
HIGH_PAIR_SHARE = 0.2
MAX_PAIRS = 3
GOOD_F1 = 0.8
LARGE_SPREAD = 0.1
MIN_SPREAD_FOLDS = 3


@dataclass(frozen=True, slots=True)
class Things:
    """What a model judges: the word for several of them, and a number of them in words."""

    name: str
    in_words: Callable[[int], str]


IMAGES = Things("images", count_images)
BOXES = Things("boxes", lambda count: counted(count, "box"))


@dataclass(frozen=True, slots=True)
class Spread:
    """A cross-validated mean, its standard deviation over the folds, and the labels' figures."""

    name: str
    mean: float
    deviation: float
    folds: int
    per_label: Mapping[str, LabelMetrics]


def few_things(counts: Mapping[str, int], f1_of: Callable[[str], float], things: Things) -> Iterator[Advice]:
    """Name the labels that have few images, or boxes, over all splits."""
    few = {label: count for label, count in counts.items() if count < FEW_THINGS}
    if not few:
        return
    each = enumerated(f"{quoted(label)} {few[label]}" for label in sorted(few, key=lambda label: (few[label], label)))
    fewest = max(min(few.values()), 1)
    yield Advice(
        "high" if any(f1_of(label) < GOOD_F1 for label in few) else "medium",
        f"{'One label has' if len(few) == 1 else f'{len(few)} labels have'} fewer than {FEW_THINGS} {things.name}",
        f"Number of {things.name}: {each}. With {things.in_words(fewest)}, one more or less that is right moves a "
        f"label's recall by {100 / fewest:.0f} points or more, so its figures are rough. Collect {FEW_THINGS} or more "
        "per label, from different parts, days and lots.",
    )


def confused_pairs(
    confusions: Confusions, things: Things, images_of: Callable[[Sequence[tuple[str, str]]], Iterable[str]]
) -> Iterator[Advice]:
    """Tell which labels are taken for each other; `images_of` finds where, for pairs of true label and answer."""
    shares = confusions.pairs
    pairs = list(shares)
    if not pairs:
        return
    ways = [way for a, b in pairs[:MAX_PAIRS] for way in ((a, b), (b, a)) if confusions.mistakes[way]]
    said = "; ".join(
        f"{confusions.mistakes[way]} of {things.in_words(confusions.judged[way[0]])} of {quoted(way[0])} are taken for "
        f"{quoted(way[1])}"
        for way in sorted(ways, key=lambda way: (-confusions.share(*way), way))
    )
    others = f", and {len(pairs) - 1} more pairs" if len(pairs) > 2 else ", and one more pair" * (len(pairs) - 1)
    yield Advice(
        "high" if shares[pairs[0]] >= HIGH_PAIR_SHARE else "medium",
        f"{quoted(pairs[0][0])} and {quoted(pairs[0][1])} are confused{others}",
        f"On images that the model had not seen: {said}. Check that both labels of a pair follow one written rule and "
        "that the difference can be seen at the size the network sees; then add images near the border between the "
        "two. Where the difference does not matter, make them one label.",
        tuple(images_of(ways)),
    )


def labels_spoken_of(confusions: Confusions) -> set[str]:
    """Return the labels that `confused_pairs` names."""
    return {label for pair in list(confusions.pairs)[:MAX_PAIRS] for label in pair}


def conflicting_copies(facts: RunFacts[Any]) -> Iterator[Advice]:
    """Name equal files with unequal labels."""
    refs = tuple(one.source_ref for one in facts.inputs.findings if one.code == "WARNING_CONFLICTING_LABELS")
    if refs:
        yield Advice(
            "medium",
            "The same image stands under different labels",
            f"{len(refs)} files were left out because files with the same bytes carry different labels. Decide which "
            "label is true, delete the other copies, and train again.",
            refs,
        )


def unusable_files(facts: RunFacts[Any]) -> Iterator[Advice]:
    """Name the files that were left out because of an error."""
    refs = tuple(sorted({one.source_ref for one in facts.inputs.findings if one.severity == "error"}))
    if refs:
        yield Advice(
            "low",
            f"{len(refs)} {'file' if len(refs) == 1 else 'files'} could not be used",
            "They were left out of training and test; the findings say what is wrong with each. Repair or remove them.",
            refs,
        )


def wide_spread(spread: Spread, things: Things) -> Iterator[Advice]:
    """Tell when the folds differ much."""
    if spread.folds < MIN_SPREAD_FOLDS or spread.deviation < LARGE_SPREAD:
        return
    label, figures = min(spread.per_label.items(), key=lambda item: (item[1].support, item[0]))
    yield Advice(
        "medium",
        "The folds differ much",
        f"{spread.name} is {spread.mean:.3f} with a standard deviation of {spread.deviation:.3f} over "
        f"{spread.folds} folds: how good the model is depends on which images it learned from. The rarest label, "
        f"{quoted(label)}, has about {figures.support / spread.folds:.1f} {things.name} in a fold: the fewer, the more "
        "of the difference is chance. More images of the rare labels make the figures, and the model, steadier.",
    )
