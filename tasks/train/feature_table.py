"""What is known of images: rows for images, columns by kind of features, some of which learn from images first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

import numpy as np

from tasks.features.keypoints import DESCRIPTOR_WIDTH, Descriptors, SiftWords, Vocabulary
from tasks.train.feature_kinds import FeatureKind
from tasks.train.heads.model import Indices, Views

MAX_LEARNED_IMAGES = 500
"""A vocabulary learns nothing from more."""
KEPT_VOCABULARIES = 16
"""What was learned from as many sets of images is remembered: those of all folds inside one fold, which labels share
but for the rarest."""


class VisualWords:
    """The descriptors of all images, the words that some of them teach, and how often images hold a word."""

    def __init__(self, step: SiftWords, descriptors: Sequence[Descriptors], views: int, seed: int) -> None:
        """Take for each image V x (K x 128) numbers, in any shape."""
        self.views = views
        self._step, self._seed = step, seed
        self._images = [rows.reshape(views, -1, DESCRIPTOR_WIDTH) for rows in descriptors]
        self._learned = lru_cache(KEPT_VOCABULARIES)(self._learn)
        self._counted = lru_cache(KEPT_VOCABULARIES)(self._count)

    def first_views(self, count: int) -> "VisualWords":
        """Return the same of the first views of each image only."""
        return VisualWords(self._step, [image[:count] for image in self._images], count, self._seed)

    def learn(self, images: Indices) -> Vocabulary:
        """Return the words of some images, of `MAX_LEARNED_IMAGES` of them at most, by their first views.

        Raises:
            DataError: when they have too few keypoints.
        """
        return self._learned(tuple(images.tolist()))

    def shares(self, vocabulary: Vocabulary) -> Views:
        """Return N x V x W: of all images and views the share of each word among the keypoints."""
        return self._counted(vocabulary.tobytes())

    def _learn(self, images: tuple[int, ...]) -> Vocabulary:
        # Evenly spaced, for images come label by label.
        places = np.linspace(0, len(images) - 1, min(len(images), MAX_LEARNED_IMAGES)).round().astype(np.intp)
        return self._step.fit([self._images[images[place]][0] for place in places], self._seed)

    def _count(self, vocabulary: bytes) -> Views:
        words = np.frombuffer(vocabulary, np.float32).reshape(-1, DESCRIPTOR_WIDTH)
        return np.stack([[self._step.count(view, words) for view in image] for image in self._images])


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """Features of N images in V views; a slice of it is a table of some of its images.

    Attributes:
        columns: by kind of features, of all images there are, A x V x F each.
        images: which of them are the table's, N indices.
        words: what `sift_words` comes from, where it is known.
    """

    columns: Mapping[FeatureKind, Views]
    images: Indices
    words: VisualWords | None = None

    @classmethod
    def of(cls, columns: Mapping[FeatureKind, Views]) -> Self:
        """Return the table of all images."""
        return cls(columns, np.arange(len(next(iter(columns.values())))))

    @property
    def views(self) -> int:
        """How many views there are of each image, itself among them."""
        return self.words.views if self.words else next(iter(self.columns.values())).shape[1]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, places: Indices | slice) -> Self:
        return replace(self, images=self.images[places])

    def first_views(self, count: int) -> Self:
        """Return the table of the first `count` views of each image."""
        columns = {kind: block[:, :count] for kind, block in self.columns.items()}
        return replace(self, columns=columns, words=self.words.first_views(count) if self.words else None)

    def learn(self, kinds: Sequence[FeatureKind]) -> Vocabulary | None:
        """Return what these images teach those kinds of features that learn; None when none of them does."""
        return self.words.learn(self.images) if self.words and "sift_words" in kinds else None

    def see(self, kinds: Sequence[FeatureKind], vocabulary: Vocabulary | None, views: int | None = None) -> Views:
        """Return N x V x F features of some kinds, side by side; the first `views` views, or all."""
        return np.concatenate([self._block(kind, vocabulary)[self.images, :views] for kind in kinds], axis=-1)

    def learner(self, kinds: Sequence[FeatureKind], views: int | None = None) -> Callable[[Indices], Views]:
        """Return what gives the features of all images, given the places of those that are learned from."""
        return lambda places: self.see(kinds, self[places].learn(kinds), views)

    def _block(self, kind: FeatureKind, vocabulary: Vocabulary | None) -> Views:
        if self.words and vocabulary is not None and kind == "sift_words":
            return self.words.shares(vocabulary)
        return self.columns[kind]
