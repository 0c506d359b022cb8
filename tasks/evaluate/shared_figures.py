"""What the pictures of both tasks share: style, files, and the parts that look alike.

Figures are matplotlib's; `save_figures` writes them as PNG (for MLflow) and SVG (for the report).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

Drawings = Mapping[str, Figure]

INK, GRID, ACCENT, PALE, SECOND = "#22303c", "#d8dee4", "#0b6e75", "#9cc9c6", "#d9822b"
PALETTE = ("#0b6e75", "#d9822b", "#6b4fa0", "#2f7d32", "#b3363e", "#3565a8", "#8a6d1f", "#777777", "#c2509a", "#4a9aa5")
LEGEND_LABELS = 10
NAMED_LABELS = 40
"""Above it, a confusion matrix shows shades only: thousands of texts take minutes and gigabytes, and say nothing."""
DRAWN_LABELS = 60
"""Above it, a chart with a row for each label shows the weakest."""
MAX_MATRIX_INCHES = 16.0
LABEL_CHARACTERS = 24
LINE_STYLES = ("-", "--", "-.", ":")
PNG_DPI = 130
_STYLE: Any = {
    "font.size": 10,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "xtick.color": INK,
    "ytick.color": INK,
    # Labels are data: a dollar sign in one is no formula.
    "text.parse_math": False,
    "svg.fonttype": "none",
    # Without it, ids in SVG files are random and equal inputs give unequal bytes.
    "svg.hashsalt": "keeneye",
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in Keeneye's style, and leave matplotlib's settings as they were."""
    with matplotlib.rc_context(_STYLE):
        yield


def save_figures(figures: Drawings, folder: Path) -> None:
    """Write every figure as `NAME.png` and `NAME.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    with house_style():
        for name, figure in figures.items():
            figure.savefig(folder / f"{name}.png", dpi=PNG_DPI, metadata={"Software": None})
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def curve_figure() -> tuple[Figure, Axes]:
    """Return an empty figure of the size that all curves have."""
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    return figure, figure.subplots()


def matrix_figure(
    matrix: NDArray[np.int64],
    rows: Sequence[str],
    columns: Sequence[str],
    row_axis: str,
    column_axis: str,
    wholes: NDArray[np.int64] | None = None,
) -> Figure:
    """Draw a square of counts, shaded by their share of the row or of its whole, with names of rows and columns."""
    is_named = len(rows) <= NAMED_LABELS
    size = min(max(4.0, 1.6 + 0.62 * len(rows)), MAX_MATRIX_INCHES)
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    axes = figure.subplots()
    share = matrix / np.maximum(matrix.sum(axis=1) if wholes is None else wholes, 1)[:, None]
    axes.imshow(share, cmap="GnBu", vmin=0.0, vmax=1.0)
    for (row, column), count in np.ndenumerate(matrix if is_named else matrix[:0]):
        colour = "white" if share[row, column] > 0.6 else (INK if count else "#a9b4be")
        axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=11)
    if is_named:
        axes.set_xticks(range(len(columns)), [short(name) for name in columns], rotation=40, ha="right")
        axes.set_yticks(range(len(rows)), [short(name) for name in rows])
    axes.set_xlabel(column_axis)
    axes.set_ylabel(row_axis)
    axes.spines[:].set_visible(False)
    return figure


def weakest_labels(figure_of: Mapping[str, float]) -> list[str]:
    """Return the labels that a chart has rows for, in their order: all, or the lowest of too many."""
    weakest = set(sorted(figure_of, key=lambda label: figure_of[label])[:DRAWN_LABELS])
    return [label for label in figure_of if label in weakest]


def short(label: str) -> str:
    """Return a label as it fits beside an axis or in a legend."""
    # A leading underscore would hide a legend's entry.
    shown = label if len(label) <= LABEL_CHARACTERS else f"{label[: LABEL_CHARACTERS - 1]}…"
    return f" {shown}" if shown.startswith("_") else shown


def stroke(index: int) -> Any:  # noqa: ANN401 - keyword arguments of matplotlib's lines
    """Return colour, dashes and width of the label at `index`."""
    # Curves often lie upon each other: later ones are thinner and broken, so that all stay visible.
    return {
        "color": PALETTE[index % len(PALETTE)],
        "linestyle": LINE_STYLES[index % len(LINE_STYLES)],
        "linewidth": max(1.4, 3.4 - 0.5 * index),
    }


def finish(axes: Axes, x: str, y: str) -> None:
    """Name the axes, draw the grid; with `y`, both run from 0 to 1."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if y:
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.05)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def legend(axes: Axes, place: Any, labels: Sequence[str]) -> None:  # noqa: ANN401 - matplotlib's own literal
    """Name the curves, unless they are too many to tell apart."""
    if len(labels) <= LEGEND_LABELS and axes.get_legend_handles_labels()[0]:
        axes.legend(loc=place, frameon=False, fontsize=9)
