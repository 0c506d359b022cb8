from functools import partial

import numpy as np
import pytest

from tasks.errors import DataError
from tasks.features.keypoints import DESCRIPTOR_WIDTH, SiftWords
from tasks.train import feature_table
from tasks.train.candidates import Search, fit_best
from tasks.train.cross_validation import cross_validate
from tasks.train.feature_table import FeatureTable, VisualWords
from tasks.train.heads.folds import stratified_folds
from tasks.train.heads.search import INNER_FOLDS

STEP = SiftWords(words=3, keypoints=12)
IMAGES, VIEWS = 24, 2
Y = np.arange(IMAGES) % 2


class WatchedWords(VisualWords):
    """Remembers which images words were learned from."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.learned_from = []

    def learn(self, images):
        self.learned_from.append(images.tolist())
        return super().learn(images)


@pytest.fixture
def descriptors():
    rng = np.random.default_rng(0)
    rows = rng.integers(1, 256, (IMAGES, VIEWS, STEP.keypoints, DESCRIPTOR_WIDTH)).astype(np.uint8)
    rows[:, :, 9:] = 0
    # What an image shows depends on its label.
    rows[Y == 1, ..., :64] //= 4
    return list(rows.reshape(IMAGES, VIEWS, -1))


@pytest.fixture
def table(descriptors):
    rng = np.random.default_rng(1)
    columns = {
        kind: rng.random((IMAGES, VIEWS, width), np.float32) for kind, width in (("embedding", 4), ("colour", 2))
    }
    return FeatureTable(columns, np.arange(IMAGES), WatchedWords(STEP, descriptors, VIEWS, 0))


def test_kinds_are_seen_side_by_side_in_the_order_asked_for(table):
    assert (len(table), table.views) == (IMAGES, VIEWS)
    seen = table.see(("colour", "embedding"), None)
    np.testing.assert_array_equal(seen[..., :2], table.columns["colour"])
    np.testing.assert_array_equal(seen[..., 2:], table.columns["embedding"])
    np.testing.assert_array_equal(table.see(("colour",), None, views=1), table.columns["colour"][:, :1])


@pytest.mark.parametrize("places", [slice(3, 9), slice(0, 0), np.array([5, 2, 2])], ids=["slice", "none", "places"])
def test_part_of_a_table_sees_its_own_images(table, places):
    part = table[4:20][places]
    vocabulary = table.learn(("sift_words",))
    kinds = ("embedding", "sift_words")
    np.testing.assert_array_equal(part.see(kinds, vocabulary), table.see(kinds, vocabulary)[4:20][places])
    assert len(part) == len(part.see(kinds, vocabulary))


def test_words_are_shares_of_what_each_view_shows(table, descriptors):
    vocabulary = table[::2].learn(("sift_words", "colour"))
    seen = table.see(("sift_words",), vocabulary)
    assert seen.shape == (IMAGES, VIEWS, STEP.words)
    for image in (0, 7):
        for view in range(VIEWS):
            rows = descriptors[image][view].reshape(-1, DESCRIPTOR_WIDTH)
            np.testing.assert_array_equal(seen[image, view], STEP.count(rows, vocabulary))


def test_only_features_that_learn_are_taught(table):
    assert table.learn(("embedding", "colour")) is None
    assert table.words.learned_from == []


def test_words_come_from_the_first_views_of_the_tables_images(table, descriptors):
    first_views = [rows[0].reshape(-1, DESCRIPTOR_WIDTH) for rows in descriptors]
    np.testing.assert_array_equal(table[3:15].learn(("sift_words",)), STEP.fit(first_views[3:15], 0))


def test_words_are_learned_from_so_many_images_at_most(table, descriptors, monkeypatch):
    monkeypatch.setattr(feature_table, "MAX_LEARNED_IMAGES", 4)
    first_views = [descriptors[image][0].reshape(-1, DESCRIPTOR_WIDTH) for image in (0, 8, 15, 23)]
    np.testing.assert_array_equal(table.learn(("sift_words",)), STEP.fit(first_views, 0))


def test_what_features_learn_they_learn_inside_the_folds(table):
    """No words are ever learned from an image that the model with these words is judged on."""
    search, ends, seed = Search(("logistic", "knn"), (("sift_words", "colour"),), 0), [], 0
    estimate, _ = cross_validate(
        partial(fit_best, search), table, Y, ("a", "b"), 3, seed, lambda *_: ends.append(len(table.words.learned_from))
    )
    starts = [0, *ends[:-1]]
    for (train, held_out), start, end in zip(stratified_folds(Y, 3, seed), starts, ends, strict=True):
        learned = {tuple(images) for images in table.words.learned_from[start:end]}
        inner = {tuple(train[part].tolist()) for part, _ in stratified_folds(Y[train], INNER_FOLDS, seed)}
        assert learned == {*inner, tuple(train.tolist())}
        assert not set(held_out) & {image for images in learned for image in images}
    assert estimate.accuracy == 1.0


def test_words_of_noise_find_no_labels(descriptors):
    words = VisualWords(STEP, descriptors, VIEWS, 0)
    table = FeatureTable({}, np.arange(IMAGES), words)
    shuffled = np.random.default_rng(3).permutation(Y)
    search = Search(("logistic", "svm"), (("sift_words",),), 0)
    estimate, _ = cross_validate(partial(fit_best, search), table, shuffled, ("a", "b"), 3, 0, lambda *_: None)
    assert estimate.accuracy < 0.8


def test_images_without_keypoints_are_told():
    empty = [np.zeros((1, STEP.keypoints * DESCRIPTOR_WIDTH), np.uint8)] * 3
    with pytest.raises(DataError, match="sift_words"):
        FeatureTable({}, np.arange(3), VisualWords(STEP, empty, 1, 0)).learn(("sift_words",))
