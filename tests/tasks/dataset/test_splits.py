import hashlib
import time
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.dataset.entries import SPLITS, ImageEntry, Split
from tasks.dataset.splits import SHARES_BY_SCHEME, assign_ranked, assign_splits, split_sizes, strata_of
from tasks.dataset.truth import Truth

Labelled = list[tuple[str, int]]
SHARES = st.sampled_from(sorted(SHARES_BY_SCHEME)).map(SHARES_BY_SCHEME.__getitem__)
LABELLED = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 400)), max_size=60, unique_by=lambda pair: pair[1])


def entry(label: str, number: int, group: str = "") -> ImageEntry:
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    return ImageEntry(f"{label}/{number:04d}.png", digest, 9, 9, Truth((label,)), group=group or digest)


def entries_of(labelled: Labelled) -> list[ImageEntry]:
    return [entry(label, number) for label, number in labelled]


def counts_by_label(entries: list[ImageEntry], assigned: dict[str, Split]) -> dict[str, Counter[Split]]:
    counts: dict[str, Counter[Split]] = {}
    for item in entries:
        counts.setdefault(item.truth.stratum, Counter())[assigned[item.group]] += 1
    return counts


@settings(deadline=None)
@given(st.integers(0, 100_000), SHARES)
@example(1, SHARES_BY_SCHEME["70/15/15"])
@example(10**9, SHARES_BY_SCHEME["70/15/15"])
def test_sizes_add_up_and_stay_within_one_of_their_share(count: int, shares: dict[Split, float]) -> None:
    sizes = split_sizes(count, shares)
    assert sum(sizes.values()) == count
    for split in SPLITS:
        exact = count * Fraction(str(shares[split]))
        assert abs(sizes[split] - exact) < 1
        if shares[split] == 0:
            assert sizes[split] == 0


@pytest.mark.parametrize(
    ("count", "scheme", "sizes"),
    [
        pytest.param(0, "70/15/15", (0, 0, 0), id="none"),
        pytest.param(1, "70/15/15", (1, 0, 0), id="one"),
        pytest.param(2, "70/15/15", (2, 0, 0), id="two"),
        pytest.param(3, "70/15/15", (2, 0, 1), id="three: the tie goes to test"),
        pytest.param(4, "70/15/15", (3, 0, 1), id="four"),
        pytest.param(10, "70/15/15", (7, 1, 2), id="ten: the tie goes to test"),
        pytest.param(20, "70/15/15", (14, 3, 3), id="twenty"),
        pytest.param(313, "70/15/15", (219, 47, 47), id="313"),
        pytest.param(1, "80/20", (1, 0, 0), id="80/20 of one"),
        pytest.param(3, "80/20", (2, 0, 1), id="80/20 of three"),
        pytest.param(10, "80/20", (8, 0, 2), id="80/20 of ten"),
    ],
)
def test_sizes_of_some_counts(count: int, scheme: str, sizes: tuple[int, int, int]) -> None:
    assert tuple(split_sizes(count, SHARES_BY_SCHEME[scheme])[split] for split in SPLITS) == sizes


@pytest.mark.parametrize("scheme", SHARES_BY_SCHEME)
def test_shares_of_a_scheme_sum_to_one(scheme: str) -> None:
    assert sum(SHARES_BY_SCHEME[scheme].values()) == pytest.approx(1.0)
    assert set(SHARES_BY_SCHEME[scheme]) == set(SPLITS)


@settings(deadline=None)
@given(LABELLED, SHARES)
@example([], SHARES_BY_SCHEME["80/20"])
def test_every_group_is_assigned_once_and_each_label_has_its_share(
    labelled: Labelled, shares: dict[Split, float]
) -> None:
    entries = entries_of(labelled)
    assigned = assign_splits(entries, shares, {})
    assert set(assigned) == {item.group for item in entries}
    for label, counts in counts_by_label(entries, assigned).items():
        total = sum(name == label for name, _ in labelled)
        assert {split: counts[split] for split in SPLITS} == split_sizes(total, shares)


@settings(deadline=None)
@given(st.data(), LABELLED, SHARES)
def test_order_of_entries_does_not_matter(data: st.DataObject, labelled: Labelled, shares: dict[Split, float]) -> None:
    shuffled = data.draw(st.permutations(labelled))
    assert assign_splits(entries_of(shuffled), shares, {}) == assign_splits(entries_of(labelled), shares, {})


@settings(deadline=None)
@given(LABELLED, SHARES)
def test_names_of_files_do_not_matter(labelled: Labelled, shares: dict[Split, float]) -> None:
    entries = entries_of(labelled)
    renamed = [
        ImageEntry(f"other/{item.sha256[:9]}.png", item.sha256, 9, 9, item.truth, group=item.group) for item in entries
    ]
    assert assign_splits(renamed, shares, {}) == assign_splits(entries, shares, {})


@settings(deadline=None)
@given(LABELLED, SHARES, st.dictionaries(st.integers(0, 400), st.sampled_from(SPLITS), max_size=80))
def test_earlier_assignments_win(labelled: Labelled, shares: dict[Split, float], held: dict[int, Split]) -> None:
    entries = entries_of(labelled)
    earlier = {entry("a", number).group: split for number, split in held.items()}
    assigned = assign_splits(entries, shares, earlier)
    assert set(assigned) == {item.group for item in entries}
    for group in set(assigned) & set(earlier):
        assert assigned[group] == earlier[group]


@settings(deadline=None)
@given(LABELLED, st.lists(st.integers(0, 60), max_size=4), SHARES)
def test_growing_step_by_step_moves_nothing_and_keeps_the_shares(
    labelled: Labelled, steps: list[int], shares: dict[Split, float]
) -> None:
    known: dict[str, Split] = {}
    for size in [*sorted(steps), len(labelled)]:
        entries = entries_of(labelled[:size])
        assigned = assign_splits(entries, shares, known)
        assert {group: assigned[group] for group in known} == known
        known = assigned
        for counts in counts_by_label(entries, assigned).values():
            total = sum(counts.values())
            # A tie may have gone to test before and to validation now: then one image stays where it was.
            assert all(abs(counts[split] - total * shares[split]) < 2 for split in SPLITS)


@settings(deadline=None)
@given(LABELLED, st.sets(st.integers(0, 59)), SHARES)
def test_removing_and_bringing_back_changes_nothing(
    labelled: Labelled, gone: set[int], shares: dict[Split, float]
) -> None:
    entries = entries_of(labelled)
    first = assign_splits(entries, shares, {})
    kept = [item for place, item in enumerate(entries) if place not in gone]
    second = assign_splits(kept, shares, first)
    assert second == {item.group: first[item.group] for item in kept}
    assert assign_splits(entries, shares, {**first, **second}) == first


@settings(deadline=None)
@given(LABELLED, st.integers(1, 5))
def test_members_of_a_group_never_part(labelled: Labelled, groups: int) -> None:
    entries = [entry(label, number, group=f"g{number % groups}") for label, number in labelled]
    assigned = assign_splits(entries, SHARES_BY_SCHEME["70/15/15"], {})
    assert set(assigned) == {item.group for item in entries}


def test_stratum_of_a_group_is_that_of_its_first_reference() -> None:
    # With the group counted as a "b", "a" has 20 groups (14, 3, 3); counted as an "a" it would have 21.
    mixed = [entry("a", 900, group="mixed"), entry("b", 901, group="mixed")]
    first_is_b = [ImageEntry("0.png", "0", 9, 9, Truth(("b",)), group="mixed"), *mixed]
    others = entries_of([("a", number) for number in range(20)])
    assigned = assign_splits([*others, *first_is_b], SHARES_BY_SCHEME["70/15/15"], {})
    assert Counter(assigned[item.group] for item in others) == {"train": 14, "validation": 3, "test": 3}
    assert assigned["mixed"] == "train"


def test_relabelled_image_stays_in_its_split() -> None:
    shares = SHARES_BY_SCHEME["70/15/15"]
    first = assign_splits(entries_of([("a", number) for number in range(20)]), shares, {})
    relabelled = entries_of([("b", number) for number in range(20)])
    assert assign_splits(relabelled, shares, first) == first


def test_overfull_split_leaves_the_rest_for_the_others() -> None:
    entries = entries_of([("a", number) for number in range(20)])
    held: dict[str, Split] = {item.group: "train" for item in entries[:18]}
    counts = Counter(assign_splits(entries, SHARES_BY_SCHEME["70/15/15"], held).values())
    assert counts["train"] == 18
    assert counts["test"] == 2


@pytest.mark.parametrize("count", [1, 2, 3, 1000], ids=lambda count: f"{count} images")
def test_many_labels_of_few_images(count: int) -> None:
    entries = entries_of([(f"label {i % 300}", i) for i in range(count)])
    assert len(assign_splits(entries, SHARES_BY_SCHEME["80/20"], {})) == count


def labelled_sets(sets: dict[tuple[str, ...], int]) -> list[ImageEntry]:
    return [
        ImageEntry(f"{'-'.join(labels)}/{number}.png", digest, 9, 9, Truth(labels), group=digest)
        for labels, count in sets.items()
        for number in range(count)
        for digest in [hashlib.sha256(f"{labels}{number}".encode()).hexdigest()]
    ]


def test_outcome_of_a_fixed_set_is_that_of_the_first_version() -> None:
    # Datasets of the first version must come out the same for ever; digest of what it gave.
    entries = [
        *entries_of([(label, place * 100 + n) for place, label in enumerate("abc") for n in range(9 + 20 * place)])
    ]
    assigned = assign_splits(entries, SHARES_BY_SCHEME["70/15/15"], {entries[0].group: "validation"})
    told = "".join(f"{group}{split}" for group, split in sorted(assigned.items()))
    assert (
        hashlib.sha256(told.encode()).hexdigest() == "67a7aefe04acf3ae65a6b093cbed0ee7451ae67037b00b1576642b4eea1b3ca0"
    )


@pytest.mark.parametrize(
    ("sets", "pooled"),
    [
        pytest.param({("a",): 2, ("b",): 1}, {}, id="single labels are never pooled"),
        pytest.param({(): 1, ("a",): 9}, {}, id="nor are images without labels"),
        pytest.param({("a",): 9, ("a", "b"): 5, ("b",): 9}, {}, id="a combination that is frequent enough"),
        pytest.param({("a",): 9, ("a", "b"): 4, ("b",): 3}, {("a", "b"): ("b",)}, id="a rare one"),
        pytest.param({("a", "b"): 1, ("a", "c"): 1}, {("a", "b"): ("b",), ("a", "c"): ("c",)}, id="by rarest label"),
        pytest.param({("a", "b"): 2, ("c",): 8}, {("a", "b"): ("a",)}, id="a tie goes by name"),
    ],
)
def test_strata_of_label_sets(sets: dict[tuple[str, ...], int], pooled: dict[tuple[str, ...], tuple[str, ...]]) -> None:
    assert strata_of(sets) == {labels: labels for labels in sets} | pooled


def test_rare_combinations_are_tested_on_and_every_label_has_its_share() -> None:
    labels = [f"l{number:02}" for number in range(12)]
    sets = {(a, b): 1 for place, a in enumerate(labels) for b in labels[place + 1 :]} | {("rare", "zz"): 4}
    entries = labelled_sets(sets)
    assigned = assign_splits(entries, SHARES_BY_SCHEME["70/15/15"], {})
    counts = Counter(assigned.values())
    assert counts["test"] == pytest.approx(len(entries) * 0.15, abs=6)
    assert counts["validation"] == pytest.approx(len(entries) * 0.15, abs=6)
    rare = Counter(assigned[item.group] for item in entries if "rare" in item.truth.labels)
    assert rare == {"train": 3, "test": 1}


@pytest.mark.parametrize("ranks_of", [lambda digests: digests, lambda digests: digests.view("S32").ravel()])
@settings(deadline=None, max_examples=50)
@given(st.data(), st.integers(0, 300), st.integers(1, 6), SHARES)
def test_ranked_assignment_agrees_with_a_plain_loop(ranks_of, data, count, strata, shares) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    # Few distinct bytes, so that many digests begin alike or end with zeros.
    digests = rng.integers(0, 2, (count, 32)).astype(np.uint8)
    digests[:, 4:28] = 0
    digests = np.unique(digests, axis=0)
    digests = digests[rng.permutation(len(digests))]
    of = rng.integers(0, strata, len(digests))
    held = rng.choice(np.array([-1, -1, 0, 1, 2], np.int8), len(digests))
    codes = assign_ranked(ranks_of(digests), of, shares, held)
    for stratum in range(strata):
        members = np.flatnonzero(of == stratum)
        sizes = split_sizes(len(members), shares)
        new = sorted((place for place in members if held[place] < 0), key=lambda place: digests[place].tobytes())
        wanted = []
        for split in ("test", "validation", "train"):
            wanted += [split] * max(0, sizes[split] - int((held[members] == SPLITS.index(split)).sum()))
        assert [SPLITS[codes[place]] for place in new] == wanted[: len(new)]
    kept = held >= 0
    assert (codes[kept] == held[kept]).all()


def test_ranked_assignment_of_many_is_quick_and_in_proportion() -> None:
    rng = np.random.default_rng(0)
    ranks, strata = rng.integers(0, 256, (1_000_000, 16), np.uint8), rng.integers(0, 40, 1_000_000)
    start = time.process_time()
    codes = assign_ranked(ranks, strata, SHARES_BY_SCHEME["70/15/15"])
    # 0.3 s; a loop over items takes many times as long.
    assert time.process_time() - start < 3
    assert (np.bincount(codes) / 1e6).tolist() == pytest.approx([0.7, 0.15, 0.15], abs=1e-4)
