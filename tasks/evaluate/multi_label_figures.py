"""Pictures of the figures of a classifier of any number of labels: what was found and missed, and labels together.

Each function returns a matplotlib figure.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from tasks.evaluate.figures import per_label_figure, precision_recall_figure, reliability_figure, roc_figure
from tasks.evaluate.shared_figures import (
    ACCENT,
    INK,
    PALE,
    SECOND,
    finish,
    house_style,
    matrix_figure,
    short,
    weakest_labels,
)
from tasks.metrics.classification import Confidences, Truths, calibration_bins
from tasks.metrics.multi_label import MultiLabelMetrics, one_column


def draw_multi_label_figures(
    truths: Truths, confidences: Confidences, labels: Sequence[str], metrics: MultiLabelMetrics
) -> dict[str, Figure]:
    """Return all figures by name."""
    given = confidences >= np.array([metrics.per_label[label].threshold for label in labels])
    bins = calibration_bins(*one_column(truths, confidences))
    with house_style():
        return {
            "outcomes": outcomes_figure(truths, given, labels),
            "per_label": per_label_figure(metrics),
            "labels_together": together_figure(truths, labels, "carry this label", "and this one"),
            "answers_together": together_figure(given, labels, "are given this label", "and this one"),
            "precision_recall": precision_recall_figure(truths, confidences, labels),
            "roc": roc_figure(truths, confidences, labels),
            "calibration": reliability_figure((bins, metrics.calibration_error), None, "confidence of a label"),
        }


def outcomes_figure(truths: Truths, given: Truths, labels: Sequence[str]) -> Figure:
    """Draw how often every label was found, missed, and given to images that do not carry it; the weakest of many."""
    found, missed, false = ((part.sum(axis=0)) for part in (truths & given, truths & ~given, given & ~truths))
    wrong = dict(zip(labels, (-missed - false).tolist(), strict=True))
    shown = [place for place, label in enumerate(labels) if label in set(weakest_labels(wrong))]
    figure = Figure(figsize=(6.4, 1.5 + 0.42 * len(shown)), layout="constrained")
    axes = figure.subplots()
    places, start = np.arange(len(shown))[::-1], np.zeros(len(shown))
    parts = (("found", found, ACCENT, "white"), ("missed", missed, PALE, INK), ("false", false, SECOND, INK))
    for name, counts, fill, ink in parts:
        lengths = counts[shown]
        bars = axes.barh(places, lengths, left=start, height=0.66, color=fill, label=name)
        told = [str(count) if count else "" for count in lengths]
        axes.bar_label(bars, told, label_type="center", fontsize=9, color=ink)
        start += lengths
    axes.set_yticks(places, [short(labels[place]) for place in shown])
    finish(axes, "test images", "")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    axes.margins(y=0.02)
    return figure


def together_figure(images: Truths, labels: Sequence[str], rows: str, columns: str) -> Figure:
    """Draw of how many images each two labels are, shaded by share of the row's; the diagonal has all of a label."""
    together = images.T.astype(np.int64) @ images
    return matrix_figure(together, labels, labels, rows, columns, together.diagonal())
