import threading
from typing import get_args

import cv2
import numpy as np
import pytest

from tasks.errors import RequestError
from tasks.features.colour import Colour
from tasks.features.feature_set import FEATURES, FeatureName, FeatureSet, image_threads
from tasks.features.gradients import Hog
from tasks.features.keypoints import DESCRIPTOR_WIDTH, SiftWords
from tasks.features.texture import LocalBinaryPatterns, Tamura
from tests.makers import SHAPES, paint_shape

WORDS = SiftWords(words=4)
VOCABULARY = np.random.default_rng(0).random((4, DESCRIPTOR_WIDTH), np.float32)


@pytest.fixture(scope="module")
def pictures():
    return [paint_shape(SHAPES[number % 6], 64 + number, (number,)) for number in range(10)]


def test_all_features_at_once_one_after_the_other(pictures):
    steps = tuple(WORDS if name == "sift_words" else feature() for name, feature in FEATURES.items())
    features = FeatureSet(steps, WORDS.fit([WORDS.describe(picture) for picture in pictures], seed=1))
    rows = features.extract_all(pictures)
    assert rows.shape == (len(pictures), features.width)
    assert len(features.names()) == len(set(features.names())) == features.width
    start = 0
    for step, alone in zip(steps, features.parts(), strict=True):
        assert alone.steps == (step,)
        np.testing.assert_array_equal(rows[:, start : start + step.width], alone.extract_all(pictures))
        assert features.names()[start : start + step.width] == step.names()
        start += step.width


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_threads_change_nothing(threads, pictures):
    features = FeatureSet((Tamura(), Hog(), WORDS), VOCABULARY)
    expected = np.stack([features.extract(picture) for picture in pictures])
    np.testing.assert_array_equal(features.extract_all(pictures, threads=threads), expected)


def test_order_is_as_given(pictures):
    features = FeatureSet((Colour(), Tamura()))
    turned = FeatureSet((Tamura(), Colour()))
    np.testing.assert_array_equal(np.roll(features.extract(pictures[0]), 3), turned.extract(pictures[0]))
    assert turned.names()[:3] == Tamura().names()


def test_no_image_gives_no_row():
    assert FeatureSet((Colour(),)).extract_all([]).shape == (0, Colour().width)


def test_every_feature_has_a_name_of_its_own():
    assert tuple(FEATURES) == get_args(FeatureName)
    assert all(feature().name == name for name, feature in FEATURES.items())


@pytest.mark.parametrize(
    ("steps", "vocabulary", "words"),
    [
        pytest.param((), None, "at least one", id="none"),
        pytest.param((Colour(), Colour(hues=3)), None, "only once", id="twice"),
        pytest.param((WORDS,), None, "vocabulary", id="no vocabulary"),
        pytest.param((WORDS,), VOCABULARY[:3], "vocabulary", id="other number of words"),
        pytest.param((LocalBinaryPatterns(),), VOCABULARY, "vocabulary", id="vocabulary of nothing"),
    ],
)
def test_set_that_makes_no_sense_is_refused(steps, vocabulary, words):
    with pytest.raises(RequestError, match=words):
        FeatureSet(steps, vocabulary)


def test_opencv_keeps_to_one_thread_until_the_last_has_left():
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    first_left, inside = threading.Event(), threading.Event()
    seen = []

    def second():
        with image_threads(1):
            inside.set()
            first_left.wait(10)
            seen.append(cv2.getNumThreads())

    try:
        other = threading.Thread(target=second)
        with image_threads(1):
            other.start()
            assert inside.wait(10)
            seen.append(cv2.getNumThreads())
        first_left.set()
        other.join()
        assert seen == [1, 1]
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


def test_failure_restores_opencvs_threads():
    before = cv2.getNumThreads()
    with pytest.raises(ValueError, match="broken"), image_threads():
        raise ValueError("broken")
    assert cv2.getNumThreads() == before
