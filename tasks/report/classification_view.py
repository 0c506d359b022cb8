"""A classifier's own parts of the report: accuracy, mistakes with the labels' confidences, images by label."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.dataset.entries import SPLITS, ImageEntry, Split
from tasks.metrics.classification import ClassificationMetrics, macro
from tasks.metrics.intervals import wilson_interval
from tasks.report.advice import advise
from tasks.report.facts import HeldOutImage, held_out_images
from tasks.report.inputs import ReportInputs
from tasks.report.pictures import Place
from tasks.report.places import PlaceIndex
from tasks.report.training_charts import training_values
from tasks.report.view import Arranged, View
from tasks.report.why import why_values
from tasks.report.wording import CLASSIFICATION_FIGURES

TEMPLATE = "classification.html.j2"
MAX_TEST_CARDS = 24
MAX_CROSS_VALIDATED_CARDS = 12
MAX_UNCERTAIN_CARDS = 6
MAX_BARS = 3


@dataclass(frozen=True, slots=True)
class Card:
    """One image with its truth and answer; `bars` are labels with confidences, highest first, truth included."""

    image: HeldOutImage
    place: Place | None
    bars: tuple[tuple[str, float], ...]


def arrange(inputs: ReportInputs[ClassificationMetrics], index: PlaceIndex) -> Arranged:
    """Return the mistakes, or the least certain answers where there are none, and the numbers of images."""
    images = held_out_images(inputs)
    tested = _mistakes(index, [image for image in images if image.tested])
    crossed = _mistakes(index, [image for image in images if not image.tested])
    certain = sorted((i for i in images if i.tested and i.is_right), key=lambda i: (i.confidence, i.source_ref))
    uncertain = [_card(index, image) for image in certain[:MAX_UNCERTAIN_CARDS]] if not tested else []
    cards = [*tested[:MAX_TEST_CARDS], *crossed[:MAX_CROSS_VALIDATED_CARDS], *uncertain]
    return Arranged(
        {
            "accuracy": _interval_in_words([image for image in images if image.tested]),
            "macro": macro,
            "tested": (tested[:MAX_TEST_CARDS], tested[MAX_TEST_CARDS:]),
            "crossed": (crossed[:MAX_CROSS_VALIDATED_CARDS], crossed[MAX_CROSS_VALIDATED_CARDS:]),
            "uncertain": uncertain,
            "average_precision": {},
            "counts": counts_by_label(inputs),
            **training_values(inputs),
            **why_values(inputs, index),
        },
        [card.place for card in cards if card.place],
    )


def headline(inputs: ReportInputs[ClassificationMetrics]) -> list[str]:
    """Return the run's figures, a line each."""
    metrics, estimate = inputs.metrics, inputs.metrics.cross_validated
    lines = [
        f"accuracy {metrics.accuracy:.3f}, macro-F1 {metrics.macro_f1:.3f} on {len(inputs.predictions)} test images"
    ]
    if estimate:
        lines.append(f"cross-validated macro-F1 {estimate.macro_f1:.3f} ± {estimate.macro_f1_std:.3f}")
    return lines


def _mistakes(index: PlaceIndex, images: Iterable[HeldOutImage]) -> list[Card]:
    wrong = sorted((i for i in images if not i.is_right), key=lambda i: (-i.confidence, i.source_ref))
    return [_card(index, image) for image in wrong]


def _card(index: PlaceIndex, image: HeldOutImage) -> Card:
    ranked = sorted(image.confidences.items(), key=lambda item: -item[1])
    shown = ranked[:MAX_BARS]
    shown += [item for item in ranked[MAX_BARS:] if item[0] in image.truth]
    splits: tuple[Split, ...] = ("test",) if image.tested else ("train", "validation")
    return Card(image, index.in_splits(image.source_ref, *splits), tuple(shown))


def counts_by_label(inputs: ReportInputs[Any]) -> dict[str, dict[str, int]]:
    """Return the number of images by label and split."""
    return {
        label: {split: _carrying(inputs.entries.get(split, ()), label) for split in SPLITS} for label in inputs.labels
    }


def _carrying(entries: Iterable[ImageEntry], label: str) -> int:
    return sum(label in entry.truth.labels for entry in entries)


def _interval_in_words(images: Sequence[HeldOutImage]) -> str:
    right = sum(image.is_right for image in images)
    low, high = wilson_interval(right, len(images))
    return f"{right} of {len(images)} right; 95 % interval {low:.2f} to {high:.2f}"


VIEW = View(
    template=TEMPLATE,
    figures=CLASSIFICATION_FIGURES,
    draws_boxes=False,
    advise=advise,
    arrange=arrange,
    headline=headline,
    pictures=lambda _: (),
)
