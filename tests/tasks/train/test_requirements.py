import re
from collections.abc import Mapping

import pytest

from tasks.dataset.entries import SPLITS, Split
from tasks.errors import DataError
from tasks.train.requirements import require_detectable, require_learnable, require_single_labels

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


def test_images_with_several_labels_are_one_sentence() -> None:
    assert require_single_labels(0) is None
    with pytest.raises(DataError, match="carry more than one label"):
        require_single_labels(1)


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
