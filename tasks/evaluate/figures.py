"""Pictures of a classifier's figures: confusion matrix, ROC, precision and recall, calibration, figures per label.

Each function returns a matplotlib figure; `save_figures` writes them as PNG (for MLflow) and SVG (for the report).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import auc, precision_recall_curve, roc_curve

from tasks.metrics.classification import (
    ClassificationMetrics,
    Confidences,
    Truths,
    calibration_bins,
    confusion_matrix,
)

INK, GRID, ACCENT, SECOND = "#22303c", "#d8dee4", "#0b6e75", "#d9822b"
PALETTE = ("#0b6e75", "#d9822b", "#6b4fa0", "#2f7d32", "#b3363e", "#3565a8", "#8a6d1f", "#777777", "#c2509a", "#4a9aa5")
LEGEND_LABELS = 10
NAMED_LABELS = 40
"""Above it, a confusion matrix shows shades only: thousands of texts take minutes and gigabytes, and say nothing."""
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


def draw_figures(
    truths: Truths, confidences: Confidences, labels: Sequence[str], metrics: ClassificationMetrics
) -> dict[str, Figure]:
    """Return all figures by name."""
    with matplotlib.rc_context(_STYLE):
        return {
            "confusion_matrix": confusion_figure(confusion_matrix(truths, confidences), labels),
            "per_label": per_label_figure(metrics),
            "precision_recall": precision_recall_figure(truths, confidences, labels),
            "roc": roc_figure(truths, confidences, labels),
            "calibration": calibration_figure(truths, confidences),
        }


def save_figures(figures: Mapping[str, Figure], folder: Path) -> None:
    """Write every figure as `NAME.png` and `NAME.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(_STYLE):
        for name, figure in figures.items():
            figure.savefig(folder / f"{name}.png", dpi=PNG_DPI, metadata={"Software": None})
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def confusion_figure(matrix: NDArray[np.int64], labels: Sequence[str]) -> Figure:
    """Draw counts by true label (rows) and top label (columns), shaded by share of the row."""
    size = min(max(4.0, 1.6 + 0.62 * len(labels)), MAX_MATRIX_INCHES)
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    axes = figure.subplots()
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="GnBu", vmin=0.0, vmax=1.0)
    for (row, column), count in np.ndenumerate(matrix if len(labels) <= NAMED_LABELS else matrix[:0]):
        colour = "white" if share[row, column] > 0.6 else (INK if count else "#a9b4be")
        axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=11)
    if len(labels) <= NAMED_LABELS:
        names = [_short(label) for label in labels]
        axes.set_xticks(range(len(labels)), names, rotation=40, ha="right")
        axes.set_yticks(range(len(labels)), names)
    axes.set_xlabel("predicted (highest confidence)")
    axes.set_ylabel("true")
    axes.spines[:].set_visible(False)
    return figure


def per_label_figure(metrics: ClassificationMetrics) -> Figure:
    """Draw test F1 and recall of every label, and the cross-validated F1 as a mark."""
    names = list(metrics.per_label)
    figure = Figure(figsize=(6.4, 1.3 + 0.5 * len(names)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(names))[::-1]
    for offset, figure_name, colour in ((0.19, "f1", ACCENT), (-0.19, "recall", "#9cc9c6")):
        values = [getattr(metrics.per_label[name], figure_name) for name in names]
        axes.barh(places + offset, values, height=0.36, color=colour, label=f"{figure_name}, test images")
    if metrics.cross_validated:
        values = [metrics.cross_validated.per_label[name].f1 for name in names]
        axes.plot(values, places, "D", color=SECOND, markersize=7, label="f1, cross-validated", clip_on=False)
    axes.set_yticks(places, [_short(name) for name in names])
    axes.set_xlim(0.0, 1.0)
    _finish(axes, "", "")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, frameon=False, fontsize=9)
    axes.margins(y=0.02)
    return figure


def precision_recall_figure(truths: Truths, confidences: Confidences, labels: Sequence[str]) -> Figure:
    """Draw precision against recall per label, as its threshold moves."""
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    axes = figure.subplots()
    for index, label in _drawable(truths, labels):
        precision, recall, _ = precision_recall_curve(truths[:, index], confidences[:, index])
        axes.step(recall, precision, where="post", label=_short(label), **_stroke(index))
    _finish(axes, "recall", "precision")
    _legend(axes, "lower left", labels)
    return figure


def roc_figure(truths: Truths, confidences: Confidences, labels: Sequence[str]) -> Figure:
    """Draw the receiver operating characteristic per label, with the area under it."""
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GRID, linestyle="--")
    for index, label in _drawable(truths, labels):
        false_rate, true_rate, _ = roc_curve(truths[:, index], confidences[:, index])
        area = auc(false_rate, true_rate)
        axes.plot(false_rate, true_rate, label=f"{_short(label)} ({area:.3f})", **_stroke(index))
    _finish(axes, "false positive rate", "true positive rate")
    _legend(axes, "lower right", labels)
    return figure


def calibration_figure(truths: Truths, confidences: Confidences) -> Figure:
    """Draw accuracy against confidence in ten bins; on the diagonal, a confidence is a probability."""
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GRID, linestyle="--")
    rows = calibration_bins(truths, confidences)
    confidence, hit, count = (np.array(column) for column in zip(*rows, strict=True))
    axes.plot(confidence, hit, color=ACCENT, zorder=2)
    axes.scatter(confidence, hit, s=24 + 220 * count / count.max(), color=ACCENT, alpha=0.85, zorder=3)
    for x, y, n in rows:
        axes.annotate(str(n), (x, y), textcoords="offset points", xytext=(0, 10), ha="center", fontsize=8)
    _finish(axes, "confidence of the top label (marks: number of images)", "share that is right")
    return figure


def _short(label: str) -> str:
    # A leading underscore would hide a legend's entry.
    shown = label if len(label) <= LABEL_CHARACTERS else f"{label[: LABEL_CHARACTERS - 1]}…"
    return f" {shown}" if shown.startswith("_") else shown


def _stroke(index: int) -> Any:  # noqa: ANN401 - keyword arguments of matplotlib's lines
    # Curves often lie upon each other: later ones are thinner and broken, so that all stay visible.
    return {
        "color": PALETTE[index % len(PALETTE)],
        "linestyle": LINE_STYLES[index % len(LINE_STYLES)],
        "linewidth": max(1.4, 3.4 - 0.5 * index),
    }


def _drawable(truths: Truths, labels: Sequence[str]) -> list[tuple[int, str]]:
    # A curve needs images with the label and images without.
    return [(i, label) for i, label in enumerate(labels) if 0 < truths[:, i].sum() < len(truths)]


def _finish(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if y:
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.05)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(axes: Axes, place: Any, labels: Sequence[str]) -> None:  # noqa: ANN401 - matplotlib's own literal
    if len(labels) <= LEGEND_LABELS and axes.get_legend_handles_labels()[0]:
        axes.legend(loc=place, frameon=False, fontsize=9)
