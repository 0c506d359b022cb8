import hashlib

import cv2
import numpy as np
import pytest

from tasks.errors import BundleError, DataError
from tasks.features.keypoints import DESCRIPTOR_WIDTH, Blobs, SiftWords
from tasks.features.vocabulary import VOCABULARY_FILE, read_vocabulary, write_vocabulary
from tests.makers import SHAPES, paint_shape

WORDS = SiftWords(words=8)


def spots(radius, count, side=128, ink=220):
    """Round spots on a raster."""
    image = np.full((side, side, 3), 60, np.uint8)
    step = side // count
    for y in range(step // 2, side, step):
        for x in range(step // 2, side, step):
            cv2.circle(image, (x, y), radius, (ink,) * 3, -1)
    return image


def named(step, image):
    return dict(zip(step.names(), step.extract(image), strict=True))


def roots_of(pictures):
    """RootSIFT, as its paper defines it."""
    rows = np.concatenate([WORDS.describe(picture) for picture in pictures]).astype(float)
    return np.sqrt(rows / np.abs(rows).sum(axis=1, keepdims=True))


@pytest.fixture(scope="module")
def pictures():
    return [paint_shape(SHAPES[number % 6], 96, (number,)) for number in range(12)]


@pytest.fixture(scope="module")
def vocabulary(pictures):
    return WORDS.fit([WORDS.describe(picture) for picture in pictures], seed=3)


@pytest.mark.parametrize(("radius", "sigma"), [(3, 2), (6, 4), (12, 8)])
@pytest.mark.parametrize(("ink", "tone"), [(220, "bright"), (5, "dark")])
def test_blobs_answer_to_the_scale_of_their_size(radius, sigma, ink, tone):
    values = named(Blobs(), spots(radius, 2, ink=ink))
    highest = {name: value for name, value in values.items() if name.endswith("/highest")}
    assert max(highest, key=highest.get) == f"blobs/sigma_{sigma}/{tone}/highest"


def test_blobs_are_counted():
    few, many = (named(Blobs(), spots(3, count))["blobs/sigma_2/bright/count"] for count in (2, 4))
    assert many == pytest.approx(4 * few)
    assert few * (128 / 16) ** 2 == pytest.approx(4)


def test_values_are_shares_of_the_words(pictures, vocabulary):
    values = WORDS.extract(pictures[0], vocabulary)
    assert values.sum() == pytest.approx(1.0)
    rows = roots_of([pictures[0]])
    distances = np.linalg.norm(rows[:, None] - vocabulary[None], axis=2)
    expected = np.bincount(distances.argmin(axis=1), minlength=8) / len(rows)
    np.testing.assert_allclose(values, expected, atol=1e-6)


def test_descriptors_are_sifts(pictures):
    found = WORDS.describe(pictures[0])
    _, plain = cv2.SIFT.create(nfeatures=500).detectAndCompute(cv2.cvtColor(pictures[0], cv2.COLOR_RGB2GRAY), None)
    np.testing.assert_array_equal(found, plain)


def test_rows_of_zeros_stand_for_no_keypoint(pictures, vocabulary):
    described = [WORDS.describe(picture) for picture in pictures]
    filled = [np.concatenate([rows, np.zeros((5, DESCRIPTOR_WIDTH), np.uint8)]) for rows in described]
    np.testing.assert_array_equal(WORDS.fit(filled, seed=3), vocabulary)
    np.testing.assert_array_equal(WORDS.count(filled[0], vocabulary), WORDS.extract(pictures[0], vocabulary))


def test_no_more_keypoints_than_asked_for():
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    assert len(SiftWords(keypoints=50).describe(cv2.GaussianBlur(noise, (5, 5), 0))) == 50


def test_words_are_the_centres_of_what_is_nearest(pictures, vocabulary):
    rows = roots_of(pictures)
    nearest = np.linalg.norm(rows[:, None] - vocabulary[None], axis=2).argmin(axis=1)
    centres = np.array([rows[nearest == word].mean(axis=0) for word in range(8)])
    assert np.linalg.norm(centres - vocabulary, axis=1).max() < 0.1


@pytest.mark.parametrize("threads", [1, 2])
def test_equal_seeds_learn_equal_words(threads, pictures, vocabulary):
    before = cv2.getNumThreads()
    cv2.setNumThreads(threads)
    try:
        cv2.setRNGSeed(99)
        again = WORDS.fit([WORDS.describe(picture) for picture in pictures], seed=3)
    finally:
        cv2.setNumThreads(before)
    np.testing.assert_array_equal(again, vocabulary)


def test_image_without_keypoints_has_no_words(vocabulary):
    assert not WORDS.extract(np.full((64, 64, 3), 90, np.uint8), vocabulary).any()


@pytest.mark.parametrize(
    "images",
    [[], [np.full((64, 64, 3), 90, np.uint8)], [paint_shape("ring", 24, (1,))] * 50],
    ids=["no image", "even image", "one image again and again"],
)
def test_too_few_keypoints_are_told(images):
    step = SiftWords(words=200)
    with pytest.raises(DataError, match="fewer than the 200 words"):
        step.fit([step.describe(image) for image in images], seed=0)


def test_vocabulary_comes_back_from_its_file(vocabulary, tmp_path):
    digest = write_vocabulary(tmp_path, vocabulary)
    np.testing.assert_array_equal(read_vocabulary(tmp_path, digest), vocabulary)
    with pytest.raises(BundleError, match="digest"):
        read_vocabulary(tmp_path, "0" * 64)
    (tmp_path / VOCABULARY_FILE).unlink()
    with pytest.raises(BundleError, match="missing"):
        read_vocabulary(tmp_path, digest)


NO_WORDS = {
    "one axis": np.zeros(DESCRIPTOR_WIDTH, np.float32),
    "other width": np.zeros((3, 64), np.float32),
    "doubles": np.zeros((3, DESCRIPTOR_WIDTH)),
    "not finite": np.full((3, DESCRIPTOR_WIDTH), np.nan, np.float32),
}


@pytest.mark.parametrize("array", NO_WORDS.values(), ids=NO_WORDS.keys())
def test_array_that_is_no_vocabulary_is_refused(array, tmp_path):
    with pytest.raises(BundleError, match="no visual words"):
        read_vocabulary(tmp_path, write_vocabulary(tmp_path, array))


def test_array_that_claims_to_be_huge_is_refused(vocabulary, tmp_path):
    write_vocabulary(tmp_path, vocabulary)
    path = tmp_path / VOCABULARY_FILE
    # Spaces fill the header up, so that a longer one takes their place.
    data = path.read_bytes().replace(b"(8, 128), }" + b" " * 15, b"(8" + b"0" * 15 + b", 128), }")
    assert b"(80" in data
    path.write_bytes(data)
    with pytest.raises(BundleError, match="no array"):
        read_vocabulary(tmp_path, hashlib.sha256(data).hexdigest())


def test_pickle_is_refused(tmp_path):
    path = tmp_path / VOCABULARY_FILE
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(BundleError, match="no array"):
        read_vocabulary(tmp_path, hashlib.sha256(path.read_bytes()).hexdigest())
