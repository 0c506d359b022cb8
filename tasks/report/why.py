"""What answers rest on, as a page shows it: kinds of features as bars, parts of images as heat maps beside them."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from tasks.dataset.files import read_image_bytes
from tasks.errors import SourceChanged
from tasks.explain.records import ExplainedImage
from tasks.metrics.importance import Importances
from tasks.metrics.task_metrics import importances_of
from tasks.report.inputs import ReportInputs
from tasks.report.pairs import Pair, pair_of
from tasks.report.pictures import THREADS, Place, draw_truth, read_mask
from tasks.report.places import PlaceIndex
from tasks.vision.heat_maps import draw_heat
from tasks.vision.images import ImageError, RgbImage, decode_rgb
from tasks.vision.overlays import Rgb, label_colours
from tasks.vision.resizing import shrink

SIDE = 320
"""Longer side of each picture (pixels)."""
FAINT = 0.3
"""Share of the largest fall of confidence below which nothing is drawn."""
LEAST_FALL = 0.02
"""A fall below this is no evidence: the colours would show noise."""
LEAST_FULL = 0.1
"""A fall that gets the full colour at least: what falls little is drawn faintly."""


@dataclass(frozen=True, slots=True)
class Look:
    """An image with its pictures, its truth in words, and what the heat map says in a sentence."""

    image: ExplainedImage
    pair: Pair | None
    truth: str
    says: str


@dataclass(frozen=True, slots=True)
class WorthRow:
    """A kind of features as a bar: places on a line of 100 units, `low` to `high` the standard deviation."""

    name: str
    drop: float
    spread: float
    folds: int
    start: float
    length: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class WorthChart:
    """All kinds of features, the most important first; `zero` is the place of no drop."""

    rows: tuple[WorthRow, ...]
    zero: float
    folds: int
    shuffles: int


def why_values(inputs: ReportInputs[Any], index: PlaceIndex) -> dict[str, Any]:
    """Return what the report's part on this needs, by name."""
    placed = [(index.in_splits(one.answer.source_ref, "test"), one) for one in inputs.explained]
    return {
        "importances": worth_chart(importances_of(inputs.metrics.cross_validated)),
        "looks": make_looks(placed, inputs.labels),
    }


def worth_chart(importances: Importances | None) -> WorthChart | None:
    """Place the bars; None where nothing is known."""
    if importances is None:
        return None
    ends = [(one.drop - one.drop_std, one.drop + one.drop_std) for one in importances.kinds]
    lowest, highest = min(0.0, *(low for low, _ in ends)), max(0.0, *(high for _, high in ends))
    extent = max(highest - lowest, 1e-9)

    def place(value: float) -> float:
        return round(100.0 * (value - lowest) / extent, 1)

    rows = tuple(
        WorthRow(
            name=one.kind,
            drop=one.drop,
            spread=one.drop_std,
            folds=one.folds,
            start=place(min(0.0, one.drop)),
            length=round(abs(place(one.drop) - place(0.0)), 1),
            low=place(low),
            high=place(high),
        )
        for one, (low, high) in zip(importances.kinds, ends, strict=True)
    )
    return WorthChart(rows, place(0.0), importances.folds, importances.shuffles)


def make_looks(wanted: Sequence[tuple[Place | None, ExplainedImage]], labels: Sequence[str]) -> list[Look]:
    """Return the images with their pictures, in order; an image that cannot be read has none."""
    boxes = (box.label for place, _ in wanted if place for box in place.entry.truth.boxes or ())
    colours = label_colours([*labels, *boxes])
    with ThreadPoolExecutor(THREADS) as pool:
        pairs = pool.map(lambda item: _pair(item[0], item[1], colours) if item[0] else None, wanted)
        return [
            Look(one, pair, ", ".join(one.answer.truth) or "no label", in_words(one))
            for (_, one), pair in zip(wanted, pairs, strict=True)
        ]


def in_words(one: ExplainedImage) -> str:
    """Return what a heat map says."""
    fall = largest_fall(one)
    if fall < LEAST_FALL:
        return f"No part alone counts: hiding any of them takes less than {LEAST_FALL:.2f} of {one.confidence:.2f}"
    return f"Hiding the brightest part takes {fall:.2f} of {one.confidence:.2f}"


def largest_fall(one: ExplainedImage) -> float:
    """Return by how much the confidence falls at most, 0 to 1."""
    return float(one.heat_map.heat().max())


def _pair(place: Place, one: ExplainedImage, colours: Mapping[str, Rgb]) -> Pair | None:
    sides = draw_look(place, one, colours)
    if sides is None:
        return None
    pair = pair_of(sides)
    return replace(pair, truth=replace(pair.truth, is_outlined=bool(place.entry.mask_ref)))


def draw_look(place: Place, one: ExplainedImage, colours: Mapping[str, Rgb]) -> tuple[RgbImage, RgbImage] | None:
    """Return an image with its true mask and boxes outlined, and the same with the heat; None when unreadable."""
    try:
        image = decode_rgb(read_image_bytes(place.root, place.entry))
    except (SourceChanged, ImageError):
        return None
    small, scale = shrink(image, SIDE)
    mask, fall, heated = read_mask(place), largest_fall(one), small
    if fall >= LEAST_FALL:
        full = max(fall, LEAST_FULL)
        heated = draw_heat(small, one.heat_map, FAINT * full, full)
    return draw_truth(small, mask, place.entry, scale, colours), draw_truth(heated, mask, place.entry, scale, colours)
