import numpy as np
import pytest

from tasks.train.contest import chosen_by_the_other_folds, fold_losses
from tasks.train.cross_validation import FoldAnswers
from tasks.train.heads.targets import log_loss
from tasks.train.surely_better import is_better

Y = np.arange(12) % 2
SPLITS = [(np.flatnonzero(np.arange(12) % 3 != fold), np.flatnonzero(np.arange(12) % 3 == fold)) for fold in range(3)]


def answers(sure):
    """Answers to each fold that give the true label so much confidence."""
    right = np.where(Y[:, None] == np.arange(2), 1.0, 0.0)
    return [FoldAnswers({}, right[held_out] * (2 * sure - 1) + 1 - sure) for _, held_out in SPLITS]


@pytest.mark.parametrize("targets", [Y, Y[:, None] == np.arange(2)], ids=["one label", "any number"])
def test_losses_are_those_of_the_images_held_out(targets):
    losses = fold_losses(answers(0.8), SPLITS, targets)
    assert losses == pytest.approx([-np.log(0.8)] * 3)
    assert losses[1] == log_loss(answers(0.8)[1].probabilities, targets[SPLITS[1][1]])


@pytest.mark.parametrize(
    ("gains", "better"),
    [
        pytest.param([0.2, 0.3, 0.1, 0.2], True, id="everywhere"),
        pytest.param([0.9, -0.3, -0.2, -0.1], False, id="in one fold only"),
        pytest.param([0.0, 0.0, 0.0], False, id="as good"),
        pytest.param([-0.2, -0.1, -0.3], False, id="worse"),
        pytest.param([0.1], True, id="a single fold"),
    ],
)
def test_the_simpler_one_stays_unless_the_other_is_surely_better(gains, better):
    simple = np.full(len(gains), 1.0)
    assert is_better(simple, simple - np.array(gains)) is better


def test_a_fold_has_no_say_in_who_answers_it():
    simple = np.array([1.0, 1.0, 1.0, 5.0])
    other = np.array([1.2, 1.1, 1.3, 0.1])
    # Only the last fold speaks for the other one, and it is heard for the others, if at all.
    assert not chosen_by_the_other_folds(simple, other)[3]
    for fold in range(4):
        changed = other.copy()
        changed[fold] = 0.001
        assert chosen_by_the_other_folds(simple, changed)[fold] == chosen_by_the_other_folds(simple, other)[fold]
    assert chosen_by_the_other_folds(np.ones(3), np.zeros(3)) == [True] * 3


def test_of_answers_that_are_chance_none_is_surely_better():
    rng, chosen = np.random.default_rng(0), 0
    for _ in range(200):
        losses = rng.normal(1.0, 0.2, (2, 5))
        chosen += is_better(*losses)
    # One standard error is exceeded by chance in about a fifth of the cases.
    assert 15 < chosen < 65
