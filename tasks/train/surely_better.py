"""The one-standard-error rule, as in `tasks/compare/ranking.py`: who is as good for all one can tell does not win."""

import math

import numpy as np
from numpy.typing import NDArray


def is_better(kept: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether the other one's mean loss is lower by more than one standard error of the difference.

    Args:
        kept: losses, of K folds or N images, of what stays otherwise.
        other: of the same folds or images.
    """
    gains = kept - other
    error = float(gains.std(ddof=1)) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0
    return bool(gains.mean() > error)
