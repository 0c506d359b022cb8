"""Refuse what no model can be learned from, before any work is done."""

from collections.abc import Mapping, Sequence

from tasks.dataset.entries import SPLITS, Split
from tasks.errors import DataError, RequestError
from tasks.manifest.records import Manifest

MIN_TRAINING_IMAGES_PER_LABEL = 3
"""A fold of a fold must leave one image of each label to learn from."""
MIN_NORMAL_IMAGES = 4
"""A fold of each must be left out in turn, to see how far normal images lie from those remembered."""
MAX_COMPARED_IMAGES = 12_000
"""Four matrices of so many rows and columns take about 5 gigabytes."""
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
        _require_images(label, counts)
    if not counts["test"]:
        raise DataError("no image is left to test on; choose another data.split or name a data.test_source")


def require_classifiable(manifest: Manifest) -> None:
    """Refuse a dataset from which no classifier can be learned and tested.

    Raises:
        DataError: as `require_learnable` and `require_learnable_one_by_one` do.
    """
    if manifest.is_multi_label:
        require_learnable_one_by_one(manifest.labels, manifest.images, manifest.totals)
    else:
        require_learnable(manifest.labels, manifest.images)


def require_learnable_one_by_one(
    labels: Sequence[str], counts: Mapping[Split, Mapping[str, int]], totals: Mapping[Split, int]
) -> None:
    """Refuse a dataset from which it cannot be learned which of any number of labels an image carries.

    Args:
        labels: all labels.
        counts: images by split and label.
        totals: images by split.

    Raises:
        DataError: no label, one that too few training images carry or lack, or a test split without labels.
    """
    if not labels:
        raise DataError("no image carries a label; name the labels of some, or see the findings for the reasons")
    for label in labels:
        _require_images(label, counts)
        without = totals["train"] - counts["train"][label]
        if without < MIN_TRAINING_IMAGES_PER_LABEL:
            raise DataError(
                f"all but {without} of the {totals['train']} training images carry the label {label!r}, and "
                f"{MIN_TRAINING_IMAGES_PER_LABEL} without it are needed: add such images or remove the label"
            )
    if not counts["test"]:
        raise DataError(
            "no image with a label is left to test on; choose another data.split or name a data.test_source"
        )


def _require_images(label: str, counts: Mapping[Split, Mapping[str, int]]) -> None:
    total = sum(counts[split].get(label, 0) for split in SPLITS)
    trained = counts["train"].get(label, 0)
    if trained < MIN_TRAINING_IMAGES_PER_LABEL or total < MIN_IMAGES_PER_LABEL:
        raise DataError(
            f"the label {label!r} has {_images(total)}, {trained} of them to train on; it needs "
            f"{MIN_TRAINING_IMAGES_PER_LABEL} to train on and 1 to test: add images or remove the label"
        )


def require_comparable(algorithm: str, images: int) -> None:
    """Refuse an algorithm that compares every two images where they are too many for its memory.

    Raises:
        RequestError: when it does, and they are.
    """
    if algorithm in {"svm", "ensemble"} and images > MAX_COMPARED_IMAGES:
        raise RequestError(
            f"training.algorithm {algorithm} compares every two of {images} images, and {MAX_COMPARED_IMAGES} are the "
            "most that it is meant for; choose auto, logistic, knn or random_forest"
        )


def require_detectable(
    labels: Sequence[str], boxes: Mapping[Split, Mapping[str, int]], images: Mapping[Split, int]
) -> None:
    """Refuse a dataset from which no detector can be learned and tested.

    Args:
        labels: all labels of boxes.
        boxes: number of boxes by split and label.
        images: number of images by split.

    Raises:
        DataError: no box to train on at all, a label without any, or no image to test on.
    """
    if not any(boxes["train"].values()):
        elsewhere = sum(sum(counts.values()) for counts in boxes.values())
        raise DataError(
            f"none of the {images['train']} training images has a box ({elsewhere} in validation and test); draw boxes "
            "or add masks to them, or choose another data.split"
        )
    for label in labels:
        if not boxes["train"].get(label):
            others = ", ".join(f"{boxes[s][label]} in {s}" for s in SPLITS if boxes[s].get(label))
            raise DataError(
                f"the label {label!r} has no box in the training images ({others}), so it cannot be learned; add "
                "images with it, or remove the label"
            )
    if not images["test"]:
        raise DataError("no image is left to test on; choose another data.split or name a data.test_source")


def require_normal_images(totals: Mapping[Split, int]) -> None:
    """Refuse a dataset from which it cannot be learned what is normal; `totals` are images by split.

    Raises:
        DataError: too few normal images to train on, or no image to test on.
    """
    if totals["train"] < MIN_NORMAL_IMAGES:
        raise DataError(
            f"{_images(totals['train'])} to train on {'is' if totals['train'] == 1 else 'are'} known to be normal, and "
            f"{MIN_NORMAL_IMAGES} are needed; name their label in data.normal_label (empty takes good, normal and ok), "
            "or add normal images"
        )
    if not totals["test"]:
        raise DataError("no image is left to test on; choose another data.split or name a data.test_source")


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
