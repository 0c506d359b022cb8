"""Images divided into folds, each with its share of every label; images of one group are on one side."""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from tasks.metrics.classification import Truths
from tasks.train.heads.model import Indices

Folds = list[tuple[Indices, Indices]]
"""Places of the images to learn from, and of those held out, by fold."""


def group_numbers(groups: Sequence[str]) -> Indices:
    """Return the number of each image's group, counted in the order in which groups appear."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.intp)


def stratified_folds(y: Indices, folds: int, seed: int, groups: Indices | None = None) -> Folds:
    """Return (train, held-out) index pairs; no more folds than the rarest label has groups, and two at least.

    Two images of a label are left to learn from in every fold, one of a label that has two in all, for what learns
    from them may divide them again. The images of a label whose groups allow no such division part, and so do all
    images where groups of several labels stand in the way.

    Args:
        y: N label indices, every label on two images or more.
        folds: how many are wanted.
        seed: of the division.
        groups: number of each image's group; None divides image by image.
    """
    alone = np.arange(len(y))
    if groups is None:
        return _by_group(y, folds, seed, alone)
    truths = y[:, None] == np.arange(int(y.max()) + 1)
    divided = _by_group(y, folds, seed, groups)
    if (lacking := _is_lacking(truths, divided)).any():
        divided = _by_group(y, folds, seed, np.where(lacking[y], len(y) + alone, groups))
    return _by_group(y, folds, seed, alone) if _is_lacking(truths, divided).any() else divided


def _is_lacking(truths: Truths, divided: Folds) -> NDArray[np.bool_]:
    """Return for each label whether some fold leaves too few of its images to learn from."""
    left = np.min([truths[train].sum(axis=0) for train, _ in divided], axis=0)
    return np.asarray(left < np.minimum(2, truths.sum(axis=0) - 1))


def _by_group(y: Indices, folds: int, seed: int, groups: Indices) -> Folds:
    counts = np.bincount(np.unique(np.stack([groups, y]), axis=1)[1], minlength=int(y.max()) + 1)
    # A group of several labels stands for the rarest of them.
    by_rarity = np.lexsort((np.arange(len(y)), counts[y]))
    names, firsts = np.unique(groups[by_rarity], return_index=True)
    label_of = y[by_rarity[firsts]]
    rarest = int(counts.min())
    # Two folds would leave one of three.
    count = 3 if rarest == 3 else max(2, min(folds, rarest))
    splitter = StratifiedKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # That a label stands for fewer groups than there are folds is no mistake here: its images are in other groups.
        warnings.simplefilter("ignore", UserWarning)
        sides = [np.isin(groups, names[held_out]) for _, held_out in splitter.split(names, label_of)]
    return [(np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)) for is_held_out in sides]


def iterative_folds(truths: Truths, folds: int, seed: int, groups: Indices | None = None) -> Folds:
    """Return (train, held-out) index pairs of images with any number of labels.

    The rarest label is dealt out first, to the folds that lack most of it: Sechidis, Tsoumakas and Vlahavas, "On the
    Stratification of Multi-Label Data", ECML PKDD 2011. Groups without labels come last. The images of a label part
    where its groups would leave fewer than two to learn from, one of a label that has two in all.

    Args:
        truths: N x L, N two or more.
        folds: no more are made than the rarest label has groups, and two at least.
        seed: of the order in which groups are dealt.
        groups: number of each image's group, which stays on one side; None divides image by image.
    """
    alone = np.arange(len(truths))
    divided = _dealt_by_group(truths, folds, seed, alone if groups is None else groups)
    if groups is None or not (lacking := _is_lacking(truths, divided)).any():
        return divided
    return _dealt_by_group(truths, folds, seed, np.where(truths[:, lacking].any(axis=1), len(truths) + alone, groups))


def _dealt_by_group(truths: Truths, folds: int, seed: int, groups: Indices) -> Folds:
    units = np.unique(groups, return_inverse=True)[1]
    labels_of = np.zeros((int(units.max()) + 1, truths.shape[1]))
    np.add.at(labels_of, units, truths)
    count = max(2, min(folds, int((labels_of > 0).sum(axis=0).min())))
    fold_of = _dealt(labels_of, np.bincount(units), count, np.random.default_rng(seed))[units]
    return [(np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)) for fold in range(count)]


def _dealt(labels_of: NDArray[np.float64], sizes: Indices, folds: int, random: np.random.Generator) -> Indices:
    """Return the fold of each of U groups, of which `labels_of` are the U x L numbers of images by label."""
    fold_of = np.full(len(sizes), -1)
    lacks_images = np.full(folds, sizes.sum() / folds)
    lacks = np.tile(labels_of.sum(axis=0) / folds, (folds, 1))
    while (waiting := fold_of < 0).any():
        left = (labels_of[waiting] > 0).sum(axis=0)
        rarest = int(np.where(left, left, len(sizes) + 1).argmin())
        dealt = np.flatnonzero(waiting & (labels_of[:, rarest] > 0) if left.any() else waiting)
        for group in random.permutation(dealt):
            wanted = lacks[:, rarest] if left.any() else lacks_images
            fold = int(np.lexsort((random.random(folds), lacks_images, wanted))[-1])
            fold_of[group] = fold
            lacks[fold] -= labels_of[group]
            lacks_images[fold] -= sizes[group]
    return fold_of
