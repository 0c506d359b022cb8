"""Which images are learned from, and which are held out to stop early and to choose temperature and thresholds."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.classification import Truths
from tasks.train.heads.model import Indices
from tasks.train.heads.targets import Targets, are_multi_label, as_truths

HELD_OUT_SHARE = 0.2
VALIDATION, HELD_OUT = "validation", "held-out training images"


def divide(
    targets: Targets, groups: Sequence[str], train_images: int, label_count: int, seed: int
) -> tuple[Indices, Indices, str]:
    """Return the places of the images to learn from and of those held out, and what the latter are called.

    The validation images are held out when every label has one among them. Otherwise they are learned from like the
    others, and of every label a share is held out, one image at least; groups stay together within a label. A label
    whose images are all of one group is divided image by image, one with a single image is learned from alone.

    Where an image may have any number of labels, groups stay together altogether, and a share of the images without a
    label is held out too; the rarest label has its share first.

    Args:
        targets: of each image, those of the train split first.
        groups: group of each image.
        train_images: number of images of the train split.
        label_count: number of labels.
        seed: of the choice.
    """
    truths = as_truths(targets, label_count)
    if truths[train_images:].any(axis=0).all():
        return np.arange(train_images), np.arange(train_images, len(truths)), VALIDATION
    names, random = np.asarray(groups), np.random.default_rng(seed)
    hold_out = _of_all_labels if are_multi_label(targets) else _label_by_label
    is_held_out = hold_out(truths, names, random)
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out), HELD_OUT


def _label_by_label(truths: Truths, names: NDArray[np.str_], random: np.random.Generator) -> NDArray[np.bool_]:
    """Return which images with one label each are held out."""
    is_held_out = np.zeros(len(truths), np.bool_)
    for truth in truths.T:
        own = np.flatnonzero(truth)
        unit_of = names[own] if len(np.unique(names[own])) > 1 else own
        units = random.permutation(np.unique(unit_of))
        is_held_out[own] = np.isin(unit_of, units[: _share_of(len(units))])
    return is_held_out


def _of_all_labels(truths: Truths, names: NDArray[np.str_], random: np.random.Generator) -> NDArray[np.bool_]:
    """Return which images with any number of labels are held out: the rarest label has its share first."""
    units = np.unique(names, return_inverse=True)[1]
    count = int(units.max()) + 1
    if count == 1:
        units, count = np.arange(len(truths)), len(truths)
    carried = np.zeros((count, truths.shape[1]), np.bool_)
    np.logical_or.at(carried, units, truths)
    carriers = [np.flatnonzero(column) for column in carried.T]
    is_settled, is_held_out = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    for own in [*sorted(carriers, key=len), np.flatnonzero(~carried.any(axis=1))]:
        waiting = random.permutation(own[~is_settled[own]])
        wanted = _share_of(len(own)) - int(is_held_out[own].sum())
        is_held_out[waiting[: max(wanted, 0)]] = True
        is_settled[waiting] = True
    for own in carriers:
        # Shares of several rarer labels may together be all that there is of this one.
        if len(own) and is_held_out[own].all():
            is_held_out[own[0]] = False
    return is_held_out[units]


def _share_of(units: int) -> int:
    """Return how many are held out: one at least, and never all."""
    return max(min(units - 1, max(1, round(HELD_OUT_SHARE * units))), 0)
