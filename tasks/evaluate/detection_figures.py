"""Pictures of a detector's figures: precision and recall, figures per label, confusion, sizes and places of boxes.

Each function returns a matplotlib figure.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tasks.evaluate.shared_figures import (
    ACCENT,
    INK,
    LEGEND_LABELS,
    PALE,
    SECOND,
    curve_figure,
    finish,
    house_style,
    matrix_figure,
    short,
    stroke,
    weakest_labels,
)
from tasks.metrics.detection import SIZE_AREAS, DetectionMetrics, SizeClass, count_by_size
from tasks.metrics.matching import FoundBoxes, TrueBoxes, confusion_with_background, match_boxes, precision_recall_at_50
from tasks.vision.boxes import BoundingBox, DetectedBox

MISSED, NO_TRUE_BOX = "(missed)", "(no true box)"
"""Names of the confusion's last column and last row: the background."""
RED, STONE = "#b3363e", "#bcc7d0"
Sizes = Sequence[tuple[int, int]]
Centres = NDArray[np.float64]


def draw_detection_figures(
    truths: TrueBoxes, detections: FoundBoxes, sizes: Sizes, labels: Sequence[str], metrics: DetectionMetrics
) -> dict[str, Figure]:
    """Return all figures by name; `sizes` are width and height of each image (pixels)."""
    given = [[box for box in boxes if box.is_given] for boxes in detections]
    with house_style():
        return {
            "precision_recall": precision_recall_figure(truths, detections, metrics),
            "per_label": per_label_figure(metrics),
            "confusion_matrix": confusion_figure(confusion_with_background(truths, given, labels), labels),
            "size": size_figure(metrics, count_by_size(truths)),
            "places": places_figure(truths, given, sizes),
        }


def precision_recall_figure(truths: TrueBoxes, detections: FoundBoxes, metrics: DetectionMetrics) -> Figure:
    """Draw precision against recall of boxes per label, as its threshold moves; a mark stands at the threshold."""
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    labels = list(metrics.per_label)
    curves = precision_recall_at_50(truths, detections, labels)
    for index, label in enumerate(labels):
        if label not in curves:
            continue
        curve, figures = curves[label], metrics.per_label[label]
        # Before the first box, precision is that of the first box; without any box there is no curve, only a name.
        recall = np.append(0.0 * curve.recall[:1], curve.recall)
        precision = np.append(curve.precision[:1], curve.precision)
        name = f"{short(label)} ({figures.average_precision_50:.3f})"
        axes.step(recall, precision, where="pre", label=name, **stroke(index))
        if figures.recall:
            colour = stroke(index)["color"]
            axes.plot(figures.recall, figures.precision, "o", color=colour, markeredgecolor="white", zorder=4)
    finish(axes, "recall of boxes (marks: at the label's threshold)", "precision of boxes")
    if curves and len(labels) <= LEGEND_LABELS:
        figure.legend(loc="outside right upper", frameon=False, fontsize=9, title="AP50", alignment="left")
    if not curves:
        _say(axes, "no true box in the test images")
    return figure


def per_label_figure(metrics: DetectionMetrics) -> Figure:
    """Draw AP50, precision and recall of every label (the weakest of many), and the cross-validated AP50 as a mark."""
    names = weakest_labels({label: figures.average_precision_50 for label, figures in metrics.per_label.items()})
    figure = Figure(figsize=(6.4, 1.4 + 0.62 * len(names)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(names))[::-1]
    handles: list[Any] = []
    bars = (("average_precision_50", "AP50", ACCENT), ("precision", "precision", PALE), ("recall", "recall", STONE))
    for offset, (figure_name, name, colour) in zip((0.26, 0.0, -0.26), bars, strict=True):
        values = [getattr(metrics.per_label[label], figure_name) for label in names]
        handles.append(axes.barh(places + offset, values, height=0.24, color=colour, label=name))
    if metrics.cross_validated:
        values = [metrics.cross_validated.per_label[label].average_precision_50 for label in names]
        look: Any = {"color": SECOND, "markersize": 6, "clip_on": False, "label": "AP50, cross-validated"}
        handles += axes.plot(values, places + 0.26, "D", **look)
    axes.set_yticks(places, [short(label) for label in names])
    axes.set_xlim(0.0, 1.01)
    axes.set_ylim(-0.55, len(names) - 0.45)
    finish(axes, "", "")
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def confusion_figure(matrix: NDArray[np.int64], labels: Sequence[str]) -> Figure:
    """Draw counts of boxes by true label (rows) and given label (columns), background last."""
    figure = matrix_figure(matrix, (*labels, NO_TRUE_BOX), (*labels, MISSED), "true boxes", "given boxes")
    axes = figure.axes[0]
    for line in (axes.axvline, axes.axhline):
        line(len(labels) - 0.5, color=INK, linewidth=0.8)
    if axes.texts:
        # Where nothing is and nothing was given, there is nothing to count.
        axes.texts[-1].set_text("")
    return figure


def size_figure(metrics: DetectionMetrics, counts: Mapping[SizeClass, int]) -> Figure:
    """Draw the average precision (IoU 0.50 to 0.95) of boxes by COCO's size classes, with the number of true boxes."""
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axes = figure.subplots()
    names = list(SIZE_AREAS)
    values = [metrics.map_by_size[name] for name in names]
    axes.bar(range(len(names)), [value or 0.0 for value in values], width=0.55, color=ACCENT)
    for place, value in enumerate(values):
        told = "no true box" if value is None else f"{value:.3f}"
        axes.text(place, (value or 0.0) + 0.015, told, ha="center", va="bottom", fontsize=9)
    below, above = (round(area**0.5) for area in SIZE_AREAS["medium"])
    ranges = (f"up to {below}² px", f"{below}² to {above}² px", f"from {above}² px")
    boxes = ["1 box" if counts[name] == 1 else f"{counts[name]} boxes" for name in names]
    ticks = [f"{name}, {area}\n{count}" for name, area, count in zip(names, ranges, boxes, strict=True)]
    axes.set_xticks(range(len(names)), ticks, fontsize=9)
    finish(axes, "", "average precision (IoU 0.50 to 0.95)")
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.grid(axis="x", visible=False)
    return figure


def places_figure(truths: TrueBoxes, given: FoundBoxes, sizes: Sizes) -> Figure:
    """Draw the centres of true boxes, found and missed, and of given boxes that match none, relative to the image."""
    figure, axes = curve_figure()
    found, missed, wrong = _centres_by_outcome(truths, given, sizes)
    marks = (
        (found, "true box, found", {"marker": "o", "facecolor": ACCENT, "edgecolor": "white"}),
        (missed, "true box, missed", {"marker": "o", "facecolor": "none", "edgecolor": SECOND, "linewidth": 1.6}),
        (wrong, "given box, wrong", {"marker": "x", "color": RED, "linewidth": 1.4}),
    )
    # Thousands of marks would cover each other.
    area = float(np.clip(8000.0 / max(len(found) + len(missed) + len(wrong), 1), 10.0, 40.0))
    for centres, name, look in marks:
        axes.scatter(centres[:, 0], centres[:, 1], s=area, alpha=0.8, label=f"{name} ({len(centres)})", **look)
    finish(axes, "left to right, share of the image's width", "top to bottom, share of the height")
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(1.0, 0.0)
    axes.spines[["top", "right"]].set_visible(True)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8, handletextpad=0.2, columnspacing=1.0)
    return figure


def _centres_by_outcome(truths: TrueBoxes, given: FoundBoxes, sizes: Sizes) -> tuple[Centres, Centres, Centres]:
    found: list[tuple[float, float]] = []
    missed: list[tuple[float, float]] = []
    wrong: list[tuple[float, float]] = []
    for true_boxes, given_boxes, size in zip(truths, given, sizes, strict=True):
        matches = match_boxes(true_boxes, given_boxes)
        for true_box, place in zip(true_boxes, matches.found_of, strict=True):
            (missed if place is None else found).append(_centre(true_box, size))
        for box, truth in zip(given_boxes, matches.truth_of, strict=True):
            if truth is None:
                wrong.append(_centre(box, size))
    return _points(found), _points(missed), _points(wrong)


def _centre(box: BoundingBox | DetectedBox, size: tuple[int, int]) -> tuple[float, float]:
    return (box.left + box.width / 2) / size[0], (box.top + box.height / 2) / size[1]


def _points(centres: Iterable[tuple[float, float]]) -> Centres:
    return np.array(list(centres), dtype=np.float64).reshape(-1, 2)


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
