from functools import partial

import numpy as np
import pytest

from tasks.metrics.classification import CrossValidated, Truths
from tasks.metrics.multi_label import CrossValidatedMultiLabel
from tasks.train.candidates import Search, fit_best
from tasks.train.cross_validation import FoldAnswers, cross_validate, score_fold
from tasks.train.feature_table import FeatureTable
from tasks.train.heads import forest
from tasks.train.heads.model import HeadName, Indices, Probabilities
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


def test_pictures_of_one_part_say_nothing_of_other_parts() -> None:
    # Each part has a look of its own and a label by chance: only who knows the part can tell its label.
    rng = np.random.default_rng(5)
    parts, shots = 40, 5
    groups = np.repeat(np.arange(parts), shots)
    y = rng.permutation(np.arange(parts) % 2)[groups]
    looks = rng.normal(size=(parts, 60))[groups] + 0.05 * rng.normal(size=(parts * shots, 60))
    fit = partial(fit_best, Search(("logistic",), (("embedding",),), 0))
    features = FeatureTable.of({"embedding": looks.astype(np.float32)[:, None]})

    def score(groups: Indices | None) -> float:
        return cross_validate(fit, features, y, LABELS[:2], 4, 0, lambda *_: None, groups)[0].macro_f1

    assert score(None) > 0.95
    assert score(groups) < 0.65


def _run_multi_label(distance: float, folds: int = 3) -> tuple[CrossValidatedMultiLabel, Probabilities, Truths]:
    rng = np.random.default_rng(0)
    truths = rng.random((60, 3)) < (0.5, 0.35, 0.2)
    features = rng.normal(size=(60, 40)) + distance * truths @ rng.normal(size=(3, 40))
    table = FeatureTable.of({"embedding": features.astype(np.float32)[:, None]})
    procedure = partial(fit_best, Search(("logistic",), (("embedding",),), 0))
    estimate, pooled = cross_validate(procedure, table, truths, LABELS[:3], folds, 0, lambda *_: None)
    return estimate, pooled, truths


def test_any_number_of_labels_is_estimated_label_by_label() -> None:
    estimate, pooled, truths = _run_multi_label(2.0)
    assert isinstance(estimate, CrossValidatedMultiLabel)
    assert (estimate.folds, estimate.images, pooled.shape) == (3, 60, (60, 3))
    assert estimate.macro_f1 > 0.85
    assert estimate.mean_average_precision > 0.9
    assert 0.6 < estimate.exact_match <= 1.0
    supports = [figures.support for figures in estimate.per_label.values()]
    assert supports == truths.sum(axis=0).tolist()


def test_any_number_of_random_labels_scores_near_chance() -> None:
    estimate, _, truths = _run_multi_label(0.0)
    # Of a label given to all images, precision is the label's share.
    assert estimate.mean_average_precision == pytest.approx(truths.mean(), abs=0.12)
    assert estimate.exact_match < 0.35


def test_a_fold_of_any_number_of_labels_is_scored_by_exact_answers() -> None:
    answers = FoldAnswers({"a": 0.5, "b": 0.5}, np.array([[0.9, 0.8], [0.9, 0.2], [0.3, 0.1], [0.7, 0.1]]))
    truths = np.array([[True, True], [True, True], [False, False], [True, False]])
    assert score_fold(answers, truths, ("a", "b")).accuracy == 0.75
    assert score_fold(answers, np.array([0, 0, 1, 0]), ("a", "b")).accuracy == 0.75
    assert score_fold(answers, np.array([1, 0, 1, 0]), ("a", "b")).accuracy == 0.5
