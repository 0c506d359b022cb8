import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from tasks.metrics.classification import calibration_error
from tasks.train.heads.calibration import MAX_TEMPERATURE, calibrated, fit_temperature
from tasks.train.heads.model import Indices, Probabilities
from tasks.train.heads.thresholds import one_label_each


def _true_shares(images: int, labels: int, seed: int = 0) -> tuple[Probabilities, Indices]:
    """Return probabilities, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    probabilities = softmax(rng.normal(size=(images, labels)) * 1.5, axis=1)
    return probabilities, np.array([rng.choice(labels, p=row) for row in probabilities])


@pytest.mark.parametrize("temperature", [0.5, 0.7, 2.0, 4.0])
def test_temperature_that_was_applied_is_found(temperature: float) -> None:
    probabilities, y = _true_shares(3000, 4)
    shares = softmax(np.log(probabilities) / temperature, axis=1)
    found = fit_temperature(shares, y)
    assert found == pytest.approx(1 / temperature, rel=0.2)
    truths = one_label_each(y, 4)
    assert calibration_error(truths, calibrated(shares, found)) < 0.04 < calibration_error(truths, shares)


def test_good_probabilities_stay_as_they_are() -> None:
    probabilities, y = _true_shares(3000, 3)
    assert fit_temperature(probabilities, y) == 1.0
    np.testing.assert_allclose(calibrated(probabilities, 1.0), probabilities, atol=0.01)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 6), st.floats(0.1, 5.0))
def test_order_of_the_labels_stays(seed: int, labels: int, temperature: float) -> None:
    probabilities, _ = _true_shares(20, labels, seed)
    np.testing.assert_array_equal(calibrated(probabilities, temperature).argsort(), probabilities.argsort())


@pytest.mark.parametrize("images", [4, 40])
def test_answers_that_are_all_right_are_not_certain(images: int) -> None:
    y = np.arange(images) % 2
    probabilities = calibrated(np.eye(2)[y], fit_temperature(np.eye(2)[y], y))
    own = (images / 2 + 1) / (images / 2 + 2)
    np.testing.assert_allclose(probabilities[np.arange(images), y], own, atol=0.03)


def test_answers_that_say_nothing_become_even() -> None:
    y = np.arange(100) % 2
    shares = np.eye(2)[np.arange(100) // 2 % 2]
    temperature = fit_temperature(shares, y)
    assert 1.0 < temperature <= MAX_TEMPERATURE
    np.testing.assert_allclose(calibrated(shares, temperature), 0.5, atol=0.1)


def test_weights_decide_which_images_count() -> None:
    shares, y = np.tile([0.9, 0.1], (100, 1)), np.repeat([0, 1], [90, 10])
    alike = fit_temperature(shares, y)
    rare = fit_temperature(shares, y, np.where(y == 1, 9.0, 1.0))
    assert calibrated(shares, alike)[0, 0] == pytest.approx(0.9, abs=0.02)
    assert calibrated(shares, rare)[0, 0] == pytest.approx(0.5, abs=0.1)


def test_impossible_label_stays_possible() -> None:
    assert calibrated(np.array([[1.0, 0.0]]), 1.0).min() > 0.0
