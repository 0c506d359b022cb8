import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tasks.dataset.entries import SPLITS, ImageEntry, Split
from tasks.dataset.near_duplicates import thumbnail
from tasks.dataset.truth import Truth
from tasks.errors import DataError
from tasks.manifest.divide import Division, DivisionRules
from tasks.manifest.divide import divide as divide_images


def entry(label: str, number: int, given_split: str = "", folder: str = "") -> ImageEntry:
    digest = hashlib.sha256(f"{folder}{label}{number}".encode()).hexdigest()
    ref = f"{folder}{label}/{number:03d}.png"
    return ImageEntry(ref, digest, 48, 48, Truth((label,)), "", given_split, digest)  # type: ignore[arg-type]


def images(counts: Mapping[str, int], given_split: str = "", folder: str = "") -> list[ImageEntry]:
    return [entry(label, number, given_split, folder) for label, count in counts.items() for number in range(count)]


def divide(
    entries: list[ImageEntry], tested: list[ImageEntry], scheme: str, earlier: Mapping[str, Split]
) -> dict[Split, list[ImageEntry]]:
    """Divide images that show nothing alike."""
    thumbnails = np.zeros((len(entries) + len(tested), 64, 64), np.uint8)
    rules = DivisionRules(scheme, group_by="", near_duplicates=False)
    return divide_images(entries, tested, thumbnails, rules, earlier).entries


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
    assume(entries or tests)
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


def test_nothing_is_one_sentence() -> None:
    with pytest.raises(DataError, match="no usable image is left"):
        divide([], [], "70/15/15", {})


# Groups, with real pictures


def picture(seed: int) -> NDArray[np.uint8]:
    return thumbnail(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8).repeat(16, 0).repeat(16, 1))


def divide_pictures(
    count: int, copies: Mapping[int, int], earlier: Mapping[str, Split] | None = None, scheme: str = "70/15/15"
) -> Division:
    """Divide `count` pictures, of which those of `copies` show the same as another."""
    seeds = [copies.get(number, number) for number in range(count)]
    thumbnails = np.stack([picture(seed) for seed in seeds])
    rules = DivisionRules(scheme, group_by="", near_duplicates=True)
    return divide_images(images({"a": count}), [], thumbnails, rules, earlier or {})


def test_near_duplicates_are_in_one_split_and_one_group() -> None:
    division = divide_pictures(20, {3: 0, 7: 0, 9: 8})
    split_of = {entry.source_ref: split for split in SPLITS for entry in division.entries[split]}
    assert len({split_of[f"a/{number:03d}.png"] for number in (0, 3, 7)}) == 1
    assert split_of["a/008.png"] == split_of["a/009.png"]
    assert sorted(len(refs) for refs in division.groups.values())[-3:] == [1, 2, 3]
    assert [finding.code for finding in division.findings] == ["WARNING_NEAR_DUPLICATE"] * 3


def test_new_image_that_links_two_splits_is_left_out() -> None:
    before = divide_pictures(20, {})
    splits = {entry.source_ref: split for split in SPLITS for entry in before.entries[split]}
    tested = next(int(ref[2:5]) for ref, split in splits.items() if split == "test")
    later = divide_pictures(21, {20: tested}, before.assignments)
    assert "a/020.png" in [entry.source_ref for entry in later.entries["test"]]
    assert {ref: split for ref, split in splits.items()} == {
        entry.source_ref: split for split in SPLITS for entry in later.entries[split] if entry.source_ref in splits
    }


def test_given_splits_lose_what_is_trained_on_and_shown_in_the_test() -> None:
    entries = [*images({"a": 4}, "train"), *images({"b": 2}, "test")]
    thumbnails = np.stack([picture(seed) for seed in (0, 1, 2, 3, 3, 5)])
    rules = DivisionRules("given", group_by="", near_duplicates=True)
    division = divide_images(entries, [], thumbnails, rules, {})
    assert [entry.source_ref for entry in division.entries["train"]] == ["a/000.png", "a/001.png", "a/002.png"]
    assert len(division.entries["test"]) == 2
    assert "WARNING_LINKS_SPLITS" in [finding.code for finding in division.findings]


def test_pattern_keeps_its_groups_together() -> None:
    entries = [
        replace(one, source_ref=f"part-{number // 5}/{number}.png") for number, one in enumerate(images({"a": 40}))
    ]
    rules = DivisionRules("70/15/15", group_by=r"part-(\d+)", near_duplicates=False)
    division = divide_images(entries, [], np.zeros((40, 64, 64), np.uint8), rules, {})
    for split in SPLITS:
        parts = Counter(entry.source_ref.split("/")[0] for entry in division.entries[split])
        assert set(parts.values()) <= {5}
    assert len(division.groups) == 8
    assert division.assignments["group:0"] in SPLITS


def test_test_source_wins_over_what_was_before() -> None:
    entries, tested = images({"a": 8}), images({"b": 2}, folder="elsewhere/")
    earlier: dict[str, Split] = {one.sha256: "train" for one in tested} | {one.sha256: "test" for one in entries[:2]}
    parts = divide(entries, tested, "70/15/15", earlier)
    assert [entry.source_ref for entry in parts["test"]] == [entry.source_ref for entry in tested]
    assert {entry.sha256 for entry in entries[:2]} <= {entry.sha256 for entry in parts["validation"]}
