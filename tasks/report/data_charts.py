"""Where the marks of the data report's charts lie, in units of their SVG; `charts.html.j2` writes them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.report.data_facts import INPUT_PIXELS, SMALL_BOX_PIXELS, TINY_BOX_PIXELS, BoxTable, Floats
from tasks.report.pictures import choose_evenly

MAX_POINTS = 2000
PLOT = 320
"""Side of a chart's square (SVG units)."""
FEWEST_PIXELS = 1
"""Where the axes of box sizes start; smaller boxes lie on the edge."""
SIZE_TICKS = (1, 2, 4, 8, 16, 32, 64, 128, INPUT_PIXELS)
LIGHTEST, DARKEST = (232, 240, 241), (7, 74, 80)
"""Ends of the heat map's scale."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of a bar chart: parts as (kind, number), and how long they are (0 to 100)."""

    name: str
    parts: tuple[tuple[str, int], ...]
    ends: tuple[tuple[str, float, float], ...]

    @property
    def total(self) -> int:
        """Sum of the parts."""
        return sum(count for _, count in self.parts)


@dataclass(frozen=True, slots=True)
class SizeChart:
    """Box sizes on logarithmic axes.

    Attributes:
        points: x to the right, y downwards.
        ticks: place along an axis, and the number of pixels there.
        small: where the straight line of small boxes meets the upper and the right edge, from the lower left corner.
        tiny: place of the limit of tiny boxes along both axes.
    """

    points: tuple[tuple[float, float], ...]
    ticks: tuple[tuple[float, str], ...]
    small: float
    tiny: float


@dataclass(frozen=True, slots=True)
class HeatChart:
    """Shaded cells as (x, y, colour), the side of each, and the colours of the scale with the largest share."""

    cells: tuple[tuple[float, float, str], ...]
    side: float
    scale: tuple[str, ...]
    highest: float


def bars(rows: Iterable[tuple[str, Sequence[tuple[str, int]]]]) -> list[Bar]:
    """Return bars of one scale: the longest has the length 100; parts stand one after the other."""
    kept = [(name, tuple((kind, count) for kind, count in parts)) for name, parts in rows]
    longest = max((sum(count for _, count in parts) for _, parts in kept), default=0) or 1
    return [Bar(name, parts, _ends(parts, longest)) for name, parts in kept]


def _ends(parts: Sequence[tuple[str, int]], longest: int) -> tuple[tuple[str, float, float], ...]:
    starts = np.cumsum([0, *(count for _, count in parts)]) * 100 / longest
    return tuple(
        (kind, round(float(start), 2), round(float(end - start), 2))
        for (kind, count), start, end in zip(parts, starts, starts[1:], strict=False)
        if count
    )


def size_chart(table: BoxTable) -> SizeChart:
    """Arrange box sizes; of very many, `MAX_POINTS` evenly chosen ones."""
    order = np.lexsort((table.height, table.width))
    chosen = choose_evenly(order.tolist(), MAX_POINTS)
    points = tuple(zip(_along(table.width[chosen]), (PLOT - y for y in _along(table.height[chosen])), strict=True))
    return SizeChart(
        tuple((x, round(y, 1)) for x, y in points),
        tuple((_place(tick), str(tick)) for tick in SIZE_TICKS),
        # On logarithmic axes, boxes of equal area lie on a straight line.
        _place(SMALL_BOX_PIXELS**2 / INPUT_PIXELS),
        _place(TINY_BOX_PIXELS),
    )


def heat_chart(shares: Floats) -> HeatChart:
    """Arrange a square map of shares (0 to 1), rows first; cells without any are left out."""
    side = PLOT / len(shares)
    highest = float(shares.max())
    rows, columns = np.nonzero(shares)
    cells = tuple(
        (round(column * side, 2), round(row * side, 2), _shade(shares[row, column] / highest))
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
    )
    return HeatChart(cells, round(side, 2), tuple(_shade(step / 4) for step in range(5)), highest)


def _along(pixels: Floats) -> list[float]:
    return [_place(one) for one in pixels.tolist()]


def _place(pixels: float) -> float:
    share = math.log(max(pixels, FEWEST_PIXELS) / FEWEST_PIXELS) / math.log(INPUT_PIXELS / FEWEST_PIXELS)
    return round(PLOT * min(share, 1.0), 1)


def _shade(share: float) -> str:
    mixed = (round(low + share * (high - low)) for low, high in zip(LIGHTEST, DARKEST, strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)
