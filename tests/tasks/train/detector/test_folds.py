from collections import Counter

import numpy as np
import pytest

from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.errors import DataError
from tasks.train.detector.folds import cross_validate, fold_places
from tasks.train.detector.samples import Samples
from tasks.vision.boxes import BoundingBox
from tests.tasks.train.detector.painted import found_box, ignore

PLACE = (10, 10, 20, 20)


def entries_of(*labels, groups=None):
    """One image per label with a box; an empty label is an image without boxes."""
    return [
        ImageEntry(
            f"{number}.png",
            f"{number:064x}",
            96,
            96,
            Truth((label,), (BoundingBox(label, *PLACE),)) if label else Truth((), ()),
            group=groups[number] if groups else "",
        )
        for number, label in enumerate(labels)
    ]


def samples_of(entries):
    """Samples whose every pixel is the number of the image."""
    pixels = np.array([int(entry.source_ref[:-4]) for entry in entries], np.uint8)
    return Samples(
        np.broadcast_to(pixels.reshape(-1, 1, 1, 1), (len(entries), 1, 1, 3)).copy(),
        tuple(np.array([[10, 10, 30, 30]] * len(entry.truth.boxes), np.float32).reshape(-1, 4) for entry in entries),
        tuple(np.zeros(len(entry.truth.boxes), np.int64) for entry in entries),
        tuple(entry.truth.boxes for entry in entries),
        tuple((96, 96) for _ in entries),
    )


def numbers_of(samples):
    return samples.pixels()[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("seed", range(5))
def test_labels_and_negatives_are_spread_evenly(seed):
    entries = entries_of(*"a" * 13, *"b" * 7, *[""] * 9)
    places = fold_places(entries, 4, seed)
    assert set(places) == set(range(4))
    for label in ("a", "b", ""):
        labels = [" ".join(entry.truth.labels) for entry in entries]
        counts = Counter(place for place, one in zip(places, labels, strict=True) if one == label)
        assert max(counts.values()) - min(counts[fold] for fold in range(4)) <= 1
    assert max(Counter(places).values()) - min(Counter(places).values()) <= 1


def test_seed_decides():
    entries = entries_of(*"a" * 20)
    assert fold_places(entries, 5, 1) == fold_places(entries, 5, 1)
    assert fold_places(entries, 5, 1) != fold_places(entries, 5, 2)


@pytest.mark.parametrize("seed", range(5))
def test_groups_never_part(seed):
    groups = [f"g{number // 3}" for number in range(24)]
    places = fold_places(entries_of(*"ab" * 12, groups=groups), 3, seed)
    for group in set(groups):
        assert len({place for place, one in zip(places, groups, strict=True) if one == group}) == 1
    assert set(places) == {0, 1, 2}


@pytest.mark.parametrize(
    ("labels", "wanted", "folds"), [("aaa", 5, 3), ("ab", 5, 2), ("aaaaaa", 5, 5), ("aa", 2, 2)], ids=str
)
def test_every_fold_has_boxes(labels, wanted, folds):
    entries = entries_of(*labels, "", "", "", "")
    places = fold_places(entries, wanted, 0)
    with_boxes = {place for place, entry in zip(places, entries, strict=True) if entry.truth.boxes}
    assert with_boxes == set(range(folds))


@pytest.mark.parametrize(
    "entries",
    [entries_of("a", "", ""), entries_of("a"), entries_of(*"aaaa", groups=["g"] * 4)],
    ids=["one image with boxes", "one image", "one group"],
)
def test_boxes_in_one_group_cannot_be_divided(entries):
    with pytest.raises(DataError, match=r"evaluation\.folds"):
        fold_places(entries, 5, 0)


def estimate(entries, fold, folds=3, labels=("a",), report=ignore):
    return cross_validate(samples_of(entries), entries, list(labels), folds, 0, fold, report)


def test_every_image_is_searched_once_by_a_network_that_did_not_see_it():
    entries = entries_of(*"a" * 12)
    seen, told = [], []

    def fold(number, learned, held_out):
        assert not set(numbers_of(learned)) & set(numbers_of(held_out))
        assert len(learned) + len(held_out) == 12
        seen.extend(numbers_of(held_out))
        return [[found_box(*PLACE, 0.5 + image / 100, "a")] for image in numbers_of(held_out)]

    figures, pooled = estimate(entries, fold, report=lambda *at: told.append(at))
    assert sorted(seen) == list(range(12))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert [boxes[0].confidence for boxes in pooled.detections] == [0.5 + image / 100 for image in range(12)]
    assert pooled.truths == tuple(entry.truth.boxes for entry in entries)
    assert (figures.folds, figures.images) == (3, 12)
    assert (figures.map_50, figures.map, figures.macro_f1) == pytest.approx((1.0, 1.0, 1.0))
    assert figures.map_50_std == pytest.approx(0.0)
    assert figures.per_label["a"].support == 12


def test_figures_of_boxes_that_are_half_missed():
    entries = entries_of(*"a" * 12)

    def fold(number, learned, held_out):
        hit = number == 0
        return [[found_box(*PLACE, 0.9, "a")] if hit else [] for _ in numbers_of(held_out)]

    figures, _ = estimate(entries, fold)
    # Four of twelve boxes are found: all 34 of the 101 recall points up to 1/3 have precision 1.
    assert figures.map_50 == pytest.approx(34 / 101)
    assert figures.map_50_std == pytest.approx(np.std([1, 0, 0], ddof=1))
    # Fold 0 is judged by the default threshold, for nothing was found in the other folds.
    assert figures.per_label["a"].recall == pytest.approx(1 / 3)
    assert figures.per_label["a"].precision == 1.0


@pytest.mark.parametrize("own", [0.05, 0.3, 0.95])
def test_threshold_of_a_fold_does_not_depend_on_its_own_images(own):
    """Fold 0's confidences change; what is given in it is decided by those of the other folds alone."""
    entries = entries_of(*"a" * 30)

    def fold(number, learned, held_out):
        score = own if number == 0 else 0.6
        return [[found_box(*PLACE, score, "a"), found_box(60, 60, 20, 20, 0.2, "a")] for _ in numbers_of(held_out)]

    figures, _ = estimate(entries, fold)
    # The others' threshold is 0.4 (between 0.2 and 0.6): fold 0's boxes are given above it only.
    assert figures.per_label["a"].recall == pytest.approx(1.0 if own > 0.4 else 2 / 3)


def test_fold_without_a_label_leaves_it_out():
    entries = entries_of(*"a" * 9, "b")
    hit = {"a": 0.9, "b": 0.9}

    def fold(number, learned, held_out):
        return [
            [found_box(*PLACE, hit[label], label) for label in entries[image].truth.labels]
            for image in numbers_of(held_out)
        ]

    figures, _ = estimate(entries, fold, labels=("a", "b"))
    assert figures.map_50 == pytest.approx(1.0)
    assert figures.map_50_std == pytest.approx(0.0)
    assert figures.per_label["b"].support == 1
