"""A detector's own parts of the report: figures of boxes, training curves, test images with true and given boxes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tasks.dataset.entries import SPLITS
from tasks.metrics.classification import macro
from tasks.metrics.detection import DetectionMetrics
from tasks.metrics.matching import MATCH_IOU
from tasks.report.detection_advice import advise_on_detector
from tasks.report.detection_facts import DetectionFacts, JudgedImage, errors_first
from tasks.report.examples import colours_of
from tasks.report.inputs import ReportInputs
from tasks.report.pairs import Pair, make_pairs, side_by_side_uri
from tasks.report.places import PlaceIndex
from tasks.report.training_charts import training_values
from tasks.report.view import Arranged, View
from tasks.report.wording import DETECTION_FIGURES
from tasks.vision.overlays import Rgb

TEMPLATE = "detection.html.j2"
MAX_PAIRS = 60
MAX_LARGE_PAIRS = 24
LARGE_SIDE, SMALL_SIDE = 400, 288
"""Longer side of each picture (pixels); small when more than `MAX_LARGE_PAIRS` pairs are shown."""
MAX_ROWS = 8
"""Boxes told in words beside a pair."""
SUMMARY_PAIRS, SUMMARY_SIDE = 4, 320


@dataclass(frozen=True, slots=True)
class PairCard:
    """A test image with its pictures; `rows` are its boxes as kind, label, confidence and remark, errors first."""

    image: JudgedImage
    pair: Pair | None
    rows: tuple[tuple[str, str, float | None, str], ...]


def arrange(inputs: ReportInputs[DetectionMetrics], index: PlaceIndex) -> Arranged:
    """Return the test images with their pictures, the training curves and the numbers of boxes."""
    facts = DetectionFacts(inputs)
    ordered = errors_first(facts.images)
    cards = _cards(inputs, index, ordered[:MAX_PAIRS])
    return Arranged(
        {
            "macro": macro,
            "match_iou": MATCH_IOU,
            "judged_crossed": bool(inputs.metrics.cross_validated) and set(inputs.gate.judged_on.values()) != {"test"},
            "wrong": [card for card in cards if card.image.errors],
            "right": [card for card in cards if not card.image.errors],
            "not_shown": ordered[MAX_PAIRS:],
            "totals": _totals(ordered),
            "max_rows": MAX_ROWS,
            **training_values(inputs),
            "counts": facts.boxes_by_split,
            "negatives": {split: sum(e.truth.boxes == () for e in inputs.entries.get(split, ())) for split in SPLITS},
            "swatches": {label: "#{:02x}{:02x}{:02x}".format(*rgb) for label, rgb in _colours(inputs).items()},
        }
    )


def headline(inputs: ReportInputs[DetectionMetrics]) -> list[str]:
    """Return the run's figures, a line each."""
    metrics, estimate = inputs.metrics, inputs.metrics.cross_validated
    totals = _totals(DetectionFacts(inputs).images)
    lines = [
        f"mAP50 {metrics.map_50:.3f}, mAP {metrics.map:.3f}, mAP75 {metrics.map_75:.3f} on "
        f"{len(inputs.predictions)} test images",
        f"{totals['found']} of {totals['true']} true boxes found, {totals['false']} false alarms",
    ]
    if estimate:
        lines.append(f"cross-validated mAP50 {estimate.map_50:.3f} ± {estimate.map_50_std:.3f}")
    return lines


def error_pictures(inputs: ReportInputs[DetectionMetrics]) -> Iterator[tuple[str, str]]:
    """Yield title and `data:` URI of the first few errors, true boxes on the left and given ones on the right."""
    index, colours = PlaceIndex(inputs), _colours(inputs)
    wrong = [image for image in errors_first(DetectionFacts(inputs).images) if image.errors]
    for image in wrong[:SUMMARY_PAIRS]:
        place = index.in_splits(image.source_ref, "test")
        uri = side_by_side_uri(place, image, SUMMARY_SIDE, colours) if place else None
        if uri:
            yield f"{len(image.missed)} missed, {len(image.false_alarms)} false: {image.source_ref}", uri


def _colours(inputs: ReportInputs[DetectionMetrics]) -> dict[str, Rgb]:
    return colours_of(inputs.entries, inputs.labels)


def _cards(inputs: ReportInputs[DetectionMetrics], index: PlaceIndex, images: Sequence[JudgedImage]) -> list[PairCard]:
    places = ((index.in_splits(image.source_ref, "test"), image) for image in images)
    side = LARGE_SIDE if len(images) <= MAX_LARGE_PAIRS else SMALL_SIDE
    pairs = make_pairs([(place, image) for place, image in places if place], side, _colours(inputs))
    return [PairCard(image, pairs.get(image.source_ref), tuple(_rows(image))) for image in images]


def _rows(image: JudgedImage) -> Iterator[tuple[str, str, float | None, str]]:
    true_labels = {given: truth.label for truth, given in image.mistaken}
    for box in image.missed:
        yield "missed", box.label, None, ""
    for alarm in image.false_alarms:
        remark = f"where {true_labels[alarm]} is" if alarm in true_labels else ""
        yield "false", alarm.label, alarm.confidence, remark
    for hit in image.found:
        yield "found", hit.label, hit.confidence, ""


def _totals(images: Sequence[JudgedImage]) -> Mapping[str, int]:
    return {
        "true": sum(len(image.true_boxes) for image in images),
        "found": sum(len(image.found) for image in images),
        "missed": sum(len(image.missed) for image in images),
        "false": sum(len(image.false_alarms) for image in images),
        "wrong": sum(image.errors > 0 for image in images),
    }


VIEW = View(
    template=TEMPLATE,
    figures=DETECTION_FIGURES,
    draws_boxes=True,
    advise=advise_on_detector,
    arrange=arrange,
    headline=headline,
    pictures=error_pictures,
)
