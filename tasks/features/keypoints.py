"""Features of salient places: blobs of every size, and SIFT's descriptors as a bag of visual words."""

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from tasks.errors import DataError
from tasks.features.values import GreyPlane, Values, as_values, grey_bytes, grey_plane, octaves
from tasks.vision.images import RgbImage

DESCRIPTOR_WIDTH = 128
MAX_DESCRIPTORS = 20_000
"""Descriptors that a vocabulary is learned from at most; drawn from all of them."""
_ITERATIONS, _TRIALS = 20, 1
"""Every fold learns words anew. Measured on photographs: 50 iterations, the best of 3 trials and 50,000 descriptors
take 13 times as long, and bring the descriptors nearer to their words by 0.7 %."""
_DEVIATION = 2.0

Descriptors = NDArray[np.uint8]
"""K x 128: SIFT's own whole numbers, one row for each keypoint; a row of zeros stands for none."""
Vocabulary = NDArray[np.float32]
"""W x 128: the visual words, in the order of the values."""


class Blobs(BaseModel, frozen=True, extra="forbid"):
    """Statistics of bright and of dark blobs by size: how many there are, and how much they stand out.

    Blobs are the maxima of the Laplacian of a Gaussian, normalised for its scale; a blob of radius r answers most to
    the standard deviation r / sqrt(2).

    Source: Lindeberg, "Feature Detection with Automatic Scale Selection", International Journal of Computer Vision 30,
    1998. Here the image is halved for each octave, as in a pyramid.

    Attributes:
        scales: standard deviations of the Gaussian: 2, 4, 8 pixels and so on.
        threshold: least response of a blob, for grey values from 0 to 1.
    """

    name: Literal["blobs"] = "blobs"
    version: Literal[1] = 1
    scales: int = Field(default=4, ge=1, le=6)
    threshold: float = Field(default=0.1, gt=0.0, le=1.0)

    @property
    def width(self) -> int:
        """The number of values."""
        return 6 * self.scales

    def names(self) -> tuple[str, ...]:
        """Name the values: scale as the standard deviation in pixels."""
        return tuple(
            f"blobs/sigma_{2 ** (scale + 1)}/{tone}/{statistic}"
            for scale in range(self.scales)
            for tone in ("bright", "dark")
            for statistic in ("count", "mean", "highest")
        )

    def extract(self, image: RgbImage) -> Values:
        """Return per scale and tone the blobs per window of 8 deviations, and their mean and highest response."""
        statistics: list[float] = []
        for level in octaves(grey_plane(image), self.scales):
            smooth = cv2.GaussianBlur(level, (0, 0), _DEVIATION)
            response = np.asarray(cv2.Laplacian(smooth, cv2.CV_32F), np.float32) * np.float32(_DEVIATION**2)
            for signed in (-response, response):
                statistics += self._statistics(signed)
        return as_values(statistics)

    def _statistics(self, response: GreyPlane) -> tuple[float, float, float]:
        is_highest = response == cv2.dilate(response, np.ones((3, 3), np.uint8))
        found = response[is_highest & (response > self.threshold)]
        windows = response.size / (8 * _DEVIATION) ** 2
        return (found.size / windows, float(found.mean()), float(found.max())) if found.size else (0.0, 0.0, 0.0)


class SiftWords(BaseModel, frozen=True, extra="forbid"):
    """A bag of visual words: how often each of a vocabulary's words is the nearest to a keypoint's descriptor.

    The vocabulary is learned from training images by `fit`, and `extract` is given it: the step itself learns nothing.
    Descriptors are compared by the Hellinger kernel (RootSIFT).

    Sources: Csurka and others, "Visual Categorization with Bags of Keypoints", ECCV workshop 2004; Lowe, "Distinctive
    Image Features from Scale-Invariant Keypoints", International Journal of Computer Vision 60, 2004; Arandjelovic and
    Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012.

    Attributes:
        words: size of the vocabulary.
        keypoints: the strongest of an image that are described.
    """

    name: Literal["sift_words"] = "sift_words"
    version: Literal[1] = 1
    words: int = Field(default=64, ge=2, le=4096)
    keypoints: int = Field(default=500, ge=1, le=10_000)

    @property
    def width(self) -> int:
        """The number of values."""
        return self.words

    def names(self) -> tuple[str, ...]:
        """Name the values by the word's place in the vocabulary."""
        return tuple(f"sift_words/word_{place}" for place in range(self.words))

    def describe(self, image: RgbImage) -> Descriptors:
        """Return the descriptors of the strongest keypoints; an even image has none."""
        # An object for each call: threads must not share one.
        _, found = cv2.SIFT.create(nfeatures=self.keypoints).detectAndCompute(grey_bytes(image), None)
        if found is None:
            return np.zeros((0, DESCRIPTOR_WIDTH), np.uint8)
        # Of equally strong keypoints OpenCV gives all.
        return np.asarray(found[: self.keypoints], np.uint8)

    def fit(self, descriptors: Sequence[Descriptors], seed: int) -> Vocabulary:
        """Learn the words, k-means' centres, from the descriptors of training images.

        Raises:
            DataError: when there are fewer different descriptors than words.
        """
        found = np.concatenate([np.zeros((0, DESCRIPTOR_WIDTH), np.uint8), *map(_described, descriptors)])
        if len(found) > MAX_DESCRIPTORS:
            found = found[np.sort(np.random.default_rng(seed).choice(len(found), MAX_DESCRIPTORS, replace=False))]
        rows = _roots(found)
        different = len(np.unique(rows, axis=0))
        if different < self.words:
            raise DataError(
                f"the training images give {different} different SIFT descriptors, fewer than the {self.words} words "
                "of sift_words; ask for fewer words, or leave sift_words out"
            )
        cv2.setRNGSeed(seed)
        ends = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, _ITERATIONS, 1e-4)
        nearest = np.zeros((len(rows), 1), np.int32)
        _, _, centres = cv2.kmeans(rows, self.words, nearest, ends, _TRIALS, cv2.KMEANS_PP_CENTERS)
        return np.asarray(centres, np.float32)

    def extract(self, image: RgbImage, vocabulary: Vocabulary) -> Values:
        """Return the share of each word among the image's keypoints; all 0 without keypoints."""
        return self.count(self.describe(image), vocabulary)

    def count(self, descriptors: Descriptors, vocabulary: Vocabulary) -> Values:
        """Return what `extract` does, of an image's descriptors."""
        rows = _roots(_described(descriptors))
        if not len(rows):
            return np.zeros(self.words, np.float32)
        distances = (vocabulary**2).sum(axis=1) - 2 * rows @ vocabulary.T
        counts = np.bincount(distances.argmin(axis=1), minlength=self.words)
        return as_values(counts / len(rows))


def _described(descriptors: Descriptors) -> Descriptors:
    return descriptors[descriptors.any(axis=1)]


def _roots(descriptors: Descriptors) -> NDArray[np.float32]:
    """Return rows of Euclidean length 1, whose products are the Hellinger kernel of the descriptors."""
    rows = descriptors.astype(np.float32)
    return np.asarray(np.sqrt(rows / rows.sum(axis=1, keepdims=True)), np.float32)
