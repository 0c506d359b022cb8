"""The report page: what the inputs say, arranged for the template."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment

from tasks.dataset.entries import SPLITS, ImageEntry, Split
from tasks.metrics.classification import macro
from tasks.metrics.intervals import wilson_interval
from tasks.report.advice import advise
from tasks.report.facts import Advice, HeldOutImage, count_images, held_out_images
from tasks.report.inputs import ReportInputs
from tasks.report.page import MAX_LISTED, findings_by_code, page_environment, page_script
from tasks.report.pictures import (
    CARD_SIDE,
    CONTACT_SIDE,
    Picture,
    Place,
    choose_evenly,
    inline_svg,
    make_pictures,
)
from tasks.report.wording import FIGURES, MEANINGS, SEVERITIES, VERDICTS

TEMPLATE = "report.html.j2"
MAX_TEST_CARDS = 24
MAX_CROSS_VALIDATED_CARDS = 12
MAX_UNCERTAIN_CARDS = 6
MAX_CONTACT_IMAGES = 12
"""Per label."""
MAX_CONTACT_TOTAL = 240
MAX_ADVICE_PICTURES = 6
MAX_BARS = 3
WIDE_FIGURE = 500
"""Wider figures get the whole width of the page (SVG units)."""


@dataclass(frozen=True, slots=True)
class Card:
    """One image with its truth and answer; `bars` are labels with confidences, highest first, truth included."""

    image: HeldOutImage
    place: Place | None
    bars: tuple[tuple[str, float], ...]


def render_report(inputs: ReportInputs) -> str:
    """Return the report as one HTML page that refers to nothing outside itself."""
    index = _PlaceIndex(inputs)
    images = held_out_images(inputs)
    tested = _mistakes(index, [image for image in images if image.tested])
    crossed = _mistakes(index, [image for image in images if not image.tested])
    certain = sorted((i for i in images if i.tested and i.is_right), key=lambda i: (i.confidence, i.source_ref))
    uncertain = [_card(index, image) for image in certain[:MAX_UNCERTAIN_CARDS]] if not tested else []
    sheets = _contact_sheets(inputs)
    advice = [(one, _advice_places(index, one)) for one in advise(inputs)]
    cards = [*tested[:MAX_TEST_CARDS], *crossed[:MAX_CROSS_VALIDATED_CARDS], *uncertain]
    pictures = _make_pictures(cards, [*(places for _, places, _ in sheets), *(places for _, places in advice)])
    script, script_digest = page_script()
    return (
        _environment(pictures)
        .get_template(TEMPLATE)
        .render(
            inputs=inputs,
            verdict=VERDICTS.get(inputs.status, (inputs.status, "", "")),
            accuracy=_interval_in_words([image for image in images if image.tested]),
            macro=macro,
            severities=SEVERITIES,
            figures=_figures(inputs),
            wide_figure=WIDE_FIGURE,
            tested=(tested[:MAX_TEST_CARDS], tested[MAX_TEST_CARDS:]),
            crossed=(crossed[:MAX_CROSS_VALIDATED_CARDS], crossed[MAX_CROSS_VALIDATED_CARDS:]),
            uncertain=uncertain,
            sheets=sheets,
            findings=findings_by_code(inputs.findings, MEANINGS),
            advice=advice,
            splits=SPLITS,
            counts=_counts(inputs),
            max_listed=MAX_LISTED,
            script=script,
            script_digest=script_digest,
        )
    )


class _PlaceIndex:
    """Finds the image that a reference means."""

    def __init__(self, inputs: ReportInputs) -> None:
        self._places = {
            (split, entry.source_ref): Place(inputs.roots[split], entry)
            for split, entries in inputs.entries.items()
            for entry in entries
        }

    def of_image(self, image: HeldOutImage) -> Place | None:
        """Return where a held-out image is; None when no split holds it."""
        splits: tuple[Split, ...] = ("test",) if image.tested else ("train", "validation")
        return next((self._places[s, image.source_ref] for s in splits if (s, image.source_ref) in self._places), None)

    def of_reference(self, source_ref: str) -> Place | None:
        """Return the one image with a reference; None when two sources use the same one for different images."""
        found = {self._places[s, source_ref] for s in SPLITS if (s, source_ref) in self._places}
        return found.pop() if len(found) == 1 else None


def _environment(pictures: Mapping[tuple[Place, int], Picture]) -> Environment:
    environment = page_environment()
    environment.filters["count_images"] = count_images
    environment.filters["sum_values"] = lambda counts: sum(counts.values())
    environment.globals["card_picture"] = lambda place: pictures.get((place, CARD_SIDE))
    environment.globals["small_picture"] = lambda place: pictures.get((place, CONTACT_SIDE))
    return environment


def _make_pictures(cards: Iterable[Card], small: Iterable[Sequence[Place]]) -> dict[tuple[Place, int], Picture]:
    wanted: dict[Place, set[int]] = {}
    for card in cards:
        if card.place:
            wanted.setdefault(card.place, set()).add(CARD_SIDE)
    for places in small:
        for place in places:
            wanted.setdefault(place, set()).add(CONTACT_SIDE)
    return make_pictures(wanted)


def _mistakes(index: _PlaceIndex, images: Iterable[HeldOutImage]) -> list[Card]:
    wrong = sorted((i for i in images if not i.is_right), key=lambda i: (-i.confidence, i.source_ref))
    return [_card(index, image) for image in wrong]


def _card(index: _PlaceIndex, image: HeldOutImage) -> Card:
    ranked = sorted(image.confidences.items(), key=lambda item: -item[1])
    shown = ranked[:MAX_BARS]
    shown += [item for item in ranked[MAX_BARS:] if item[0] in image.truth]
    return Card(image, index.of_image(image), tuple(shown))


def _contact_sheets(inputs: ReportInputs) -> list[tuple[str, list[Place], int]]:
    """Return label, chosen images and number of images, per label."""
    by_label: dict[str, list[tuple[str, Place]]] = {label: [] for label in inputs.labels}
    for split in SPLITS:
        for entry in inputs.entries.get(split, ()):
            for label in entry.truth.labels:
                by_label[label].append((entry.source_ref, Place(inputs.roots[split], entry)))
    size = min(MAX_CONTACT_IMAGES, max(1, MAX_CONTACT_TOTAL // max(1, len(by_label))))
    sheets = []
    for label, images in by_label.items():
        ordered = [place for _, place in sorted(images, key=lambda image: image[0])]
        sheets.append((label, choose_evenly(ordered, size), len(ordered)))
    return sheets


def _advice_places(index: _PlaceIndex, advice: Advice) -> list[Place]:
    places = (index.of_reference(ref) for ref in advice.images[:MAX_ADVICE_PICTURES])
    return [place for place in places if place]


def _figures(inputs: ReportInputs) -> list[dict[str, Any]]:
    error = f"{inputs.metrics.calibration_error:.3f}"
    return [
        {
            "title": title,
            "reading": reading.format(calibration_error=error),
            "drawing": inline_svg(inputs.figures_path / f"{name}.svg", name, title),
        }
        for name, title, reading in FIGURES
    ]


def _counts(inputs: ReportInputs) -> dict[str, dict[str, int]]:
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
