import hashlib
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.dataset.entries import SPLITS, ImageEntry, Split
from tasks.dataset.groups import (
    assignments_of,
    compile_group_pattern,
    find_groups,
    group_images,
    precedence,
    settle,
)
from tasks.dataset.splits import SHARES_BY_SCHEME, assign_splits
from tasks.dataset.truth import Truth
from tasks.errors import RequestError

NO_PAIRS = np.empty((0, 2), np.intp)


def entry(name: str, group: str = "", label: str = "a") -> ImageEntry:
    """The digest is the name, so that the order of digests is that of the names."""
    return ImageEntry(f"{name}.png", name, 9, 9, Truth((label,)), group=group)


def entries_of(names: str, **groups: str) -> list[ImageEntry]:
    return [entry(name, groups.get(name, "")) for name in names]


def pairs_of(entries: list[ImageEntry], links: str) -> np.ndarray:
    """Read links such as `ab bc`."""
    places = {item.sha256: place for place, item in enumerate(entries)}
    return np.array([sorted(places[name] for name in link) for link in links.split()], np.intp).reshape(-1, 2)


def groups_of(names: str, links: str, earlier: dict[str, Split] | None = None, **groups: str) -> dict[str, str]:
    entries = entries_of(names, **groups)
    grouped = group_images(entries, pairs_of(entries, links), earlier or {}).entries
    return {item.sha256: item.group for item in grouped}


@pytest.mark.parametrize(
    ("names", "links", "expected"),
    [
        pytest.param("abc", "", "abc", id="alone"),
        pytest.param("abc", "ab", "aac", id="a pair"),
        pytest.param("cba", "ab", "caa", id="the order of entries does not matter"),
        pytest.param("abc", "ab bc", "aac", id="no chain: c is near b only"),
        pytest.param("abcd", "ab bc cd", "aacc", id="a chain falls into stars"),
        pytest.param("abc", "ac bc", "aba", id="the first leader leads"),
        pytest.param("abc", "ab ac bc", "aaa", id="a star"),
    ],
)
def test_near_duplicates_are_grouped_as_stars(names: str, links: str, expected: str) -> None:
    assert "".join(groups_of(names, links).values()) == expected


@pytest.mark.parametrize(
    ("links", "earlier", "given", "expected"),
    [
        pytest.param("ab", {"b": "train"}, {}, {"a": "b", "b": "b"}, id="an earlier image leads"),
        pytest.param("ab", {"a": "train", "b": "test"}, {}, {"a": "a", "b": "b"}, id="earlier ones apart stay apart"),
        pytest.param("ab", {"a": "test", "b": "test"}, {}, {"a": "a", "b": "a"}, id="earlier ones of one split"),
        pytest.param("ab", {}, {"b": "K"}, {"a": "group:K", "b": "group:K"}, id="a given group leads"),
        pytest.param("ab", {}, {"a": "K", "b": "L"}, {"a": "group:K", "b": "group:L"}, id="given groups stay"),
        pytest.param("", {}, {"a": "K", "b": "K"}, {"a": "group:K", "b": "group:K"}, id="a given group"),
        pytest.param("", {}, {"a": "a"}, {"a": "a", "b": "b"}, id="the own digest is no given group"),
        pytest.param("", {}, {"b": "a"}, {"a": "a", "b": "a"}, id="the leader of a group that was read back"),
        pytest.param("", {}, {"a": "a", "b": "a"}, {"a": "a", "b": "a"}, id="the leader that names itself"),
        pytest.param("", {}, {"b": "z"}, {"a": "a", "b": "group:z"}, id="a leader that is gone"),
        pytest.param("", {}, {"a": "K", "b": "a"}, {"a": "group:K", "b": "group:a"}, id="a leader of another group"),
    ],
)
def test_groups_with_history_and_keys(links, earlier, given, expected) -> None:
    assert groups_of("ab", links, earlier, **given) == expected


def test_leader_that_was_read_back_follows_no_other_picture() -> None:
    assert groups_of("abc", "ab bc ac", {}, c="b", a="K") == {"a": "group:K", "b": "b", "c": "b"}


def test_groups_read_back_are_the_same_groups() -> None:
    entries = entries_of("abcdef", e="K", f="K")
    first = group_images(entries, pairs_of(entries, "ab ac de"), {}).entries
    read_back = [replace(item, group=item.group.removeprefix("group:")) for item in first]
    assert group_images(read_back, NO_PAIRS, {}).entries == first


@pytest.mark.parametrize(
    ("links", "earlier", "given", "held"),
    [
        pytest.param("ab", {"b": "test"}, {}, {"b": "test"}, id="by the leader"),
        pytest.param("", {"c": "test", "b": "train"}, {"b": "K", "c": "K"}, {"group:K": "train"}, id="by a member"),
        pytest.param(
            "", {"c": "test", "group:K": "validation"}, {"b": "K", "c": "K"}, {"group:K": "validation"}, id="by name"
        ),
        pytest.param("", {"z": "test"}, {}, {}, id="not by strangers"),
    ],
)
def test_group_keeps_the_split_of_an_earlier_member(links, earlier, given, held) -> None:
    entries = entries_of("abc", **given)
    assert group_images(entries, pairs_of(entries, links), earlier).held == held


def test_each_follower_has_a_finding_that_names_its_leader() -> None:
    entries = entries_of("abc")
    findings = group_images(entries, pairs_of(entries, "ab bc"), {}).findings
    assert [(one.code, one.source_ref) for one in findings] == [("WARNING_NEAR_DUPLICATE", "b.png")]
    assert "a.png" in findings[0].message


def test_near_duplicates_with_other_labels_are_told_once_each() -> None:
    entries = [entry("a", label="x"), entry("b", label="y"), entry("c", label="x")]
    findings = group_images(entries, pairs_of(entries, "ab bc ac"), {}).findings
    told = [one for one in findings if one.code == "WARNING_NEAR_DUPLICATE_LABELS"]
    assert [one.source_ref for one in told] == ["b.png", "c.png"]
    assert "labelled y" in told[0].message
    assert "a.png is labelled x" in told[0].message


SETTLED = [
    pytest.param("ab", "ab", "train test", {"b": "test"}, {}, "b", ["a"], [], id="new against tested"),
    pytest.param("ab", "ab", "train test", {"a": "train"}, {}, "a", ["b"], [], id="new against trained"),
    pytest.param("ab", "ab", "train test", {}, {}, "b", ["a"], [], id="both new: the tested one stays"),
    pytest.param("ab", "ab", "train validation", {}, {}, "a", ["b"], [], id="both new: the smaller digest stays"),
    pytest.param("ab", "ab", "train test", {"a": "train", "b": "test"}, {}, "ab", [], ["a"], id="both earlier"),
    pytest.param("ab", "ab", "test test", {}, {}, "ab", [], [], id="same split"),
    pytest.param("ab", "", "train test", {}, {}, "ab", [], [], id="not linked"),
    pytest.param("ab", "", "train test", {"a": "train"}, {"a": "K", "b": "K"}, "a", ["b"], [], id="group, one new"),
    pytest.param(
        "ab", "", "test test", {"a": "train", "b": "test"}, {"a": "K", "b": "K"}, "ab", [], ["a"], id="group, earlier"
    ),
    pytest.param("abc", "ab bc", "train test train", {"b": "test"}, {}, "b", ["a", "c"], [], id="two new ones"),
    pytest.param("abc", "ab bc", "test train validation", {}, {}, "ac", ["b"], [], id="what is left out links nothing"),
]


@pytest.mark.parametrize(("names", "links", "splits", "earlier", "given", "stay", "left_out", "across"), SETTLED)
def test_what_links_splits_is_left_out(names, links, splits, earlier, given, stay, left_out, across) -> None:
    entries = [entry(name, f"group:{given[name]}" if name in given else name) for name in names]
    settled = settle(entries, splits.split(), pairs_of(entries, links), earlier)
    assert "".join(item.sha256 for item in settled.entries) == stay
    told = {code: [one.source_ref[0] for one in settled.findings if one.code.endswith(code)] for code in CODES}
    assert told == {"WARNING_LINKS_SPLITS": left_out, "WARNING_NEAR_DUPLICATE_ACROSS_SPLITS": across}
    for item, split in zip(settled.entries, settled.splits, strict=True):
        assert split == earlier.get(item.sha256, splits.split()[names.index(item.sha256)])


CODES = ("WARNING_LINKS_SPLITS", "WARNING_NEAR_DUPLICATE_ACROSS_SPLITS")


def test_message_names_the_other_file_and_its_use() -> None:
    entries = [entry("a", "a"), entry("b", "b")]
    (finding,) = settle(entries, ["train", "test"], pairs_of(entries, "ab"), {}).findings
    assert finding.source_ref == "a.png"
    assert finding.message.startswith("near-duplicate of b.png, which is tested on; left out of training so that")


def test_catalogue_keeps_digests_and_groups() -> None:
    entries = [entry("a", "group:K"), entry("b", "group:K"), entry("c", "c"), entry("d", "c"), entry("e", "group:L")]
    splits: list[Split] = ["train", "test", "train", "train", "validation"]
    expected = {"a": "train", "b": "test", "c": "train", "d": "train", "e": "validation", "group:K": "test"}
    assert assignments_of(entries, splits, {}) == expected | {"group:L": "validation"}
    assert assignments_of(entries, splits, {"group:K": "train"})["group:K"] == "train"


def test_leader_that_was_left_out_is_new_again_in_the_next_version() -> None:
    entries = [entry("b", "a"), entry("c", "c")]
    assert assignments_of(entries, ["train", "test"], {}) == {"b": "train", "c": "test"}


@settings(deadline=None, max_examples=100)
@given(st.data(), st.integers(1, 14), st.sampled_from(sorted(SHARES_BY_SCHEME)))
def test_no_version_of_a_growing_dataset_links_its_splits_or_moves_an_image(data, count, scheme) -> None:
    digests = [hashlib.sha256(str(number).encode()).hexdigest()[:9] for number in range(count)]
    keys = data.draw(st.lists(st.sampled_from(["", "", "K", "L", digests[0]]), min_size=count, max_size=count))
    everything = [entry(digest, key) for digest, key in zip(digests, keys, strict=True)]
    links = data.draw(st.sets(st.sampled_from(list(combinations(range(count), 2)) or [(0, 0)]))) - {(0, 0)}
    known: dict[str, Split] = {}
    for size in sorted(data.draw(st.sets(st.integers(1, count), min_size=1, max_size=3))):
        pairs = np.array([link for link in sorted(links) if max(link) < size], np.intp).reshape(-1, 2)
        grouping = group_images(everything[:size], pairs, known)
        assigned = assign_splits(grouping.entries, SHARES_BY_SCHEME[scheme], grouping.held)
        splits = [assigned[item.group] for item in grouping.entries]
        settled = settle(grouping.entries, splits, pairs, known)
        split_of = dict(zip((item.sha256 for item in settled.entries), settled.splits, strict=True))
        assert all(split_of[digest] == known[digest] for digest in digests[:size] if digest in known)
        for first, second in pairs.tolist():
            assert len({split_of[digests[place]] for place in (first, second) if digests[place] in split_of}) <= 1
        for key in {*keys} - {""}:
            members = {digest for digest, own in zip(digests, keys, strict=True) if key in (own, own or digest)}
            assert len({split_of[digest] for digest in members & split_of.keys()}) <= 1
        left_out = {one.source_ref for one in settled.findings}
        assert left_out == {item.source_ref for item in everything[:size]} - {f"{digest}.png" for digest in split_of}
        known |= assignments_of(settled.entries, settled.splits, known)


def test_precedence() -> None:
    entries = entries_of("dcba", c="K")
    assert [entries[place].sha256 for place in precedence(entries, {"d": SPLITS[0]})] == ["d", "c", "a", "b"]


def test_leader_that_was_read_back_precedes_like_its_group() -> None:
    entries = entries_of("dcba", c="d")
    assert [entries[place].sha256 for place in precedence(entries, {})] == ["c", "d", "a", "b"]


@pytest.mark.parametrize(
    ("pattern", "ref", "group"),
    [
        pytest.param(r"part-(\d+)", "x/part-17_a.png", "17", id="unnamed"),
        pytest.param(r"(?P<part>p\d)", "x/p3.png", "p3", id="named"),
        pytest.param(r"^([^/]+)/", "session/1.png", "session", id="the folder"),
        pytest.param(r"part-(\d+)", "x/other.png", "", id="no match"),
        pytest.param(r"x(y)?", "x.png", "", id="a group that took no part"),
        pytest.param(r"x(y*)", "x.png", "", id="an empty key"),
        pytest.param(r"(x)", "x" * 501, "", id="too long to be searched"),
        pytest.param(r"(?:\d_)+(\w)", "1_2_k.png", "k", id="a repeat of no repeat"),
        pytest.param(r"(?:a|b)+(\w)", "abak.png", "k", id="a repeat of one character or another"),
        pytest.param(r"(?:a+|bb)?(k)", "aak.png", "k", id="once or not at all is no repeat"),
        pytest.param(r"(?#+|)[)+*|]\)+(k)", "x+)k.png", "k", id="characters that mean nothing"),
        pytest.param(r"a?b?c?d*e*f+g{1,2}(h|ij)k{3}", "abcdefghkkk", "h", id="eight choices"),
        pytest.param(r"^(\d{4}-\d{2}-\d{2})_\d{2}_", "2020-01-02_03_04", "2020-01-02", id="counts"),
    ],
)
def test_pattern_finds_the_group(pattern: str, ref: str, group: str) -> None:
    found, findings = find_groups([ImageEntry(ref, "d", 9, 9, Truth(("a",)))], compile_group_pattern(pattern))
    assert [item.group for item in found] == [group]
    assert [one.code for one in findings] == ([] if group else ["WARNING_NO_GROUP"])


def test_images_without_group_are_one_finding_with_their_count() -> None:
    found, findings = find_groups(entries_of("zyxw", w="K"), compile_group_pattern("(z)"))
    assert [item.group for item in found] == ["z", "", "", "K"]
    assert [(one.source_ref, "2 of 4" in one.message) for one in findings] == [("x.png", True)]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        pytest.param("part-(", "no regular expression", id="not closed"),
        pytest.param(r"part-\d+", "has 0 groups", id="no group"),
        pytest.param("(a)(b)", "has 2 groups", id="two groups"),
        pytest.param("", "has 0 groups", id="empty"),
        pytest.param("(a)" + "b" * 300, "303 characters", id="long"),
        pytest.param("(a+)+x", "for ever", id="nested repeat"),
        pytest.param("((?:a*)*)", "for ever", id="nested repeat inside"),
        pytest.param("(?:b(a{2,}))+", "for ever", id="nested counted repeat"),
        pytest.param(r"(?:\d+_)+(\w)", "for ever", id="nested repeat that ends in a letter"),
        pytest.param("(?:a|aa)+(b)", "for ever", id="repeated alternatives"),
        pytest.param("(?:a|aa){30}(b)", "for ever", id="alternatives of a fixed number"),
        pytest.param("(?:(?=a?)a)+(b)", "for ever", id="nested repeat that looks ahead"),
        pytest.param("(?:xa?){40}(b)", "for ever", id="repeated option"),
        pytest.param("(?:(?>a+)|b)*?(c)", "for ever", id="lazy repeat"),
        pytest.param("(?x)(?:a|aa) +(b)", "for ever", id="spaced pattern"),
        pytest.param("(?#[)(?:a|aa)+(b)(?#])", "for ever", id="brackets in comments"),
        pytest.param("a?" * 30 + "a" * 30 + "(b)", "more than 8 repeats", id="many options"),
        pytest.param("(?:a|bc)" * 9 + "(b)", "more than 8 repeats", id="many alternatives"),
        pytest.param("(?:){4000000000}(b)", "more than 500 times", id="nothing repeated"),
        pytest.param("(a{99999999999999999999})", "no regular expression", id="absurd count"),
    ],
)
def test_bad_pattern_is_one_sentence(pattern: str, said: str) -> None:
    with pytest.raises(RequestError, match=said) as caught:
        compile_group_pattern(pattern)
    assert "\n" not in str(caught.value)
