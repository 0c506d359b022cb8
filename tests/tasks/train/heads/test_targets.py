import numpy as np
import pytest

from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.train.heads.calibration import calibrated, fit_temperature
from tasks.train.heads.search import balanced_log_loss
from tasks.train.heads.targets import (
    are_multi_label,
    as_truths,
    calibrated_by,
    divide,
    fit,
    log_loss,
    targets_of,
    temperature_of,
)

Y = np.arange(24) % 3
TRUTHS = np.random.default_rng(0).random((24, 3)) < 0.5


def test_one_label_each_and_any_number_are_told_apart() -> None:
    assert (are_multi_label(Y), are_multi_label(TRUTHS)) == (False, True)
    np.testing.assert_array_equal(as_truths(Y, 3), np.eye(3, dtype=bool)[Y])
    assert as_truths(TRUTHS, 3) is TRUTHS


def test_targets_are_read_from_images() -> None:
    labels = ("a", "b", "c")
    several = [ImageEntry("x", "0", 8, 8, Truth(labels=carried)) for carried in ((), ("a", "c"), ("b",))]
    found = targets_of(several, labels, is_multi_label=True)
    assert found.tolist() == [[False] * 3, [True, False, True], [False, True, False]]
    assert targets_of(several[2:], labels, is_multi_label=False).tolist() == [1]


def test_one_temperature_calibrates_all_labels_that_stand_alone() -> None:
    rng = np.random.default_rng(3)
    truths = rng.random((200, 2)) < 0.4
    logits = 6.0 * (rng.normal(size=(200, 2)) + truths - 0.5)
    shares = 1.0 / (1.0 + np.exp(-logits))
    temperature = temperature_of(shares, truths)
    assert temperature > 1.5
    better = calibrated_by(temperature, shares, truths)
    assert log_loss(better, truths) < log_loss(shares, truths) - 0.1
    assert ((better > 0.5) == (shares > 0.5)).all()
    rows = np.random.default_rng(4).dirichlet(np.ones(3), 24)
    assert temperature_of(rows, Y) == fit_temperature(rows, Y)
    np.testing.assert_array_equal(calibrated_by(2.0, rows, Y), calibrated(rows, 2.0))


def test_answers_to_one_label_sum_to_one_those_to_any_do_not() -> None:
    features = np.random.default_rng(1).normal(size=(24, 6)).astype(np.float32)
    single, several = (
        fit("logistic", lambda _: features[:, None], targets, 0).probabilities(features) for targets in (Y, TRUTHS)
    )
    np.testing.assert_allclose(single.sum(axis=1), 1.0)
    assert several.shape == (24, 3)
    assert not np.allclose(several.sum(axis=1), 1.0, atol=0.1)


def test_loss_of_any_number_of_labels_is_the_mean_over_labels() -> None:
    confidences = np.random.default_rng(2).uniform(0.1, 0.9, (24, 3))
    assert log_loss(confidences, Y) == balanced_log_loss(confidences, Y)
    alone = [
        balanced_log_loss(np.column_stack([1 - confidences[:, place], confidences[:, place]]), TRUTHS[:, place] * 1)
        for place in range(3)
    ]
    assert log_loss(confidences, TRUTHS) == pytest.approx(np.mean(alone))
    assert log_loss(TRUTHS.astype(float), TRUTHS) == pytest.approx(0.0, abs=1e-9)
    assert log_loss(1.0 - TRUTHS, TRUTHS) > 20.0


@pytest.mark.parametrize("targets", [Y, TRUTHS], ids=["one label", "any number"])
def test_every_image_is_held_out_once(targets: np.ndarray) -> None:
    parts = divide(targets, 4, 0)
    assert sorted(np.concatenate([held_out for _, held_out in parts])) == list(range(24))
    assert all(not set(train) & set(held_out) for train, held_out in parts)
