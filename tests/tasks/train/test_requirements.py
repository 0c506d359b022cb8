import re
from collections.abc import Mapping
from typing import get_args

import pytest

from flows.config import Algorithm
from tasks.dataset.entries import SPLITS, Split
from tasks.errors import DataError, RequestError
from tasks.train.requirements import (
    MAX_COMPARED_IMAGES,
    require_comparable,
    require_detectable,
    require_learnable,
    require_learnable_one_by_one,
)

Counts = dict[Split, Mapping[str, int]]


def counts(**given: Mapping[str, int]) -> Counts:
    return {split: given.get(split, {}) for split in SPLITS}


def labels_of(parts: Counts) -> list[str]:
    return sorted(set().union(*parts.values()))


REFUSED = {
    "nothing": (counts(), "no usable image is left"),
    "one label": (counts(train={"good": 7}, test={"good": 2}), "'good'.* needs two labels"),
    "one image in all": (counts(train={"good": 1}), "'good'.* needs two labels"),
    "label with one image": (counts(train={"good": 7, "cut": 1}, test={"good": 2}), "'cut' has 1 image, 1 of them"),
    "label without training image": (
        counts(train={"good": 7}, validation={"cut": 1}, test={"good": 2, "cut": 3}),
        "'cut' has 4 images, 0 of them",
    ),
    "label that is tested only": (
        counts(train={"good": 7, "cut": 7}, test={"odd": 1}),
        "'odd' has 1 image, 0 of them",
    ),
    "nothing to test with": (counts(train={"good": 7, "cut": 2}, test={"good": 1}), "'cut' has 2 images"),
    "no test image": (counts(train={"good": 7, "cut": 7}, validation={"cut": 1}), "no image is left to test on"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_learned_is_one_sentence(name: str) -> None:
    parts, words = REFUSED[name]
    with pytest.raises(DataError) as caught:
        require_learnable(labels_of(parts), parts)
    assert re.search(words, str(caught.value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(counts(train={"a": 3, "b": 3}, test={"a": 1, "b": 1}), id="least"),
        pytest.param(counts(train={"a": 200, "b": 3}, validation={"b": 1}, test={"a": 1, "b": 1}), id="uneven"),
        pytest.param(
            counts(train={f"l{i}": 3 for i in range(300)}, test={f"l{i}": 1 for i in range(300)}), id="many labels"
        ),
    ],
)
def test_what_can_be_learned_is_taken(parts: Counts) -> None:
    assert require_learnable(labels_of(parts), parts) is None


@pytest.mark.parametrize(
    ("parts", "trained", "says"),
    [
        pytest.param(counts(), 9, "no image carries a label", id="no label"),
        pytest.param(counts(train={"a": 2}, test={"a": 9}), 9, "'a' has 11 images, 2 of them to train on", id="few"),
        pytest.param(counts(train={"a": 7}, test={"a": 1}), 9, "all but 2 of the 9 training images", id="nearly all"),
        pytest.param(counts(train={"a": 4}), 9, "no image with a label is left to test on", id="untested"),
    ],
)
def test_labels_that_cannot_be_learned_one_by_one(parts: Counts, trained: int, says: str) -> None:
    totals = {"train": trained, "validation": 0, "test": 9}
    with pytest.raises(DataError, match=says):
        require_learnable_one_by_one(labels_of(parts), parts, totals)


def test_one_label_or_none_can_be_learned() -> None:
    parts = counts(train={"a": 3}, test={"a": 1})
    assert require_learnable_one_by_one(["a"], parts, {"train": 6, "validation": 0, "test": 1}) is None


UNDETECTABLE: dict[str, tuple[Counts, dict[Split, int], str]] = {
    "no box at all": (counts(), {"train": 7, "validation": 1, "test": 2}, "none of the 7 training images has a box"),
    "nothing": (counts(), {"train": 0, "validation": 0, "test": 0}, "none of the 0 training images"),
    "boxes elsewhere": (
        counts(validation={"cut": 2}, test={"cut": 3}),
        {"train": 7, "validation": 1, "test": 2},
        r"has a box \(5 in validation and test\)",
    ),
    "label that is tested only": (
        counts(train={"cut": 4}, validation={"dent": 1}, test={"dent": 2}),
        {"train": 7, "validation": 1, "test": 2},
        r"'dent' has no box in the training images \(1 in validation, 2 in test\)",
    ),
    "no test image": (
        counts(train={"cut": 4}, validation={"cut": 1}),
        {"train": 7, "validation": 1, "test": 0},
        "no image is left to test on",
    ),
}


@pytest.mark.parametrize("name", UNDETECTABLE)
def test_what_cannot_be_detected_is_one_sentence(name: str) -> None:
    boxes, images, words = UNDETECTABLE[name]
    with pytest.raises(DataError) as caught:
        require_detectable(labels_of(boxes), boxes, images)
    assert re.search(words, caught.value.message)
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("boxes", "images"),
    [
        (counts(train={"cut": 1}), {"train": 1, "validation": 0, "test": 1}),
        (counts(train={"cut": 1, "dent": 2}, test={"cut": 1}), {"train": 2, "validation": 0, "test": 1}),
    ],
    ids=["one box, and negatives to test on", "label that is not tested"],
)
def test_what_can_be_detected_is_taken(boxes: Counts, images: dict[Split, int]) -> None:
    assert require_detectable(labels_of(boxes), boxes, images) is None


@pytest.mark.parametrize("algorithm", ["svm", "ensemble"])
def test_images_too_many_to_compare_are_one_sentence(algorithm: str) -> None:
    require_comparable(algorithm, MAX_COMPARED_IMAGES)
    with pytest.raises(RequestError, match=f"training.algorithm {algorithm} compares every two of 12001 images"):
        require_comparable(algorithm, MAX_COMPARED_IMAGES + 1)


def test_others_take_any_number_of_images() -> None:
    def is_refused(algorithm: str) -> bool:
        try:
            require_comparable(algorithm, 10**7)
        except RequestError:
            return True
        return False

    assert [name for name in get_args(Algorithm) if is_refused(name)] == ["svm", "ensemble"]
