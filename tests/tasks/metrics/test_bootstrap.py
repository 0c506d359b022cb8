"""Figures of resamples are those of the same images, repeated; intervals are those of the figures."""

import numpy as np
import pytest
from hypothesis import given, settings

from tasks.metrics import bootstrap
from tasks.metrics.bootstrap import draw_resamples, macro_f1_of_resamples, map_50_of_resamples, percentile_interval
from tasks.metrics.classification import measure
from tasks.metrics.detection import measure_detections
from tasks.vision.boxes import BoundingBox, DetectedBox
from tests.tasks.metrics.random_boxes import LABELS, Found, Truths, dataset, images_on_a_raster

CUTS = dict.fromkeys(LABELS, 0.5)
IMAGES = images_on_a_raster(LABELS, min_size=1)


def map_50(truths: Truths, found: Found) -> float:
    return measure_detections(truths, found, LABELS, CUTS).map_50


def once(images: int) -> bootstrap.Counts:
    return np.ones((1, images), np.int64)


def repeated(images: list, counts: np.ndarray) -> list:
    return [image for image, count in zip(images, counts, strict=True) for _ in range(count)]


@settings(max_examples=50, deadline=None)
@given(IMAGES)
def test_every_image_once_gives_map_50(images: list[tuple[list[BoundingBox], list[DetectedBox]]]) -> None:
    truths, found = [list(side) for side in zip(*images, strict=True)]
    assert map_50_of_resamples(truths, found, LABELS, once(len(images)))[0] == pytest.approx(
        map_50(truths, found), abs=1e-9
    )


def test_of_equal_overlaps_the_later_true_box_is_taken() -> None:
    truths = [[BoundingBox("cut", 0, 0, 10, 10), BoundingBox("cut", 2, 0, 10, 10)]]
    sure = DetectedBox("cut", 1, 0, 10, 10, 0.9, True)
    for left in (-2.0, 4.0):
        found = [[sure, DetectedBox("cut", left, 0, 10, 10, 0.8, True)]]
        assert map_50_of_resamples(truths, found, LABELS, once(1))[0] == pytest.approx(map_50(truths, found), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_weights_repeat_images_of_a_detector(seed: int) -> None:
    truths, found = dataset(seed, images=14)
    counts = draw_resamples(14, 8, seed)
    # Few images, so that labels are without a true box in some resample.
    counts[0] = 0
    counts[0, :2] = 3, 1
    expected = [map_50(repeated(truths, row), repeated(found, row)) for row in counts]
    assert len({round(one, 6) for one in expected}) > 4
    assert map_50_of_resamples(truths, found, LABELS, counts) == pytest.approx(expected, abs=1e-9)


def test_only_the_surest_hundred_boxes_of_an_image_and_label_count() -> None:
    truths = [[BoundingBox("cut", 0, 0, 10, 10), BoundingBox("bent", 50, 50, 10, 10)]]
    crowd = [DetectedBox("cut", 100, 100, 5, 5, 0.9 - number / 1000, True) for number in range(bootstrap.MAX_BOXES)]
    last = [DetectedBox("cut", 0, 0, 10, 10, 0.5, True), DetectedBox("bent", 50, 50, 10, 10, 0.4, True)]
    for found in ([[*last, *crowd]], [[*last, *crowd[:-1]]]):
        assert map_50_of_resamples(truths, found, LABELS, once(1))[0] == pytest.approx(map_50(truths, found), abs=1e-9)
    assert map_50(truths, [[*last, *crowd]]) == pytest.approx(0.5)


def test_many_resamples_are_worked_on_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    truths, found = dataset(3)
    counts = draw_resamples(len(truths), 23, 0)
    whole = map_50_of_resamples(truths, found, LABELS, counts)
    monkeypatch.setattr(bootstrap, "MAX_CELLS", 5 * sum(map(len, found)) // 2)
    assert map_50_of_resamples(truths, found, LABELS, counts).tolist() == whole.tolist()


@pytest.mark.parametrize(
    ("truths", "found"),
    [
        pytest.param([[], []], [[], []], id="nothing"),
        pytest.param([[], []], [[DetectedBox("cut", 0, 0, 5, 5, 0.9, True)], []], id="no true box"),
        pytest.param([[BoundingBox("cut", 0, 0, 5, 5)], []], [[], []], id="nothing found"),
    ],
)
def test_figures_are_zero_without(truths: Truths, found: Found) -> None:
    assert map_50_of_resamples(truths, found, LABELS, draw_resamples(2, 5, 0)).tolist() == [0.0] * 5


@pytest.mark.parametrize("seed", range(4))
def test_weights_repeat_images_of_a_classifier(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truths = np.eye(len(LABELS), dtype=bool)[rng.integers(0, 3, 9)] | (rng.random((9, len(LABELS))) < 0.1)
    confidences = np.clip(0.6 * truths + rng.uniform(0, 0.6, truths.shape), 0, 1)
    counts = draw_resamples(9, 20, seed)
    expected = [
        measure(np.repeat(truths, row, axis=0), np.repeat(confidences, row, axis=0), LABELS, CUTS).macro_f1
        for row in counts
    ]
    assert len({round(one, 6) for one in expected}) > 5
    assert macro_f1_of_resamples(truths, confidences >= 0.5, counts) == pytest.approx(expected, abs=1e-12)


def test_label_that_no_image_of_a_resample_carries_is_left_out() -> None:
    truths = np.array([[True, False], [False, True]])
    given_labels = np.array([[True, False], [True, False]])
    figures = macro_f1_of_resamples(truths, given_labels, np.array([[2, 0], [0, 2], [1, 1]]))
    assert figures.tolist() == pytest.approx([1.0, 0.0, (2 / 3 + 0) / 2])


def test_resamples_draw_with_replacement() -> None:
    counts = draw_resamples(40, 500, 7)
    assert counts.shape == (500, 40)
    assert set(counts.sum(axis=1).tolist()) == {40}
    # Of n images each is missing from a share (1 - 1/n)^n of all resamples, 0.363 for 40.
    assert (counts == 0).mean() == pytest.approx((1 - 1 / 40) ** 40, abs=0.01)
    assert (counts == draw_resamples(40, 500, 7)).all()
    assert (counts != draw_resamples(40, 500, 8)).any()


@pytest.mark.parametrize(
    ("confidence", "expected"),
    [pytest.param(0.95, (25.0, 975.0), id="95"), pytest.param(0.5, (250.0, 750.0), id="50")],
)
def test_interval_holds_the_middle(confidence: float, expected: tuple[float, float]) -> None:
    figures = np.random.default_rng(0).permutation(1001).astype(np.float64)
    assert percentile_interval(figures, confidence) == pytest.approx(expected)


def test_interval_of_a_share_is_that_of_the_normal_distribution() -> None:
    """Of 400 images with one label, half given wrongly: recall 0.5 has a standard error of 0.025."""
    truths = np.ones((400, 1), bool)
    given_labels = np.arange(400)[:, None] % 2 == 0
    figures = macro_f1_of_resamples(truths, given_labels, draw_resamples(400, 4000, 0))
    recall = figures / (2 - figures)
    assert percentile_interval(recall, 0.95) == pytest.approx((0.5 - 1.96 * 0.025, 0.5 + 1.96 * 0.025), abs=0.005)
