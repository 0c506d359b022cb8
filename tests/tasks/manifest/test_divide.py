import hashlib
import re
from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.dataset.entries import SPLITS, ImageEntry, Split
from tasks.dataset.truth import Truth
from tasks.errors import DataError
from tasks.manifest.build import count_images, divide, require_learnable


def entry(label: str, number: int, given_split: str = "", folder: str = "") -> ImageEntry:
    digest = hashlib.sha256(f"{folder}{label}{number}".encode()).hexdigest()
    ref = f"{folder}{label}/{number:03d}.png"
    return ImageEntry(ref, digest, 48, 48, Truth((label,)), "", given_split, digest)  # type: ignore[arg-type]


def images(counts: Mapping[str, int], given_split: str = "", folder: str = "") -> list[ImageEntry]:
    return [entry(label, number, given_split, folder) for label, count in counts.items() for number in range(count)]


def divided(**counts: Mapping[str, int]) -> dict[Split, list[ImageEntry]]:
    return {split: images(counts.get(split, {}), split, f"{split}/") for split in SPLITS}


def sizes(parts: Mapping[Split, list[ImageEntry]]) -> dict[str, int]:
    return {split: len(parts[split]) for split in SPLITS}


@pytest.mark.parametrize(
    ("scheme", "tested", "expected"),
    [
        pytest.param("70/15/15", 0, (28, 6, 6), id="70/15/15"),
        pytest.param("80/20", 0, (32, 0, 8), id="80/20"),
        pytest.param("70/15/15", 5, (32, 8, 5), id="70/15/15 with a test source"),
        pytest.param("80/20", 5, (40, 0, 5), id="80/20 with a test source"),
    ],
)
def test_schemes(scheme: str, tested: int, expected: tuple[int, int, int]) -> None:
    tests = images({"a": tested}, folder="elsewhere/")
    parts = divide(images({"a": 20, "b": 20}), tests, scheme, {})
    assert tuple(sizes(parts).values()) == expected
    if tested:
        assert parts["test"] == tests


def test_given_splits_are_taken() -> None:
    entries = sorted(
        [*images({"a": 3}, "train"), *images({"b": 2}, "validation"), *images({"c": 1}, "test")],
        key=lambda item: item.source_ref,
    )
    assert sizes(divide(entries, [], "given", {})) == {"train": 3, "validation": 2, "test": 1}


def test_given_splits_ignore_what_was_before() -> None:
    entries = images({"a": 3}, "train")
    earlier: dict[str, Split] = {item.group: "test" for item in entries}
    assert sizes(divide(entries, [], "given", earlier)) == {"train": 3, "validation": 0, "test": 0}


def test_given_test_images_are_validated_on_when_there_is_a_test_source() -> None:
    entries = [*images({"a": 3}, "train"), *images({"b": 2}, "validation"), *images({"c": 1}, "test")]
    parts = divide(entries, images({"a": 4}, folder="elsewhere/"), "given", {})
    assert sizes(parts) == {"train": 3, "validation": 3, "test": 4}


def test_given_without_split_folders_is_one_sentence() -> None:
    with pytest.raises(DataError, match=r"data\.split is 'given'") as caught:
        divide([*images({"a": 2}, "train"), *images({"b": 3})], [], "given", {})
    assert "3 images" in str(caught.value)
    assert "b/000.png" in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 25), max_size=3),
    st.integers(0, 4),
    st.sampled_from(["70/15/15", "80/20"]),
)
def test_every_image_stands_in_one_split_in_order(counts: dict[str, int], tested: int, scheme: str) -> None:
    entries, tests = images(dict(sorted(counts.items()))), images({"t": tested}, folder="elsewhere/")
    parts = divide(entries, tests, scheme, {})
    everything = [item for split in SPLITS for item in parts[split]]
    assert Counter(item.group for item in everything) == Counter(item.group for item in [*entries, *tests])
    for split in SPLITS:
        assert parts[split] == sorted(parts[split], key=lambda item: item.source_ref)


@settings(deadline=None)
@given(st.integers(0, 20), st.integers(0, 20), st.sampled_from(["70/15/15", "80/20"]))
def test_adding_images_moves_none(before: int, added: int, scheme: str) -> None:
    first = divide(images({"a": before, "b": 5}), [], scheme, {})
    earlier = {item.group: split for split in SPLITS for item in first[split]}
    second = divide(images({"a": before + added, "b": 5, "c": added}), [], scheme, earlier)
    later = {item.group: split for split in SPLITS for item in second[split]}
    assert {group: later[group] for group in earlier} == earlier


REFUSED = {
    "nothing": (divided(), "no usable image is left"),
    "one label": (divided(train={"good": 7}, test={"good": 2}), "'good'.* needs two labels"),
    "one image in all": (divided(train={"good": 1}), "'good'.* needs two labels"),
    "label with one image": (divided(train={"good": 7, "cut": 1}, test={"good": 2}), "'cut' has 1 image, 1 of them"),
    "label without training image": (
        divided(train={"good": 7}, validation={"cut": 1}, test={"good": 2, "cut": 3}),
        "'cut' has 4 images, 0 of them",
    ),
    "label that is tested only": (
        divided(train={"good": 7, "cut": 7}, test={"odd": 1}),
        "'odd' has 1 image, 0 of them",
    ),
    "nothing to test with": (divided(train={"good": 7, "cut": 2}, test={"good": 1}), "'cut' has 2 images"),
    "no test image": (divided(train={"good": 7, "cut": 7}, validation={"cut": 1}), "no image is left to test on"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_learned_is_one_sentence(name: str) -> None:
    parts, words = REFUSED[name]
    with pytest.raises(DataError) as caught:
        require_learnable(parts)
    assert re.search(words, str(caught.value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(divided(train={"a": 3, "b": 3}, test={"a": 1, "b": 1}), id="least"),
        pytest.param(divided(train={"a": 200, "b": 3}, validation={"b": 1}, test={"a": 1, "b": 1}), id="uneven"),
        pytest.param(
            divided(train={f"l{i}": 3 for i in range(300)}, test={f"l{i}": 1 for i in range(300)}), id="many labels"
        ),
    ],
)
def test_what_can_be_learned_is_taken(parts: dict[Split, list[ImageEntry]]) -> None:
    assert require_learnable(parts) is None


def test_counts() -> None:
    counted = count_images(divided(train={"b": 2, "a": 1}, test={"a": 3}))
    assert counted == {"train": {"a": 1, "b": 2}, "validation": {}, "test": {"a": 3}}
    assert list(counted["train"]) == ["a", "b"]
