"""What the summary tells of all images together, collected one image at a time in bounded memory."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tasks.predict.answers import ImageAnswer, Told, all_told

BINS = 10
"""Of the histogram, over 0 to 100."""
SUREST_PER_LABEL = 4
LEAST_SURE = 12
MAX_LABELS_WITH_PICTURES = 12


@dataclass(frozen=True, slots=True)
class Example:
    """An image to show, with what is drawn on it."""

    answer: ImageAnswer
    told: tuple[Told, ...]


@dataclass(order=True, slots=True)
class _Ranked:
    """An example by its rank; of equal rank the image that came first counts more. The lowest goes first."""

    rank: float
    order: int
    example: Example = field(compare=False)


class Overview:
    """Counts and examples of all predicted images.

    Attributes:
        images: number of images.
        with_predictions: number of images of which something was told.
        predictions: number of labels or boxes told, by label.
        images_by_label: number of images of which a label was told.
        histogram: number of labels or boxes told, by tenth of confidence, the lowest first.
    """

    def __init__(self, thresholds: Mapping[str, float], *, is_multi_label: bool = False) -> None:
        self.images = self.with_predictions = 0
        self.predictions: Counter[str] = Counter(dict.fromkeys(thresholds, 0))
        self.images_by_label: Counter[str] = Counter(dict.fromkeys(thresholds, 0))
        self.histogram = [0] * BINS
        self._thresholds = thresholds
        self._is_multi_label = is_multi_label
        self._surest: defaultdict[str, list[_Ranked]] = defaultdict(list)
        self._least_sure: list[_Ranked] = []

    def add(self, answer: ImageAnswer, told: Sequence[Told]) -> None:
        """Count an image with what is told of it."""
        self.images += 1
        self.with_predictions += bool(told)
        self.predictions.update(one.label for one in told)
        best: dict[str, Told] = {}
        for one in told:
            best.setdefault(one.label, one)
            self.histogram[min(int(one.percent * BINS / 100), BINS - 1)] += 1
        self.images_by_label.update(best.keys())
        for label, one in best.items():
            self._keep(self._surest[label], SUREST_PER_LABEL, one.confidence, Example(answer, tuple(told)))
        self._rank_doubt(answer, told)

    def surest(self) -> dict[str, list[Example]]:
        """Return the images surest of each label, the surest first; of the labels that were told most often."""
        labels = sorted(self._surest, key=lambda label: (-self.predictions[label], label))
        return {label: _examples(self._surest[label]) for label in labels[:MAX_LABELS_WITH_PICTURES]}

    def least_sure(self) -> list[Example]:
        """Return the images where a label or box came closest to its threshold, on either side."""
        return _examples(self._least_sure)

    def _rank_doubt(self, answer: ImageAnswer, told: Sequence[Told]) -> None:
        # Where one label is given, the lower ones are far from doubtful; any of several, and of boxes, may be.
        candidates = all_told(answer) if answer.boxes or self._is_multi_label else all_told(answer)[:1]
        if not candidates:
            return
        doubtful = min(candidates, key=self._margin)
        shown = [one for one in all_told(answer) if one in (*told, doubtful)]
        self._keep(self._least_sure, LEAST_SURE, -self._margin(doubtful), Example(answer, tuple(shown)))

    def _margin(self, one: Told) -> float:
        return abs(one.confidence - self._thresholds[one.label])

    def _keep(self, kept: list[_Ranked], count: int, rank: float, example: Example) -> None:
        heapq.heappush(kept, _Ranked(rank, -self.images, example))
        if len(kept) > count:
            heapq.heappop(kept)


def _examples(kept: Sequence[_Ranked]) -> list[Example]:
    return [one.example for one in sorted(kept, reverse=True)]
