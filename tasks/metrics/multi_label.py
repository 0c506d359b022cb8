"""What the numbers of a classifier mean whose images carry several labels or none.

Shapes as in `classification.py`: `truths` is N x L booleans, `confidences` N x L floats, 0 to 1.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from tasks.metrics.classification import Confidences, LabelMetrics, Truths, macro, measure_given


class MultiLabelMetrics(BaseModel, frozen=True, extra="forbid"):
    """A classifier of several labels, measured; everything but the average precisions at the labels' thresholds.

    Attributes:
        exact_match: share of images given their labels and no other.
        macro_precision: mean over the labels that some image carries, as are `macro_recall` and `macro_f1`.
        micro_precision: of all labels given, the share that is true.
        micro_recall: of all labels carried, the share that is given.
        micro_f1: harmonic mean of these two.
        mean_average_precision: mean of `average_precision`; None when no image carries any label.
        per_label: every label's figures.
        average_precision: of every label that some image carries.
    """

    exact_match: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    micro_precision: float
    micro_recall: float
    micro_f1: float
    mean_average_precision: float | None
    per_label: dict[str, LabelMetrics]
    average_precision: dict[str, float]


def measure_multi_label(
    truths: Truths, confidences: Confidences, labels: Sequence[str], thresholds: Mapping[str, float]
) -> MultiLabelMetrics:
    """Measure confidences of one image or more against the truth."""
    given = confidences >= np.array([thresholds[label] for label in labels])
    per_label = measure_given(truths, given, labels, thresholds)
    # All labels of all images in one column: what is measured of it is micro.
    micro = measure_given(truths.reshape(-1, 1), given.reshape(-1, 1), ["all"], {"all": 0.0})["all"]
    precisions = {
        label: average_precision(truths[:, place], confidences[:, place])
        for place, label in enumerate(labels)
        if truths[:, place].any()
    }
    return MultiLabelMetrics(
        exact_match=float((truths == given).all(axis=1).mean()),
        macro_precision=macro(per_label, "precision"),
        macro_recall=macro(per_label, "recall"),
        macro_f1=macro(per_label, "f1"),
        micro_precision=micro.precision,
        micro_recall=micro.recall,
        micro_f1=micro.f1,
        mean_average_precision=float(np.mean(list(precisions.values()))) if precisions else None,
        per_label=per_label,
        average_precision=precisions,
    )


def average_precision(truth: NDArray[np.bool_], confidence: NDArray[np.float64]) -> float:
    """Mean precision over the images that carry a label, each at its own confidence.

    The sum over thresholds of precision times gain in recall, without interpolation: Zhu, "Recall, Precision and
    Average Precision", 2004. Images of equal confidence are found together.

    Args:
        truth: N booleans, one of them true at least.
        confidence: N floats.
    """
    order = np.argsort(-confidence, kind="stable")
    ranked, hits = confidence[order], np.cumsum(truth[order])
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    gains = np.diff(hits[last], prepend=0)
    return float((hits[last] / (last + 1) * gains).sum() / hits[-1])
