"""Divide images into train, validation and test, and refuse what no classifier can be learned from."""

from collections import Counter
from collections.abc import Mapping, Sequence

from tasks.dataset.entries import SPLITS, ImageEntry, Split
from tasks.dataset.splits import SHARES_BY_SCHEME, assign_splits
from tasks.errors import DataError

MIN_TRAINING_IMAGES_PER_LABEL = 3
"""A fold of a fold must leave one image of each label to learn from."""
MIN_IMAGES_PER_LABEL = MIN_TRAINING_IMAGES_PER_LABEL + 1


def divide(
    entries: Sequence[ImageEntry], tested: Sequence[ImageEntry], scheme: str, earlier: Mapping[str, Split]
) -> dict[Split, list[ImageEntry]]:
    """Return the images of each split, in the order of their references.

    Args:
        entries: the images of the source.
        tested: the images of a separate test source; when there are any, `entries` gives no test images.
        scheme: a key of `SHARES_BY_SCHEME`, or `given` for the source's own split folders.
        earlier: group to split, from earlier versions of the dataset.

    Raises:
        DataError: when `given` is asked of a source without split folders.
    """
    if scheme == "given":
        divided = _as_given(entries)
    else:
        assigned = assign_splits(entries, _shares(scheme, has_test_source=bool(tested)), earlier)
        divided = {split: [entry for entry in entries if assigned[entry.group] == split] for split in SPLITS}
    if tested:
        divided["validation"] = sorted(divided["validation"] + divided["test"], key=lambda entry: entry.source_ref)
        divided["test"] = list(tested)
    return divided


def require_learnable(divided: Mapping[Split, Sequence[ImageEntry]]) -> None:
    """Refuse a division from which no classifier can be learned and tested.

    Raises:
        DataError: one label only, a label with too few images, or a test split without images or with labels
            that are not trained on.
    """
    counts = {split: Counter(entry.truth.stratum for entry in divided[split]) for split in SPLITS}
    labels = sorted(set().union(*counts.values()))
    if len(labels) < 2:
        raise DataError(
            f"all images carry the label {labels[0]!r}, and a classifier needs two labels or more; add a folder of "
            "images with another label"
            if labels
            else "no usable image is left; see the findings for the reasons"
        )
    for label in labels:
        total = sum(counts[split][label] for split in SPLITS)
        if counts["train"][label] < MIN_TRAINING_IMAGES_PER_LABEL or total < MIN_IMAGES_PER_LABEL:
            raise DataError(
                f"the label {label!r} has {_images(total)}, {counts['train'][label]} of them to train on; it needs "
                f"{MIN_TRAINING_IMAGES_PER_LABEL} to train on and 1 to test: add images or remove the label"
            )
    if not counts["test"]:
        raise DataError("no image is left to test on; choose another data.split or name a data.test_source")


def require_kinship(name: str, entries: Sequence[ImageEntry], earlier: Mapping[str, Split]) -> None:
    """Refuse a source that shares no image with the dataset whose next version it would become.

    Raises:
        DataError: two folders that happen to have one name are two datasets, with models of their own.
    """
    if earlier and entries and not any(entry.group in earlier for entry in entries):
        raise DataError(
            f"the dataset {name!r} holds other pictures: this source shares none of its {len(earlier)} images; give "
            "it a data.name of its own"
        )


def count_images(divided: Mapping[Split, Sequence[ImageEntry]]) -> dict[Split, dict[str, int]]:
    """Number of images by split and label, labels sorted."""
    return {split: dict(sorted(Counter(entry.truth.stratum for entry in divided[split]).items())) for split in SPLITS}


def _as_given(entries: Sequence[ImageEntry]) -> dict[Split, list[ImageEntry]]:
    homeless = [entry.source_ref for entry in entries if not entry.given_split]
    if homeless:
        raise DataError(
            f"data.split is 'given', but {len(homeless)} images stand in no split folder (first: {homeless[0]}); "
            "arrange the source as train/LABEL/, validation/LABEL/, test/LABEL/ or choose 70/15/15"
        )
    return {split: [entry for entry in entries if entry.given_split == split] for split in SPLITS}


def _shares(scheme: str, *, has_test_source: bool) -> dict[Split, float]:
    shares = SHARES_BY_SCHEME[scheme]
    if not has_test_source:
        return shares
    rest = 1.0 - shares["test"]
    return {"train": shares["train"] / rest, "validation": shares["validation"] / rest, "test": 0.0}


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
