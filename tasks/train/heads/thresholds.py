"""From which confidence on a label is given."""

from collections.abc import Sequence

import numpy as np

from tasks.metrics.classification import Truths, best_f1_threshold
from tasks.train.heads.model import Indices, Probabilities

MIN_VALIDATION_IMAGES = 10
"""A label with fewer validation images takes its threshold from out-of-fold predictions."""


def choose_thresholds(
    out_of_fold: tuple[Probabilities, Truths], validation: tuple[Probabilities, Truths] | None, labels: Sequence[str]
) -> dict[str, float]:
    """Return each label's best-F1 threshold; 0.5 where images with it and without have all the same confidence.

    Args:
        out_of_fold: probabilities and truths of the images that the head was fitted on, each by a model that did not
            see it.
        validation: probabilities and truths of the validation images, if there are any.
        labels: label names by column.
    """
    thresholds = {}
    for index, label in enumerate(labels):
        enough = validation is not None and int(validation[1][:, index].sum()) >= MIN_VALIDATION_IMAGES
        scores, truths = validation if validation and enough else out_of_fold
        truth, confidence = truths[:, index], scores[:, index]
        is_telling = truth.all() or np.ptp(confidence) > 0.0
        thresholds[label] = best_f1_threshold(truth, confidence) if is_telling else 0.5
    return thresholds


def one_label_each(y: Indices, labels: int) -> Truths:
    """Return the N x L truths of images that carry one label each."""
    return np.asarray(y[:, None] == np.arange(labels))
