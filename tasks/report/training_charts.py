"""Where the curves of the training charts lie, in units of their SVG; `charts.html.j2` writes them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.report.inputs import ReportInputs

WIDTH, HEIGHT = 360, 200
"""Of the plot, without its axes' numbers (SVG units)."""
MAX_TICKS = 6
LOWEST_TOP = 1e-6
"""Values that all lie below it are shown as 0, on an axis up to 1."""
LOSSES = (
    ("loss", "all", "loss"),
    ("classification_loss", "label", "part first"),
    ("box_loss", "box", "part second"),
    ("centreness_loss", "centreness", "part third"),
    ("validation_loss", "images held out", "part second"),
)
SCORES = (("validation_map_50", "mAP50", "score"),)
ACCURACIES = (("validation_balanced_accuracy", "accuracy", "score"),)
"""Name in the history, word for it, class of its line."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One line: its path, its name, its class, and where it is at the kept epoch."""

    path: str
    name: str
    kind: str
    kept: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class CurveChart:
    """Curves over epochs.

    Attributes:
        name: for ids, and for those who hear the page.
        curves: those with any value.
        across: places along the lower edge with their epochs.
        up: places along the left edge, downwards, with their values.
        kept: where the kept epoch lies along the lower edge; None when none is known.
    """

    name: str
    curves: tuple[Curve, ...]
    across: tuple[tuple[float, str], ...]
    up: tuple[tuple[float, str], ...]
    kept: float | None


def training_values(inputs: ReportInputs[Any]) -> dict[str, Any]:
    """Return what `training.html.j2` needs: the charts, and the epoch whose weights were kept if one is known."""
    best = inputs.chosen.get("best_epoch")
    kept_epoch = float(best) if isinstance(best, int | float) else None
    return {"curves": training_charts(inputs.history, kept_epoch), "kept_epoch": kept_epoch}


def training_charts(history: Sequence[Mapping[str, float]], kept_epoch: float | None) -> list[CurveChart]:
    """Arrange losses and validation figures over epochs; a chart without any value is left out."""
    charts = (
        curve_chart("Loss", history, LOSSES, kept_epoch),
        curve_chart("Validation mAP50", history, SCORES, kept_epoch, highest=1.0),
        curve_chart("Mean accuracy of the labels", history, ACCURACIES, kept_epoch, highest=1.0),
    )
    return [chart for chart in charts if chart.curves]


def curve_chart(
    name: str,
    history: Sequence[Mapping[str, float]],
    lines: Sequence[tuple[str, str, str]],
    kept_epoch: float | None,
    highest: float | None = None,
) -> CurveChart:
    """Arrange the values of some keys over epochs, from 0 to `highest` or to a round number above all of them."""
    series = {key: _finite(history, key) for key, _, _ in lines}
    epochs = [row["epoch"] for row in history]
    first, last = min(epochs, default=0.0), max(epochs, default=0.0)
    ticks = _ticks(highest or max((value for points in series.values() for _, value in points), default=1.0))

    def x_of(epoch: float) -> float:
        return round(WIDTH * (epoch - first) / ((last - first) or 1.0), 1)

    def place(point: tuple[float, float]) -> tuple[float, float]:
        return x_of(point[0]), round(HEIGHT * (1 - min(max(point[1] / ticks[-1], 0.0), 1.0)), 1)

    curves = (
        Curve(
            "M" + "L".join("{} {}".format(*place(point)) for point in series[key]),
            word,
            kind,
            next((place(point) for point in series[key] if point[0] == kept_epoch), None),
        )
        for key, word, kind in lines
        if series[key]
    )
    return CurveChart(
        name,
        tuple(curves),
        tuple((x_of(epoch), f"{epoch:g}") for epoch in _epoch_ticks(first, last)),
        tuple((round(HEIGHT * (1 - tick / ticks[-1]), 1), f"{tick:g}") for tick in ticks),
        x_of(kept_epoch) if kept_epoch is not None and first <= kept_epoch <= last else None,
    )


def _finite(history: Sequence[Mapping[str, float]], key: str) -> list[tuple[float, float]]:
    return [(row["epoch"], row[key]) for row in history if key in row and math.isfinite(row[key])]


def _ticks(highest: float) -> list[float]:
    """Return round numbers from 0 to the first that is `highest` or more."""
    step = _round_step(highest if highest > LOWEST_TOP else 1.0)
    return [round(step * place, 10) for place in range(max(1, math.ceil(round(highest / step, 9))) + 1)]


def _epoch_ticks(first: float, last: float) -> list[float]:
    step = max(1.0, _round_step(last - first))
    between = (step * place for place in range(math.ceil(first / step), math.floor(last / step) + 1))
    return sorted({first, *(epoch for epoch in between if epoch - first >= step / 2)})


def _round_step(span: float) -> float:
    """Return the smallest of 1, 2 and 5 times a power of ten that divides a span into few steps."""
    if span <= 0:
        return 1.0
    rough = span / (MAX_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
