"""Figures of images and pixels are scikit-learn's, and those of a slow search over all limits."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from tasks.metrics.anomaly import (
    area_under_roc,
    auroc_of_resamples,
    count_pixels,
    measure_anomalies,
    pixel_auroc,
    region_overlap,
)
from tasks.metrics.bootstrap import draw_resamples, percentile_interval

TIED = st.sampled_from([0.0, 0.125, 0.25, 0.5, 1.0, 7.0])
MAPS = st.tuples(arrays(np.float32, (2, 6, 7), elements=TIED), arrays(np.bool_, (2, 6, 7)))


def slow_region_overlap(scores: np.ndarray, masks: np.ndarray) -> float:
    """Mark all at or above each limit in turn, and look at every region by itself."""
    regions = []
    for number, mask in enumerate(masks):
        labels, found = ndimage.label(mask, np.ones((3, 3)))
        regions += [(number, labels == region) for region in range(1, found + 1)]
    points = [(0.0, 0.0)]
    for limit in sorted(set(scores.ravel().tolist()), reverse=True):
        marked = scores >= limit
        points.append((marked[~masks].mean(), np.mean([marked[number][region].mean() for number, region in regions])))
    area = 0.0
    for (start, low), (end, high) in pairwise(points):
        if start < 0.3 and end > start:
            stop = min(end, 0.3)
            at_stop = low + (high - low) * (stop - start) / (end - start)
            area += (stop - start) * (low + at_stop) / 2
    return area / 0.3


@settings(max_examples=50, deadline=None)
@given(arrays(np.bool_, 12), arrays(np.float64, 12, elements=TIED))
def test_image_auroc_is_scikit_learns(truth: np.ndarray, scores: np.ndarray) -> None:
    if truth.all() or not truth.any():
        assert area_under_roc(truth, scores) is None
    else:
        assert area_under_roc(truth, scores) == pytest.approx(roc_auc_score(truth, scores))


@settings(max_examples=50, deadline=None)
@given(MAPS)
def test_pixel_figures_are_scikit_learns_and_those_of_a_slow_search(maps: tuple[np.ndarray, np.ndarray]) -> None:
    scores, masks = maps
    counts = count_pixels(zip(scores, masks, strict=True))
    if masks.all() or not masks.any():
        assert (pixel_auroc(counts), region_overlap(counts)) == (None, None)
        return
    assert pixel_auroc(counts) == pytest.approx(roc_auc_score(masks.ravel(), scores.ravel()))
    assert region_overlap(counts) == pytest.approx(slow_region_overlap(scores, masks))


def test_a_small_region_counts_as_much_as_a_large_one() -> None:
    scores, mask = np.zeros((10, 10), np.float32), np.zeros((10, 10), np.bool_)
    mask[0, 0], mask[4:8, 4:8] = True, True
    scores[4:8, 4:8] = 1.0  # the large region is found, the small one is not
    counts = count_pixels([(scores, mask)])
    assert (counts.regions, counts.masked_images) == (2, 1)
    # From one half at a rate of 0 to 0.65 at 0.3, on the line to all at 1.
    assert region_overlap(counts) == pytest.approx((0.5 + 0.65) / 2)


def test_scores_beyond_half_precision_are_the_highest() -> None:
    scores, mask = np.array([[1e9, 65504.0, 3.0]], np.float32), np.array([[True, False, False]])
    assert pixel_auroc(count_pixels([(scores, mask)])) == 0.75


def test_auroc_of_a_resample_is_that_of_the_repeated_images() -> None:
    rng = np.random.default_rng(0)
    truth, scores = rng.random(20) < 0.4, rng.integers(0, 6, 20) / 5
    counts = draw_resamples(20, 30, seed=1)
    expected = [roc_auc_score(np.repeat(truth, row), np.repeat(scores, row)) for row in counts]
    assert auroc_of_resamples(truth, scores, counts) == pytest.approx(expected)


def test_a_resample_of_one_kind_is_left_out_of_the_interval() -> None:
    counts = np.array([[2, 0], [0, 2], [1, 1]])
    areas = auroc_of_resamples(np.array([True, False]), np.array([0.9, 0.1]), counts)
    np.testing.assert_array_equal(areas, [np.nan, np.nan, 1.0])
    assert percentile_interval(areas, 0.95) == (1.0, 1.0)
    assert percentile_interval(areas[:2], 0.95) == (0.0, 0.0)


def test_resamples_are_measured_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    truth, scores = rng.random(400) < 0.4, rng.random(400)
    counts = draw_resamples(400, 205, seed=1)
    expected = auroc_of_resamples(truth, scores, counts)
    monkeypatch.setattr("tasks.metrics.anomaly.MAX_CELLS", 4000)  # ten resamples of 400 distinct scores
    tracemalloc.start()
    areas = auroc_of_resamples(truth, scores, counts)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(areas, expected)
    assert peak_bytes < 400_000, "all at once they would take 1.3 MB for each of normal and abnormal"


def test_counts_at_the_threshold() -> None:
    truth = np.array([True, True, True, False, False])
    confidences = np.array([0.9, 0.5, 0.4, 0.6, 0.1])
    metrics = measure_anomalies(truth, confidences, 0.5, None)
    assert (metrics.macro_precision, metrics.macro_recall) == pytest.approx((2 / 3, 2 / 3))
    assert metrics.per_label["anomaly"].support == 3
    assert (metrics.false_alarm_rate, metrics.normal_images) == (0.5, 2)
    assert metrics.image_auroc == pytest.approx(4 / 6)
    assert (metrics.pixel_auroc, metrics.region_overlap, metrics.masked_images) == (None, None, 0)
