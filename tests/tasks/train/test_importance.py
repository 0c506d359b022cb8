"""What kinds of features are worth: the kind that tells the labels, as much as it tells; noise, nothing."""

from functools import partial

import numpy as np
import pytest

from tasks.metrics.importance import pool_drops
from tasks.train.backbone import STAGE_WIDTHS
from tasks.train.candidates import Search, fit_best
from tasks.train.cross_validation import cross_validate
from tasks.train.feature_kinds import parts_of
from tasks.train.feature_table import FeatureTable
from tasks.train.importance import MAX_ROWS, MIN_SHUFFLES, SHUFFLES, drops_of, shuffles_of

LABELS = ("a", "b", "c")
IMAGES = 60
KINDS = ("lbp", "colour", "hog")


def importances_of(columns, targets, kinds=KINDS, shuffles=SHUFFLES, folds=3, search=None):
    table = FeatureTable.of({kind: columns[kind][:, None].astype(np.float32) for kind in kinds})
    drops = []

    def watch(fitted, thresholds, held_out):
        drops.append(drops_of(fitted, thresholds, table[held_out], targets[held_out], LABELS, shuffles, 0))

    fit = partial(fit_best, search or Search(("logistic",), (kinds,), 0))
    estimate, _ = cross_validate(fit, table, targets, LABELS, folds, 0, lambda *_: None, watch=watch)
    return estimate, pool_drops(drops)


@pytest.fixture
def columns():
    rng = np.random.default_rng(0)
    y = np.arange(IMAGES) % 3
    centres = rng.normal(size=(3, 6))
    return y, {
        "lbp": rng.normal(size=(IMAGES, 6)) + 6.0 * centres[y],
        "colour": rng.normal(size=(IMAGES, 4)),
        "hog": rng.normal(size=(IMAGES, 5)),
    }


def test_what_tells_the_labels_is_worth_all_and_noise_nothing(columns):
    y, blocks = columns
    estimate, found = importances_of(blocks, y)
    by_kind = {one.kind: one for one in found.kinds}
    assert (found.folds, found.shuffles, found.kinds[0].kind) == (3, SHUFFLES, "lbp")
    assert estimate.macro_f1 > 0.95
    # Of three labels, what tells nothing is right in a third of the cases.
    assert by_kind["lbp"].drop > 0.4
    assert by_kind["lbp"].drop_std > 0.0
    assert all(abs(by_kind[kind].drop) < 0.1 for kind in ("colour", "hog"))
    assert {one.folds for one in found.kinds} == {3}


def test_of_two_that_tell_the_same_each_alone_is_worth_less(columns):
    y, blocks = columns
    alone = importances_of(blocks, y)[1].kinds[0].drop
    shared = importances_of({**blocks, "colour": blocks["lbp"][:, :4], "hog": blocks["lbp"]}, y)[1]
    assert max(one.drop for one in shared.kinds) < alone - 0.2


def test_equal_seeds_give_equal_figures(columns):
    y, blocks = columns
    assert importances_of(blocks, y)[1] == importances_of(blocks, y)[1]


def test_any_number_of_labels(columns):
    y, blocks = columns
    truths = np.stack([y == 0, y != 2, np.arange(IMAGES) % 2 == 0], axis=1)
    found = importances_of(blocks, truths)[1]
    assert found.kinds[0].kind == "lbp"
    assert found.kinds[0].drop > 0.2


def test_folds_that_saw_a_kind_are_counted():
    found = pool_drops([{"stages": (0.2, 0.4)}, {"lbp": (0.1, 0.1), "hog": (-0.1, 0.1)}])
    assert [(one.kind, one.folds, one.drop) for one in found.kinds] == [
        ("stages", 1, pytest.approx(0.15)),
        ("lbp", 1, pytest.approx(0.05)),
        ("hog", 1, pytest.approx(0.0)),
    ]
    assert [one.drop_std for one in found.kinds] == pytest.approx([0.0707, 0.0, 0.0707], abs=1e-3)
    assert pool_drops([{}, {}]) is None
    assert pool_drops([]) is None


def test_stages_stand_apart_by_their_patches():
    assert parts_of("stages", sum(STAGE_WIDTHS.values())) == STAGE_WIDTHS
    assert parts_of("hog", 81) == {"hog": 81}


def test_many_images_are_shuffled_less_often():
    assert [shuffles_of(count) for count in (0, 1, 2000, 5000, 1_000_000)] == [
        SHUFFLES,
        SHUFFLES,
        SHUFFLES,
        MAX_ROWS // 5000,
        MIN_SHUFFLES,
    ]
