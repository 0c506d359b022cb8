import numpy as np
import pytest

from tasks.train.classifier.division import HELD_OUT, HELD_OUT_SHARE, VALIDATION, divide

ALONE = "abcdefghijklmnopqrstuvwxyz"


def places(y, train, groups=ALONE, labels=3, seed=0):
    learned, held_out, name = divide(np.array(y), list(groups[: len(y)]), train, labels, seed)
    assert sorted([*learned, *held_out]) == list(range(len(y)))
    return learned.tolist(), held_out.tolist(), name


def test_validation_is_held_out_when_it_has_every_label():
    assert places([0, 1, 2, 0, 2, 1, 0], 4) == ([0, 1, 2, 3], [4, 5, 6], VALIDATION)


@pytest.mark.parametrize("validation", [[], [0, 1, 1, 0]], ids=["none", "without a label"])
def test_a_share_of_every_label_is_held_out_otherwise(validation):
    y = [0] * 11 + [1] * 3 + [2] * 2 + validation
    learned, held_out, name = places(y, 16)
    assert name == HELD_OUT
    counts = np.bincount([y[place] for place in held_out], minlength=3)
    assert counts.tolist() == ([3, 1, 1] if validation else [2, 1, 1])
    assert {y[place] for place in learned} == {0, 1, 2}
    assert places(y, 16) == (learned, held_out, name)
    assert any(places(y, 16, seed=seed)[1] != held_out for seed in range(1, 4))


def test_groups_stay_together():
    y, groups = [0] * 8 + [1] * 4, "aabbccddxxyz"
    for seed in range(5):
        learned, held_out, _ = places(y, 12, groups, labels=2, seed=seed)
        assert not {groups[place] for place in learned} & {groups[place] for place in held_out}
        assert {y[place] for place in held_out} == {0, 1}


def test_label_of_one_image_is_learned_from():
    y = [0, 0, 0, 1]
    learned, held_out, _ = places(y, 4, labels=2)
    assert {y[place] for place in held_out} == {0}
    assert {y[place] for place in learned} == {0, 1}


def test_label_of_one_group_is_divided_image_by_image():
    y = [0, 0, 1, 1, 2, 2]
    learned, held_out, _ = places(y, 6, "xxyyab")
    assert {y[place] for place in held_out} == {y[place] for place in learned} == {0, 1, 2}


def marked(count, seed=0):
    return np.random.default_rng(seed).random((count, 3)) < (0.6, 0.3, 0.1)


def divided(truths, train, groups=None, seed=0):
    groups = groups or [str(place) for place in range(len(truths))]
    return divide(truths, groups, train, truths.shape[1], seed)


def test_validation_of_several_labels_is_held_out_when_it_has_each():
    truths = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 0], [0, 0, 1]], np.bool_)
    learned, held_out, name = divided(truths, 3)
    assert (learned.tolist(), held_out.tolist(), name) == ([0, 1, 2], [3, 4], VALIDATION)
    assert divided(truths, 4)[2] == HELD_OUT


@pytest.mark.parametrize("seed", range(5))
def test_a_share_of_every_label_and_of_none_is_held_out(seed):
    truths = marked(80, seed)
    learned, held_out, name = divided(truths, 80, seed=seed)
    assert name == HELD_OUT
    assert sorted([*learned, *held_out]) == list(range(80))
    assert len(held_out) == pytest.approx(HELD_OUT_SHARE * 80, abs=5)
    for side in (truths[held_out], truths[learned], ~truths[held_out], ~truths[learned]):
        assert side.any(axis=0).all()
    assert (~truths[held_out].any(axis=1)).any()
    assert not np.array_equal(held_out, divided(truths, 80, seed=seed + 1)[1])


def test_groups_of_several_labels_stay_together():
    truths, groups = marked(60), [str(place // 4) for place in range(60)]
    learned, held_out, _ = divided(truths, 60, groups)
    assert not {groups[place] for place in learned} & {groups[place] for place in held_out}
    # Images of one group part: nothing could be held out otherwise.
    learned, held_out, _ = divided(truths, 60, ["one"] * 60)
    assert min(len(learned), len(held_out)) > 0


def test_shares_of_rarer_labels_leave_some_of_every_label():
    truths = np.array([[1, 0, 1], [1, 0, 0], [0, 1, 1], [0, 1, 0]], np.bool_)
    for seed in range(20):
        learned, held_out, _ = divided(truths, 4, seed=seed)
        assert truths[learned].any(axis=0).all()
        assert len(held_out) > 0
