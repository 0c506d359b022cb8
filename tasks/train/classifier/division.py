"""Which images are learned from, and which are held out to stop early and to choose temperature and thresholds."""

from collections.abc import Sequence

import numpy as np

from tasks.train.heads.model import Indices

HELD_OUT_SHARE = 0.2
VALIDATION, HELD_OUT = "validation", "held-out training images"


def divide(
    y: Indices, groups: Sequence[str], train_images: int, label_count: int, seed: int
) -> tuple[Indices, Indices, str]:
    """Return the places of the images to learn from and of those held out, and what the latter are called.

    The validation images are held out when every label has one among them. Otherwise they are learned from like the
    others, and of every label a share is held out, one image at least; groups stay together within a label. A label
    whose images are all of one group is divided image by image, one with a single image is learned from alone.

    Args:
        y: label index of each image, those of the train split first.
        groups: group of each image.
        train_images: number of images of the train split.
        label_count: number of labels.
        seed: of the choice.
    """
    if set(y[train_images:]) == set(range(label_count)):
        return np.arange(train_images), np.arange(train_images, len(y)), VALIDATION
    is_held_out = np.zeros(len(y), np.bool_)
    random, names = np.random.default_rng(seed), np.asarray(groups)
    for label in range(label_count):
        own = np.flatnonzero(y == label)
        unit_of = names[own] if len(np.unique(names[own])) > 1 else own
        units = random.permutation(np.unique(unit_of))
        count = min(len(units) - 1, max(1, round(HELD_OUT_SHARE * len(units))))
        is_held_out[own] = np.isin(unit_of, units[: max(count, 0)])
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out), HELD_OUT
