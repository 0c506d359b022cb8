"""Each label's threshold, from images the network did not learn from, as far as there are enough."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.metrics.classification import Truths, best_f1_threshold
from tasks.train.heads.model import Probabilities
from tasks.train.heads.thresholds import MIN_VALIDATION_IMAGES


@dataclass(frozen=True, slots=True)
class Judged:
    """Images with their calibrated probabilities (N x L) and truths (N x L), none of them learned from."""

    name: str
    probabilities: Probabilities
    truths: Truths


def choose_thresholds(labels: Sequence[str], judged: Sequence[Judged]) -> tuple[dict[str, float], dict[str, str]]:
    """Return each label's best-F1 threshold, and what it was chosen on.

    A label takes the first of `judged` with `MIN_VALIDATION_IMAGES` images of it. Where none has so many, one threshold
    is chosen for all such labels together, on the last: a rough common value is better than one that a single image
    decides.
    """
    rest = judged[-1]
    common = best_f1_threshold(rest.truths.ravel(), np.ascontiguousarray(rest.probabilities).ravel())
    thresholds, sources = {}, {}
    for column, label in enumerate(labels):
        enough = next((one for one in judged if one.truths[:, column].sum() >= MIN_VALIDATION_IMAGES), None)
        if enough:
            thresholds[label] = best_f1_threshold(enough.truths[:, column], enough.probabilities[:, column])
            sources[label] = enough.name
        else:
            thresholds[label], sources[label] = common, f"{rest.name}, all labels together"
    return thresholds, sources
