import numpy as np
import pytest

from tasks.train.heads.folds import stratified_folds
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
