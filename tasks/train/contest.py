"""Whether a network is kept instead of heads on features: both have answered the images of the same folds.

A network costs minutes where a head costs a second, so it is not taught anew in folds inside the folds. Which of the
two answers a fold's images in the estimate is decided by the answers to the images of the *other* folds, so that no
answer has a say in whether it counts; which of them is shipped is decided by those to all folds.

Of two that are as good for all one can tell, the simpler one is kept, which is the head.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.train.cross_validation import FoldAnswers
from tasks.train.heads.folds import Folds
from tasks.train.heads.targets import Targets, log_loss
from tasks.train.surely_better import is_better

Losses = NDArray[np.float64]
"""Of K folds (nats)."""


def fold_losses(answers: Sequence[FoldAnswers], splits: Folds, targets: Targets) -> Losses:
    """Return the log loss of the answers to each fold, in which every label, and its absence, weighs alike."""
    pairs = zip(answers, splits, strict=True)
    return np.array([log_loss(one.probabilities, targets[held_out]) for one, (_, held_out) in pairs])


def chosen_by_the_other_folds(simple: Losses, other: Losses) -> list[bool]:
    """Return for each fold whether the other one answers it: whether it is better on the remaining folds."""
    places = np.arange(len(simple))
    return [is_better(simple[places != fold], other[places != fold]) for fold in places]
