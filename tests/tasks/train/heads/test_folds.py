import numpy as np
import pytest

from tasks.train.heads.folds import group_numbers, iterative_folds, stratified_folds
from tasks.train.heads.search import INNER_FOLDS


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


def grouped(*groups):
    """Return label indices, and group numbers, of groups that are each written as (label, images)."""
    y = np.concatenate([[label] * images for label, images in groups])
    return y, group_numbers([str(number) for number, (_, images) in enumerate(groups) for _ in range(images)])


def test_groups_are_numbered_as_they_appear() -> None:
    assert group_numbers(["b", "a", "b", "c", "a"]).tolist() == [0, 1, 0, 2, 1]


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_on_one_side(seed: int) -> None:
    y, groups = grouped(*[(0, 1 + number % 4) for number in range(12)], *[(1, 3)] * 5, *[(2, 2)] * 4)
    splits = stratified_folds(y, 5, seed, groups)
    assert len(splits) == 4
    assert sorted(np.concatenate([held_out for _, held_out in splits])) == list(range(len(y)))
    for train, held_out in splits:
        assert not set(groups[train]) & set(groups[held_out])
        assert set(y[train]) == {0, 1, 2}
        assert {1, 2} <= set(y[held_out])


def test_images_that_are_groups_of_their_own_are_divided_as_without_groups() -> None:
    y = np.array([0, 1, 0, 0, 1, 1, 0, 1, 0])
    plain, alone = stratified_folds(y, 3, 4), stratified_folds(y, 3, 4, np.arange(len(y)))
    for one, other in zip(plain, alone, strict=True):
        np.testing.assert_array_equal(one[1], other[1])


def test_label_of_one_group_is_divided_and_the_others_stay_together() -> None:
    y, groups = grouped((0, 6), *[(1, 2)] * 6)
    for train, held_out in stratified_folds(y, 3, 0, groups):
        assert set(y[train]) == set(y[held_out]) == {0, 1}
        of_others = y == 1
        assert not set(groups[of_others][np.isin(np.flatnonzero(of_others), train)]) & set(
            groups[of_others][np.isin(np.flatnonzero(of_others), held_out)]
        )


def test_labels_that_only_share_groups_are_learned_in_every_fold() -> None:
    y, groups = np.array([0, 1, 1, 2, 0, 2]), np.array([0, 0, 1, 1, 2, 2])
    for seed in range(8):
        for train, _ in stratified_folds(y, 2, seed, groups):
            assert set(y[train]) == {0, 1, 2}


@pytest.mark.parametrize("folds", [2, 5])
@pytest.mark.parametrize("burst", [2, 5, 10])
def test_every_fold_leaves_enough_to_divide_again(burst: int, folds: int) -> None:
    y, groups = grouped((0, burst), (0, 1), *[(1, 1)] * 14, *[(2, 4)] * 3)
    for train, held_out in stratified_folds(y, folds, 0, groups):
        assert np.bincount(y[train]).min() >= 2
        of_other = y == 2
        assert not set(groups[train][of_other[train]]) & set(groups[held_out][of_other[held_out]])
        for inner, _ in stratified_folds(y[train], INNER_FOLDS, 0, groups[train]):
            assert set(y[train][inner]) == {0, 1, 2}


@pytest.mark.parametrize("burst", [2, 5, 10])
def test_a_label_of_one_burst_is_learned_and_tested_in_every_fold(burst: int) -> None:
    truths = np.zeros((40, 2), bool)
    truths[:burst, 0] = truths[5:30, 1] = True
    groups = np.where(np.arange(40) < burst, 0, np.arange(40))
    parts = iterative_folds(truths, 5, 0, groups)
    assert len(parts) == min(5, burst)
    for train, held_out in parts:
        assert truths[held_out].any(axis=0).all()
        assert truths[train].sum(axis=0).min() >= min(2, burst - 1)


@pytest.mark.parametrize("seed", range(5))
def test_every_fold_has_its_share_of_every_label(seed: int) -> None:
    truths = np.random.default_rng(seed).random((60, 5)) < (0.5, 0.35, 0.25, 0.15, 0.1)
    parts = iterative_folds(truths, 4, seed)
    assert sorted(np.concatenate([held_out for _, held_out in parts])) == list(range(60))
    held = np.array([truths[held_out].sum(axis=0) for _, held_out in parts])
    # The rarest is dealt out first, and evenly; the others as well as what goes with them allows.
    assert np.ptp(held[:, truths.sum(axis=0).argmin()]) <= 1
    assert (np.abs(held - truths.sum(axis=0) / len(parts)) <= 3).all()
    assert all(abs(len(held_out) - 60 / len(parts)) <= 4 for _, held_out in parts)


def test_images_without_labels_fill_the_folds() -> None:
    truths = np.zeros((30, 2), bool)
    truths[:5, 0] = truths[4:10, 1] = True
    assert [len(held_out) for _, held_out in iterative_folds(truths, 5, 0)] == [6] * 5


@pytest.mark.parametrize(("carriers", "expected"), [(0, 2), (1, 2), (3, 3), (9, 5)])
def test_no_more_folds_than_the_rarest_label_has_images(carriers: int, expected: int) -> None:
    truths = np.column_stack([np.arange(20) < 10, np.arange(20) >= 20 - carriers])
    assert len(iterative_folds(truths, 5, 0)) == expected


def test_equal_seeds_deal_equally() -> None:
    truths = np.random.default_rng(0).random((30, 3)) < 0.4
    one, other, third = ([held.tolist() for _, held in iterative_folds(truths, 3, seed)] for seed in (1, 1, 2))
    assert one == other
    assert one != third


@pytest.mark.parametrize("seed", range(4))
def test_groups_of_any_number_of_labels_stay_on_one_side(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = np.sort(rng.integers(0, 25, 80))
    truths = rng.random((80, 4)) < (0.5, 0.35, 0.25, 0.15)
    parts = iterative_folds(truths, 4, seed, groups)
    assert sorted(np.concatenate([held_out for _, held_out in parts])) == list(range(80))
    for train, held_out in parts:
        assert not set(groups[train]) & set(groups[held_out])
        assert truths[held_out].any(axis=0).all()
