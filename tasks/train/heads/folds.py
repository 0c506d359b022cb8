"""Images divided into folds, each with its share of every label."""

import numpy as np
from sklearn.model_selection import StratifiedKFold

from tasks.train.heads.model import Indices


def stratified_folds(y: Indices, folds: int, seed: int) -> list[tuple[Indices, Indices]]:
    """Return (train, held-out) index pairs; no more folds than the rarest label has images, and two at least."""
    rarest = int(np.bincount(y).min())
    splitter = StratifiedKFold(max(2, min(folds, rarest)), shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(len(y)), y))
