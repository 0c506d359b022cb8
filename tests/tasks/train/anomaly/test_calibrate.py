"""Limit, slope and threshold from scores that are given by hand."""

import numpy as np
import pytest

from tasks.bundle.anomaly import confidence_of
from tasks.train.anomaly.calibrate import (
    DEFAULT_THRESHOLD,
    FROM_NORMAL,
    FROM_VALIDATION,
    MAX_STEEPNESS,
    MIN_STEEPNESS,
    MIN_VALIDATION_ANOMALIES,
    calibrate,
    choose_threshold,
)
from tests.tasks.bundle.made_anomaly_model import SCORING


def heats(*scores: float) -> list[np.ndarray]:
    """Return heat maps that are equally hot everywhere."""
    return [np.full((4, 4), score, np.float32) for score in scores]


def test_limit_leaves_the_wanted_share_of_normal_images_beyond_it() -> None:
    scoring = calibrate(heats(*range(1, 102)), SCORING, 0.1)
    assert scoring.limit == pytest.approx(91.0)
    assert confidence_of(scoring.limit, scoring) == pytest.approx(0.5)
    assert confidence_of(51.0, scoring) == pytest.approx(0.1)  # the median


def test_region_begins_where_few_normal_patches_are_as_hot_but_not_above_the_limit() -> None:
    cool = np.full((40, 40), 1.0, np.float32)
    cool[0, :4] = 5.0
    scoring = calibrate([cool, *heats(*[4.0] * 20)], SCORING, 0.5)
    assert scoring.limit == pytest.approx(4.0)
    assert scoring.region_limit == pytest.approx(4.0)
    low = calibrate([np.full((40, 40), 1.0, np.float32)] * 19 + heats(9.0), SCORING, 0.02)
    assert low.region_limit == pytest.approx(1.0)
    assert low.limit > 1.0


@pytest.mark.parametrize(
    ("scores", "steepness"),
    [
        pytest.param([7.0, 7.0, 7.0, 7.0], MAX_STEEPNESS, id="all alike"),
        pytest.param([0.0, 0.0, 0.0, 0.0], MAX_STEEPNESS, id="all remembered"),
        pytest.param([1e-4, 1e-4, 1e-4, 1e6, 1e6], MIN_STEEPNESS, id="all over the place"),
    ],
)
def test_slope_stays_within_bounds(scores: list[float], steepness: float) -> None:
    scoring = calibrate(heats(*scores), SCORING, 0.02)
    assert scoring.steepness == pytest.approx(steepness)
    assert scoring.limit > 0
    assert scoring.region_limit > 0


@pytest.mark.parametrize("anomalies", [0, MIN_VALIDATION_ANOMALIES - 1])
def test_few_anomalies_leave_the_threshold_to_normal_images(anomalies: int) -> None:
    truth = np.array([True] * anomalies + [False] * 5)
    assert choose_threshold(heats(*range(len(truth))), truth, SCORING) == (DEFAULT_THRESHOLD, FROM_NORMAL)


def test_enough_anomalies_choose_the_best_f1() -> None:
    truth = np.array([False] * 6 + [True] * MIN_VALIDATION_ANOMALIES)
    scores = [8.0, 9.0, 9.0, 10.0, 10.0, 11.0, 14.0, 15.0, 16.0, 17.0, 18.0]
    threshold, chosen_on = choose_threshold(heats(*scores), truth, SCORING)
    assert chosen_on == FROM_VALIDATION
    assert confidence_of(11.0, SCORING) < threshold < confidence_of(14.0, SCORING) < 0.5
