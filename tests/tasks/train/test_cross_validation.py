from functools import partial

import numpy as np
import pytest

from tasks.metrics.classification import CrossValidated
from tasks.train.cross_validation import cross_validate
from tasks.train.heads import forest
from tasks.train.heads.model import HeadName, Probabilities
from tasks.train.heads.search import KINDS, fit_head

LABELS = ("a", "b", "c", "d")


def _run(
    counts: tuple[int, ...],
    width: int,
    distance: float,
    seed: int = 0,
    folds: int = 5,
    name: HeadName = "logistic",
) -> tuple[CrossValidated, Probabilities, list[tuple[int, int]]]:
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(counts)), counts)
    features = rng.normal(size=(len(y), width)) + distance * rng.normal(size=(len(counts), width))[y]
    told: list[tuple[int, int]] = []
    estimate, pooled = cross_validate(
        partial(fit_head, name, seed=seed),
        features.astype(np.float32),
        y,
        LABELS[: len(counts)],
        folds,
        seed,
        lambda *done: told.append(done),
    )
    return estimate, pooled, told


@pytest.mark.parametrize("name", [*KINDS, "ensemble"])
def test_random_labels_score_near_chance(name: HeadName, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forest, "TREES", 16)
    scores = [_run((40, 40), 200, 0.0, seed, 3, name)[0].macro_f1 for seed in range(3)]
    assert np.mean(scores) < 0.67


def test_clear_labels_score_high() -> None:
    estimate, pooled, told = _run((20, 20, 20), 100, 1.0)
    assert estimate.macro_f1 > 0.95
    assert estimate.accuracy > 0.95
    assert estimate.macro_f1_std < 0.1
    assert (estimate.folds, estimate.images) == (5, 60)
    assert pooled.shape == (60, 3)
    assert estimate.calibration_error == pytest.approx(1.0 - pooled.max(axis=1).mean(), abs=0.02)
    assert sum(one.images for one in estimate.calibration) == 60
    np.testing.assert_allclose(pooled.sum(axis=1), 1.0, atol=1e-6)
    assert told == [(done, 5) for done in range(1, 6)]
    assert {label: figures.support for label, figures in estimate.per_label.items()} == {"a": 20, "b": 20, "c": 20}


def test_equal_seeds_give_equal_estimates() -> None:
    one, other, third = (_run((15, 15), 40, 0.3, seed) for seed in (1, 1, 2))
    assert one[0] == other[0]
    np.testing.assert_array_equal(one[1], other[1])
    assert one[0] != third[0]


@pytest.mark.parametrize(("counts", "folds"), [((3, 20), 3), ((3, 3, 3), 3), ((4, 20, 20), 4), ((3, 4, 3, 9), 3)])
def test_rare_labels_are_estimated(counts: tuple[int, ...], folds: int) -> None:
    estimate, pooled, _ = _run(counts, 60, 1.5)
    assert estimate.folds == folds
    assert estimate.images == sum(counts)
    assert np.isfinite(pooled).all()
    assert [figures.support for figures in estimate.per_label.values()] == list(counts)
    assert all(0.0 <= figures.f1 <= 1.0 for figures in estimate.per_label.values())
