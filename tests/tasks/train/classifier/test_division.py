import numpy as np
import pytest

from tasks.train.classifier.division import HELD_OUT, VALIDATION, divide

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
