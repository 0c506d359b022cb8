"""An anomaly model's own parts of the report: figures, and test images with masks and heat maps side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.dataset.entries import SPLITS
from tasks.evaluate.records import ImagePrediction
from tasks.metrics.anomaly import ANOMALY, AnomalyMetrics
from tasks.report.anomaly_advice import advise_on_anomaly_model
from tasks.report.anomaly_pairs import heat_side_by_side_uri, make_heat_pairs
from tasks.report.inputs import ReportInputs
from tasks.report.pairs import Pair
from tasks.report.places import PlaceIndex
from tasks.report.view import Arranged, View
from tasks.report.wording import ANOMALY_FIGURES

TEMPLATE = "anomaly.html.j2"
MAX_PAIRS = 60
SIDE = 320
"""Longer side of each picture (pixels)."""
SUMMARY_PAIRS = 4


@dataclass(frozen=True, slots=True)
class HeatCard:
    """A test image with its pictures; `outcome` is what became of it."""

    image: ImagePrediction
    pair: Pair | None
    confidence: float
    outcome: str


def arrange(inputs: ReportInputs[AnomalyMetrics], index: PlaceIndex) -> Arranged:
    """Return the test images with their heat maps, errors first, and the numbers of images."""
    ordered = errors_first(inputs.predictions, inputs.metrics.per_label[ANOMALY].threshold)
    shown = ordered[:MAX_PAIRS]
    placed = [(index.in_splits(one.source_ref, "test"), one) for one in shown]
    pairs = make_heat_pairs([(place, one) for place, one in placed if place], SIDE, heat_start(inputs))
    cards = [HeatCard(one, pairs.get(one.source_ref), one.confidences[ANOMALY], outcome(one)) for one in shown]
    return Arranged(
        {
            "label_figures": inputs.metrics.per_label[ANOMALY],
            "wrong": [card for card in cards if not card.image.is_correct],
            "right": [card for card in cards if card.image.is_correct],
            "not_shown": [HeatCard(one, None, one.confidences[ANOMALY], outcome(one)) for one in ordered[MAX_PAIRS:]],
            "totals": {name: sum(outcome(one) == name for one in ordered) for name in OUTCOMES},
            "chosen_on": inputs.chosen.get("threshold_chosen_on", ""),
            "counts": _counts(inputs),
        }
    )


MISSED, FALSE_ALARM, FOUND, PASSED = OUTCOMES = ("missed", "false alarm", "found", "passed")


def outcome(image: ImagePrediction) -> str:
    """Return what became of an image: an anomaly missed or found, a normal image called abnormal or passed."""
    if image.truth:
        return FOUND if image.given else MISSED
    return FALSE_ALARM if image.given else PASSED


def errors_first(images: Sequence[ImagePrediction], threshold: float) -> list[ImagePrediction]:
    """Return wrong answers, the surest first, then right ones, those nearest to the threshold first."""

    def rank(image: ImagePrediction) -> tuple[bool, float, str]:
        distance = abs(image.confidences[ANOMALY] - threshold)
        return image.is_correct, distance if image.is_correct else -distance, image.source_ref

    return sorted(images, key=rank)


def heat_start(inputs: ReportInputs[AnomalyMetrics]) -> float:
    """Return the heat from which an abnormal region begins."""
    limit = inputs.chosen.get("region_limit", 1.0)
    return float(limit) if isinstance(limit, int | float) else 1.0


def headline(inputs: ReportInputs[AnomalyMetrics]) -> list[str]:
    """Return the run's figures, a line each."""
    metrics = inputs.metrics
    figures = (
        ("image AUROC", metrics.image_auroc),
        ("pixel AUROC", metrics.pixel_auroc),
        ("PRO", metrics.region_overlap),
    )
    told = ", ".join(f"{name} {value:.3f}" for name, value in figures if value is not None)
    found = round(metrics.macro_recall * metrics.per_label[ANOMALY].support)
    return [
        f"{told or 'nothing to measure'} on {len(inputs.predictions)} test images",
        f"{found} of {metrics.per_label[ANOMALY].support} anomalies found, "
        f"{round(metrics.false_alarm_rate * metrics.normal_images)} of {metrics.normal_images} normal images called "
        "abnormal",
    ]


def error_pictures(inputs: ReportInputs[AnomalyMetrics]) -> Iterator[tuple[str, str]]:
    """Yield title and `data:` URI of the first few errors, the mask on the left and the heat map on the right."""
    index = PlaceIndex(inputs)
    ordered = errors_first(inputs.predictions, inputs.metrics.per_label[ANOMALY].threshold)
    for image in [one for one in ordered if not one.is_correct][:SUMMARY_PAIRS]:
        place = index.in_splits(image.source_ref, "test")
        uri = heat_side_by_side_uri(place, image, SIDE, heat_start(inputs)) if place else None
        if uri:
            yield f"{outcome(image)}: {image.source_ref}", uri


def _counts(inputs: ReportInputs[AnomalyMetrics]) -> dict[str, dict[str, int]]:
    """Return the number of normal and of abnormal images by split."""
    abnormal: dict[str, int] = {}
    normal: dict[str, int] = {}
    for split in SPLITS:
        entries = inputs.entries.get(split, ())
        abnormal[split] = sum(bool(entry.truth.labels) for entry in entries)
        normal[split] = len(entries) - abnormal[split]
    return {"normal": normal, ANOMALY: abnormal}


VIEW = View(
    template=TEMPLATE,
    figures=ANOMALY_FIGURES,
    draws_boxes=True,
    advise=advise_on_anomaly_model,
    arrange=arrange,
    headline=headline,
    pictures=error_pictures,
)
