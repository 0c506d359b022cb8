"""What advice rests on: the images judged unseen, counted by label and by mistake; and how advice is worded."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Literal, get_args

from tasks.metrics.classification import ClassificationMetrics
from tasks.report.inputs import MetricsT, ReportInputs

Severity = Literal["high", "medium", "low"]

MIN_PAIR_MISTAKES = 3
"""Fewer mistakes between two labels are no pattern."""
MIN_PAIR_SHARE = 0.05
MAX_NAMES = 5
MAX_LABEL_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing to do; `images` are the references of the files to look at."""

    severity: Severity
    title: str
    text: str
    images: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HeldOutImage:
    """An image judged by a model that had not seen it; `tested` tells the test split from cross-validation."""

    source_ref: str
    truth: tuple[str, ...]
    confidences: Mapping[str, float]
    tested: bool

    @property
    def label(self) -> str:
        """The true label, or all of them joined."""
        return " + ".join(self.truth)

    @property
    def top(self) -> str:
        """The label with the highest confidence."""
        return max(self.confidences, key=self.confidences.__getitem__)

    @property
    def confidence(self) -> float:
        """The highest confidence."""
        return self.confidences[self.top]

    @property
    def own_confidence(self) -> float:
        """The highest confidence of a true label."""
        return max((self.confidences.get(label, 0.0) for label in self.truth), default=0.0)

    @property
    def is_right(self) -> bool:
        """Whether the label with the highest confidence is true."""
        return self.top in self.truth


def held_out_images(inputs: ReportInputs[Any]) -> list[HeldOutImage]:
    """Return the cross-validated and the test images."""
    crossed = [HeldOutImage(one.source_ref, one.truth, one.confidences, False) for one in inputs.out_of_fold]
    tested = [HeldOutImage(one.source_ref, one.truth, one.confidences, True) for one in inputs.predictions]
    return crossed + tested


@dataclass(frozen=True, slots=True)
class Confusions:
    """Things (images or boxes) per true label, and per true label and the wrong one they were taken for."""

    judged: Counter[str]
    mistakes: Counter[tuple[str, str]]

    @property
    def pairs(self) -> dict[tuple[str, str], float]:
        """Pairs of labels that are taken for each other, with the larger share of one taken for the other."""
        pairs = sorted({(min(pair), max(pair)) for pair in self.mistakes})
        shares = {pair: max(self.share(*pair), self.share(*reversed(pair))) for pair in pairs}
        return {
            (a, b): share
            for (a, b), share in sorted(shares.items(), key=lambda item: (-item[1], item[0]))
            if share >= MIN_PAIR_SHARE and self.mistakes[a, b] + self.mistakes[b, a] >= MIN_PAIR_MISTAKES
        }

    def share(self, truth: str, answer: str) -> float:
        """Share of a label's things that are taken for another label."""
        return self.mistakes[truth, answer] / self.judged[truth] if self.judged[truth] else 0.0


class RunFacts(Generic[MetricsT]):
    """What rules for models of every task need."""

    def __init__(self, inputs: ReportInputs[MetricsT]) -> None:
        self.inputs = inputs


class ImageFacts(RunFacts[MetricsT]):
    """What rules for labels of whole images need."""

    @cached_property
    def counts(self) -> dict[str, int]:
        """Images per label over all splits."""
        counted = Counter(
            label for entries in self.inputs.entries.values() for entry in entries for label in entry.truth.labels
        )
        return {label: counted[label] for label in self.inputs.labels}


class Facts(ImageFacts[ClassificationMetrics]):
    """What several rules need of a classifier, computed once."""

    def __init__(self, inputs: ReportInputs[ClassificationMetrics]) -> None:
        super().__init__(inputs)
        self.images = held_out_images(inputs)
        self.crossed = [image for image in self.images if not image.tested]
        self.tested = [image for image in self.images if image.tested]

    @cached_property
    def judged(self) -> Counter[str]:
        """Held-out images per true label."""
        return Counter(image.label for image in self.images)

    @cached_property
    def mistakes(self) -> Counter[tuple[str, str]]:
        """Held-out images per true label and wrong answer."""
        return Counter((image.label, image.top) for image in self.images if not image.is_right)

    @cached_property
    def confusions(self) -> Confusions:
        """Held-out images taken for another label."""
        return Confusions(self.judged, self.mistakes)


def most_important_first(advice: Iterable[Advice]) -> list[Advice]:
    """Return advice by severity, otherwise in the order given."""
    return sorted(advice, key=lambda one: get_args(Severity).index(one.severity))


def count_images(count: int) -> str:
    """Return `1 image` or `N images`."""
    return f"{count} image" if count == 1 else f"{count} images"


def quoted(label: str) -> str:
    """Return a label in quotation marks, cut short so that a sentence around it can be read."""
    short = label if len(label) <= MAX_LABEL_CHARACTERS else f"{label[: MAX_LABEL_CHARACTERS - 1]}…"
    return f"“{short}”"


def enumerated(items: Iterable[str]) -> str:
    """Return the first items joined by commas, and how many more there are."""
    named = list(items)
    rest = len(named) - MAX_NAMES
    return ", ".join(named[:MAX_NAMES]) + (f" and {rest} more" if rest > 0 else "")
