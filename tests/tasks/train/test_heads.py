from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from tasks.train import heads
from tasks.train.heads import (
    INNER_FOLDS,
    MIN_VALIDATION_IMAGES,
    STRENGTHS,
    FittedHead,
    choose_thresholds,
    fit_head,
    stratified_folds,
)

Data = tuple[NDArray[np.float32], NDArray[np.intp]]


def _blobs(counts: tuple[int, ...], width: int, distance: float = 1.0, seed: int = 0) -> Data:
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(counts)), counts)
    centres = rng.normal(size=(len(counts), width)) * distance
    scale = rng.uniform(0.2, 3.0, width)
    return ((centres[y] + rng.normal(size=(len(y), width))) * scale + 5.0).astype(np.float32), y


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize(
    ("counts", "width"),
    [((20, 30), 10), ((20, 30), 200), ((10, 15, 25), 8), ((10, 15, 25), 300), ((25, 25), 50)],
    ids=["2 labels, few features", "2 labels, many", "3 labels, few features", "3 labels, many", "square"],
)
def test_path_is_the_plain_pipeline(
    counts: tuple[int, ...], width: int, strength: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # At the default tolerance two solvers stop up to 0.005 apart; what is compared here is the solution.
    exact = partial(LogisticRegression, tol=1e-8)
    monkeypatch.setattr(heads, "LogisticRegression", exact)
    features, y = _blobs(counts, width, 0.3)
    trained, held_out = features[::2], features[1::2]
    fitted = next(heads._fit_path(trained, y[::2], (strength,)))
    plain = Pipeline(
        [
            ("scale", StandardScaler()),
            ("classify", exact(C=strength, class_weight="balanced", max_iter=5000)),
        ]
    ).fit(trained.astype(np.float64), y[::2])
    for rows in (trained, held_out):
        expected = plain.predict_proba(rows.astype(np.float64))
        np.testing.assert_allclose(fitted.predict_proba(rows.astype(np.float64)), expected, atol=1e-3)


def test_constant_features_do_no_harm() -> None:
    features, y = _blobs((12, 12), 40, 2.0)
    features[:, ::3] = 7.0
    head = fit_head(features, y, 0)
    assert np.isfinite(head.probabilities(features)).all()
    assert (head.probabilities(features).argmax(axis=1) == y).mean() > 0.9


@pytest.mark.parametrize("width", [6, 120])
def test_equal_seeds_give_equal_heads(width: int) -> None:
    features, y = _blobs((15, 15, 15), width, 0.4)
    one, other, third = (fit_head(features, y, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.out_of_fold, other.out_of_fold)
    np.testing.assert_array_equal(one.probabilities(features), other.probabilities(features))
    assert one.strength == other.strength
    assert not np.array_equal(one.out_of_fold, third.out_of_fold)


def test_probabilities_are_probabilities() -> None:
    features, y = _blobs((8, 12, 10), 50)
    head = fit_head(features, y, 0)
    for rows in (head.out_of_fold, head.probabilities(features)):
        assert rows.shape == (30, 3)
        np.testing.assert_allclose(rows.sum(axis=1), 1.0, atol=1e-9)
    assert head.probabilities(features[:0]).shape == (0, 3)
    assert head.strength in STRENGTHS


def test_out_of_fold_rows_come_from_models_that_did_not_see_them() -> None:
    features, y = _blobs((20, 20), 400, 0.0)
    head = fit_head(features, y, 0)
    seen = (head.probabilities(features).argmax(axis=1) == y).mean()
    unseen = (head.out_of_fold.argmax(axis=1) == y).mean()
    assert seen > 0.95
    assert unseen < 0.75


@pytest.mark.parametrize("counts", [(2, 2), (2, 20), (2, 20, 20), (3, 3, 3), (2, 2, 2, 40)], ids=str)
def test_rare_labels_are_learned(counts: tuple[int, ...]) -> None:
    features, y = _blobs(counts, 60, 2.0)
    head = fit_head(features, y, 0)
    assert head.out_of_fold.shape == (sum(counts), len(counts))
    assert (head.probabilities(features).argmax(axis=1) == y).all()


def test_rare_label_weighs_as_much_as_a_common_one() -> None:
    features, y = _blobs((6, 120), 5, 0.8, seed=2)
    probabilities = fit_head(features, y, 0).probabilities(features)
    assert (probabilities.argmax(axis=1) == y)[y == 0].mean() > 0.6


@pytest.mark.parametrize(
    ("counts", "folds", "expected"),
    [((10, 10), 5, 5), ((3, 10), 5, 3), ((2, 10), 5, 2), ((20, 20), 2, 2), ((4, 4), INNER_FOLDS, 4)],
    ids=str,
)
def test_folds_fit_the_rarest_label(counts: tuple[int, ...], folds: int, expected: int) -> None:
    y = np.repeat(np.arange(len(counts)), counts)
    splits = stratified_folds(y, folds, 0)
    assert len(splits) == expected
    assert sorted(np.concatenate([held_out for _, held_out in splits])) == list(range(len(y)))
    for train, held_out in splits:
        assert not set(train) & set(held_out)
        assert set(y[train]) == set(y)


@pytest.mark.parametrize("count", [0, MIN_VALIDATION_IMAGES - 1, MIN_VALIDATION_IMAGES])
def test_thresholds_come_from_validation_when_it_has_enough_images(count: int) -> None:
    labels = ("a", "b")
    y = np.array([0] * 10 + [1] * 10)
    out_of_fold = np.where(y[:, None] == np.arange(2), 0.9, 0.1)
    held_y = np.array([0] * count + [1] * 30, dtype=np.intp)
    held = np.where(held_y[:, None] == np.arange(2), 0.3, 0.2)
    head = FittedHead(Pipeline([("scale", StandardScaler())]), 1.0, out_of_fold)
    thresholds = choose_thresholds(head, y, (held, held_y), labels)
    # Without an image of `a`, nothing stands below the confidences of `b`.
    assert thresholds["b"] == pytest.approx(0.25 if count else 0.15)
    assert thresholds["a"] == pytest.approx(0.25 if count >= MIN_VALIDATION_IMAGES else 0.5)


def test_thresholds_without_validation() -> None:
    features, y = _blobs((8, 8, 8), 30, 2.0)
    head = fit_head(features, y, 0)
    thresholds = choose_thresholds(head, y, (np.zeros((0, 3)), np.zeros(0, np.intp)), ("a", "b", "c"))
    assert set(thresholds) == {"a", "b", "c"}
    assert all(0.0 < threshold < 1.0 for threshold in thresholds.values())
