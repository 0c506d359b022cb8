import hashlib
from dataclasses import replace

import numpy as np
import pytest

from tasks.bundle.adjustments import Grey
from tasks.bundle.preprocessing import Normalise, frame, standard_steps
from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.errors import SourceChanged
from tasks.features.colour import Colour
from tasks.features.feature_set import FeatureSet
from tasks.features.gradients import Hog
from tasks.features.keypoints import DESCRIPTOR_WIDTH, SiftWords
from tasks.features.texture import Tamura
from tasks.stores.content import ContentStore
from tasks.train import feature_cache
from tasks.train.engineered import descriptor_cache, engineered_cache
from tasks.train.views import VIEWS
from tests.makers import SHAPES, paint_shape, png_bytes

STEPS = standard_steps(64)
SET = FeatureSet((Colour(), Tamura()))
WORDS = SiftWords(words=4, keypoints=20)


def ignore(done, total):
    pass


@pytest.fixture
def store(tmp_path):
    return ContentStore(tmp_path / "store")


@pytest.fixture
def entries(tmp_path):
    found = []
    for number in range(10):
        data = png_bytes(paint_shape(SHAPES[number % len(SHAPES)], 80, (number,)))
        (tmp_path / f"{number}.png").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        found.append(ImageEntry(f"{number}.png", digest, 80, 80, Truth(labels=("a",)), group=""))
    return found


@pytest.fixture
def framed():
    return [frame(paint_shape(SHAPES[number % len(SHAPES)], 80, (number,)), STEPS) for number in range(10)]


def test_rows_are_those_of_the_framed_images(store, entries, framed, tmp_path):
    rows = engineered_cache(store, SET, STEPS).features(tmp_path, entries, ignore)
    np.testing.assert_array_equal(rows, SET.extract_all(framed)[:, None])


def test_views_follow_the_image(store, entries, framed, tmp_path):
    rows = engineered_cache(store, SET, STEPS, VIEWS).features(tmp_path, entries, ignore)
    for place, view in enumerate(VIEWS, start=1):
        np.testing.assert_array_equal(rows[:, place], SET.extract_all([view.apply(image) for image in framed]))
    np.testing.assert_array_equal(rows[:, 0], SET.extract_all(framed))


@pytest.mark.parametrize(
    ("other", "steps", "computed"),
    [
        pytest.param(SET, STEPS, 0, id="the same"),
        pytest.param(FeatureSet((Tamura(), Colour())), STEPS, 0, id="another order"),
        pytest.param(FeatureSet((Tamura(),)), STEPS, 0, id="one of them"),
        pytest.param(SET, (STEPS[0], Normalise(mean=(0.0, 0.0, 0.0))), 0, id="other normalising"),
        pytest.param(FeatureSet((Colour(), Hog())), STEPS, 10, id="one more"),
        pytest.param(FeatureSet((Colour(hues=4), Tamura())), STEPS, 10, id="other settings"),
        pytest.param(SET, standard_steps(72), 10, id="other size"),
        pytest.param(SET, standard_steps(64, [Grey()]), 10, id="adjusted"),
    ],
)
def test_only_what_is_new_is_computed(other, steps, computed, store, entries, tmp_path):
    engineered_cache(store, SET, STEPS).features(tmp_path, entries, ignore)
    cache = engineered_cache(store, other, steps)
    rows = cache.features(tmp_path, entries, ignore)
    assert cache.computed == computed
    assert rows.shape == (10, 1, other.width)
    images = [frame(paint_shape(SHAPES[number % len(SHAPES)], 80, (number,)), steps) for number in range(10)]
    np.testing.assert_array_equal(rows, other.extract_all(images)[:, None])


def test_known_feature_is_not_computed_beside_a_new_one(store, entries, tmp_path, monkeypatch):
    engineered_cache(store, SET, STEPS).features(tmp_path, entries, ignore)
    monkeypatch.setattr(Colour, "extract", lambda *_: pytest.fail("computed again"))
    cache = engineered_cache(store, FeatureSet((Colour(), Hog())), STEPS)
    assert cache.features(tmp_path, entries, ignore).shape == (10, 1, Colour().width + Hog().width)


def test_killed_between_shards_goes_on(store, entries, framed, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache, "SHARD_IMAGES", 4)

    def kill(done, total):
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engineered_cache(store, SET, STEPS).features(tmp_path, entries, kill)
    cache = engineered_cache(store, SET, STEPS)
    np.testing.assert_array_equal(cache.features(tmp_path, entries, ignore), SET.extract_all(framed)[:, None])
    assert cache.computed == 6


def test_descriptors_are_those_of_the_framed_images(store, entries, framed, tmp_path):
    found = 0
    (rows,) = descriptor_cache(store, WORDS, STEPS, VIEWS[:1]).rows(tmp_path, entries, ignore)
    for row, image in zip(rows, framed, strict=True):
        assert (row.shape, row.dtype) == ((2, WORDS.keypoints * DESCRIPTOR_WIDTH), np.uint8)
        for filled, view in zip(row.reshape(2, -1, DESCRIPTOR_WIDTH), (image, VIEWS[0].apply(image)), strict=True):
            described = WORDS.describe(view)
            found += len(described)
            np.testing.assert_array_equal(filled[: len(described)], described)
            assert not filled[len(described) :].any()
    assert found > len(entries)


@pytest.mark.parametrize(
    ("step", "computed"),
    [
        pytest.param(SiftWords(words=9, keypoints=20), 0, id="other words"),
        pytest.param(SiftWords(words=4, keypoints=21), 10, id="other keypoints"),
    ],
)
def test_descriptors_do_not_depend_on_the_words(step, computed, store, entries, tmp_path):
    descriptor_cache(store, WORDS, STEPS).rows(tmp_path, entries, ignore)
    cache = descriptor_cache(store, step, STEPS)
    cache.rows(tmp_path, entries, ignore)
    assert cache.computed == computed


def test_changed_source_is_refused(store, entries, tmp_path):
    entries[3] = replace(entries[3], sha256="0" * 64)
    with pytest.raises(SourceChanged):
        engineered_cache(store, SET, STEPS).features(tmp_path, entries, ignore)
    with pytest.raises(SourceChanged):
        descriptor_cache(store, WORDS, STEPS).rows(tmp_path, entries, ignore)
