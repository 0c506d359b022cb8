"""Refuse what no classifier can be learned from, before any work is done."""

from collections.abc import Mapping, Sequence

from tasks.dataset.entries import SPLITS, Split
from tasks.errors import DataError

MIN_TRAINING_IMAGES_PER_LABEL = 3
"""A fold of a fold must leave one image of each label to learn from."""
MIN_IMAGES_PER_LABEL = MIN_TRAINING_IMAGES_PER_LABEL + 1


def require_learnable(labels: Sequence[str], counts: Mapping[Split, Mapping[str, int]]) -> None:
    """Refuse a dataset from which no classifier can be learned and tested; `counts` are images by split and label.

    Raises:
        DataError: one label only, a label with too few images, or a test split without images or with labels
            that are not trained on.
    """
    if len(labels) < 2:
        raise DataError(
            f"all images carry the label {labels[0]!r}, and a classifier needs two labels or more; add a folder of "
            "images with another label"
            if labels
            else "no usable image is left; see the findings for the reasons"
        )
    for label in labels:
        total = sum(counts[split].get(label, 0) for split in SPLITS)
        trained = counts["train"].get(label, 0)
        if trained < MIN_TRAINING_IMAGES_PER_LABEL or total < MIN_IMAGES_PER_LABEL:
            raise DataError(
                f"the label {label!r} has {_images(total)}, {trained} of them to train on; it needs "
                f"{MIN_TRAINING_IMAGES_PER_LABEL} to train on and 1 to test: add images or remove the label"
            )
    if not counts["test"]:
        raise DataError("no image is left to test on; choose another data.split or name a data.test_source")


def require_single_labels(several: int) -> None:
    """Refuse images with several labels each, of which a classifier of one label cannot be made.

    Raises:
        DataError: when there are any.
    """
    if several:
        raise DataError(
            f"{_images(several)} carry more than one label, and this classifier answers with one; keep one label for "
            "each image"
        )


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
