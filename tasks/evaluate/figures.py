"""Pictures of a classifier's figures: confusion matrix, ROC, precision and recall, calibration, figures per label.

Each function returns a matplotlib figure.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import auc, precision_recall_curve, roc_curve

from tasks.evaluate.shared_figures import (
    ACCENT,
    GRID,
    PALE,
    SECOND,
    curve_figure,
    finish,
    house_style,
    legend,
    matrix_figure,
    save_figures,
    short,
    stroke,
    weakest_labels,
)
from tasks.metrics.classification import (
    CalibrationBin,
    ClassificationMetrics,
    Confidences,
    Truths,
    calibration_bins,
    confusion_matrix,
)
from tasks.metrics.multi_label import MultiLabelMetrics

__all__ = ["draw_figures", "save_figures"]

Reliability = tuple[Sequence[CalibrationBin], float | None]
"""Bins of confidences with what came true, and their expected calibration error."""


def draw_figures(
    truths: Truths, confidences: Confidences, labels: Sequence[str], metrics: ClassificationMetrics
) -> dict[str, Figure]:
    """Return all figures by name."""
    with house_style():
        return {
            "confusion_matrix": confusion_figure(confusion_matrix(truths, confidences), labels),
            "per_label": per_label_figure(metrics),
            "precision_recall": precision_recall_figure(truths, confidences, labels),
            "roc": roc_figure(truths, confidences, labels),
            "calibration": calibration_figure(truths, confidences, metrics),
        }


def confusion_figure(matrix: NDArray[np.int64], labels: Sequence[str]) -> Figure:
    """Draw counts by true label (rows) and top label (columns), shaded by share of the row."""
    return matrix_figure(matrix, labels, labels, "true", "predicted (highest confidence)")


def per_label_figure(metrics: ClassificationMetrics | MultiLabelMetrics) -> Figure:
    """Draw test F1 and recall of every label (the weakest of many), and the cross-validated F1 as a mark."""
    names = weakest_labels({label: figures.f1 for label, figures in metrics.per_label.items()})
    figure = Figure(figsize=(6.4, 1.3 + 0.5 * len(names)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(names))[::-1]
    for offset, figure_name, colour in ((0.19, "f1", ACCENT), (-0.19, "recall", PALE)):
        values = [getattr(metrics.per_label[name], figure_name) for name in names]
        axes.barh(places + offset, values, height=0.36, color=colour, label=f"{figure_name}, test images")
    if metrics.cross_validated:
        values = [metrics.cross_validated.per_label[name].f1 for name in names]
        axes.plot(values, places, "D", color=SECOND, markersize=7, label="f1, cross-validated", clip_on=False)
    axes.set_yticks(places, [short(name) for name in names])
    axes.set_xlim(0.0, 1.0)
    finish(axes, "", "")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, frameon=False, fontsize=9)
    axes.margins(y=0.02)
    return figure


def precision_recall_figure(truths: Truths, confidences: Confidences, labels: Sequence[str]) -> Figure:
    """Draw precision against recall per label, as its threshold moves."""
    figure, axes = curve_figure()
    for index, label in _drawable(truths, labels):
        precision, recall, _ = precision_recall_curve(truths[:, index], confidences[:, index])
        axes.step(recall, precision, where="post", label=short(label), **stroke(index))
    finish(axes, "recall", "precision")
    legend(axes, "lower left", labels)
    return figure


def roc_figure(truths: Truths, confidences: Confidences, labels: Sequence[str]) -> Figure:
    """Draw the receiver operating characteristic per label, with the area under it."""
    figure, axes = curve_figure()
    axes.plot([0, 1], [0, 1], color=GRID, linestyle="--")
    for index, label in _drawable(truths, labels):
        false_rate, true_rate, _ = roc_curve(truths[:, index], confidences[:, index])
        area = auc(false_rate, true_rate)
        axes.plot(false_rate, true_rate, label=f"{short(label)} ({area:.3f})", **stroke(index))
    finish(axes, "false positive rate", "true positive rate")
    legend(axes, "lower right", labels)
    return figure


def calibration_figure(truths: Truths, confidences: Confidences, metrics: ClassificationMetrics) -> Figure:
    """Draw accuracy against confidence in ten bins; on the diagonal, a confidence is a probability."""
    crossed = metrics.cross_validated
    estimated = (crossed.calibration, crossed.calibration_error) if crossed and crossed.calibration else None
    tested = (calibration_bins(truths, confidences), metrics.calibration_error)
    return reliability_figure(tested, estimated, "confidence of the top label")


def reliability_figure(tested: Reliability, crossed: Reliability | None, confidence: str) -> Figure:
    """Draw the share that is right against the `confidence` named, of test images and cross-validated ones."""
    figure, axes = curve_figure()
    axes.plot([0, 1], [0, 1], color=GRID, linestyle="--")
    if crossed:
        _draw_reliability(axes, crossed[0], SECOND, f"cross-validated images (error {crossed[1]:.3f})", above=False)
    _draw_reliability(axes, tested[0], ACCENT, f"test images (error {tested[1]:.3f})", above=True)
    finish(axes, f"{confidence} (marks: number of images)", "share that is right")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False, fontsize=9)
    return figure


def _draw_reliability(axes: Axes, bins: Sequence[CalibrationBin], colour: str, name: str, *, above: bool) -> None:
    confidence, hit, count = (np.array(column) for column in zip(*bins, strict=True))
    axes.plot(confidence, hit, color=colour, zorder=2, label=name)
    axes.scatter(confidence, hit, s=24 + 220 * count / count.max(), color=colour, alpha=0.85, zorder=3)
    for x, y, n in bins:
        offset = (0, 10) if above else (0, -18)
        axes.annotate(str(n), (x, y), textcoords="offset points", xytext=offset, ha="center", fontsize=8, color=colour)


def _drawable(truths: Truths, labels: Sequence[str]) -> list[tuple[int, str]]:
    # A curve needs images with the label and images without.
    return [(i, label) for i, label in enumerate(labels) if 0 < truths[:, i].sum() < len(truths)]
