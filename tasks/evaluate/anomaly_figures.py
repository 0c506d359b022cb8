"""Pictures of an anomaly model's figures: confidences of normal and abnormal images, ROC of images and of pixels.

Each function returns a matplotlib figure.
"""

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from tasks.evaluate.shared_figures import (
    ACCENT,
    GRID,
    INK,
    PALE,
    SECOND,
    curve_figure,
    finish,
    house_style,
    legend,
)
from tasks.metrics.anomaly import (
    ANOMALY,
    PRO_MAX_FALSE_POSITIVE_RATE,
    AnomalyMetrics,
    Flags,
    PixelCounts,
    Scores,
    pixel_curves,
)

BARS = 20


def draw_anomaly_figures(
    truth: Flags, confidences: Scores, metrics: AnomalyMetrics, pixels: PixelCounts | None
) -> dict[str, Figure]:
    """Return all figures by name."""
    with house_style():
        return {
            "confidences": confidence_figure(truth, confidences, metrics.per_label[ANOMALY].threshold),
            "roc": roc_figure(truth, confidences, metrics),
            "pixels": pixel_figure(metrics, pixels),
        }


def confidence_figure(truth: Flags, confidences: Scores, threshold: float) -> Figure:
    """Draw how many normal and abnormal images have each confidence, and the threshold."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    kinds = [confidences[~truth], confidences[truth]]
    edges = np.linspace(0.0, 1.0, BARS + 1).tolist()
    axes.hist(kinds, edges, stacked=True, color=[PALE, SECOND], label=["normal", "abnormal"])
    axes.axvline(threshold, color=INK, linestyle="--", linewidth=1.2, label="threshold")
    finish(axes, "confidence in an anomaly", "")
    axes.set_ylabel("test images")
    axes.set_xlim(0.0, 1.0)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.14), ncols=3, frameon=False, fontsize=9)
    return figure


def roc_figure(truth: Flags, confidences: Scores, metrics: AnomalyMetrics) -> Figure:
    """Draw the receiver operating characteristic of the images; a mark stands at the threshold."""
    figure, axes = curve_figure()
    axes.plot([0, 1], [0, 1], color=GRID, linestyle="--")
    if metrics.image_auroc is not None:
        false_rate, true_rate, _ = roc_curve(truth, confidences)
        axes.plot(false_rate, true_rate, color=ACCENT, linewidth=2.4, label=f"images ({metrics.image_auroc:.3f})")
        axes.plot(metrics.false_alarm_rate, metrics.macro_recall, "o", color=SECOND, label="at the threshold", zorder=4)
    finish(axes, "share of normal images given the label", "share of abnormal images given it")
    legend(axes, "lower right", (ANOMALY,))
    return figure


def pixel_figure(metrics: AnomalyMetrics, pixels: PixelCounts | None) -> Figure:
    """Draw pixels found and the overlap of regions against the share of normal pixels marked."""
    figure, axes = curve_figure()
    if pixels and metrics.pixel_auroc is not None and metrics.region_overlap is not None:
        false_rate, true_rate, overlap = pixel_curves(pixels)
        axes.plot(false_rate, true_rate, color=ACCENT, label=f"pixels, AUROC {metrics.pixel_auroc:.3f}")
        axes.plot(false_rate, overlap, color=SECOND, linestyle="--", label=f"regions, PRO {metrics.region_overlap:.3f}")
        axes.axvline(PRO_MAX_FALSE_POSITIVE_RATE, color=GRID, linewidth=1.2)
        legend(axes, "lower right", (ANOMALY,))
    else:
        axes.text(0.5, 0.5, "no abnormal image has a mask", ha="center", va="center")
    finish(axes, "share of normal pixels marked", "share of abnormal ones marked")
    return figure
