"""Several features in one row of numbers, and many images on all cores."""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks.errors import RequestError
from tasks.features.colour import Colour
from tasks.features.gradients import Corners, Edges, Hog
from tasks.features.keypoints import DESCRIPTOR_WIDTH, Blobs, SiftWords, Vocabulary
from tasks.features.texture import Gabor, LocalBinaryPatterns, Tamura
from tasks.features.values import Values
from tasks.vision.images import RgbImage

FeatureStep = Annotated[
    Hog | Gabor | Edges | Corners | Blobs | SiftWords | LocalBinaryPatterns | Tamura | Colour,
    Field(discriminator="name"),
]
FeatureName = Literal["hog", "gabor", "edges", "corners", "blobs", "sift_words", "lbp", "tamura", "colour"]
FEATURES: Mapping[FeatureName, type[FeatureStep]] = {
    "hog": Hog,
    "gabor": Gabor,
    "edges": Edges,
    "corners": Corners,
    "blobs": Blobs,
    "sift_words": SiftWords,
    "lbp": LocalBinaryPatterns,
    "tamura": Tamura,
    "colour": Colour,
}
"""All features by name; each works with its defaults."""

FeatureRows = NDArray[np.float32]
"""N x F: one row for each image."""


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """Features in the order of the values, and what was learned for them.

    Attributes:
        steps: each feature at most once.
        vocabulary: of `sift_words`, where that is among them.
    """

    steps: tuple[FeatureStep, ...]
    vocabulary: Vocabulary | None = None

    def __post_init__(self) -> None:
        names = [step.name for step in self.steps]
        if not names or len(set(names)) < len(names):
            raise RequestError(f"features {', '.join(names) or '(none)'}: name at least one, and each only once")
        words = next((step.words for step in self.steps if isinstance(step, SiftWords)), None)
        expected = None if words is None else (words, DESCRIPTOR_WIDTH)
        found = None if self.vocabulary is None else self.vocabulary.shape
        if found != expected:
            raise RequestError(
                f"the vocabulary of sift_words has the shape {found}, expected {expected}; learn it anew"
            )

    @property
    def width(self) -> int:
        """The number of values of an image."""
        return sum(step.width for step in self.steps)

    def parts(self) -> tuple["FeatureSet", ...]:
        """Return each feature as a set of its own, in order."""
        return tuple(
            FeatureSet((step,), self.vocabulary if isinstance(step, SiftWords) else None) for step in self.steps
        )

    def names(self) -> tuple[str, ...]:
        """Name every value, by its feature, then by what it is."""
        return tuple(name for step in self.steps for name in step.names())

    def extract(self, image: RgbImage) -> Values:
        """Return the values of one image, all features one after the other."""
        return np.concatenate([self._extract(step, image) for step in self.steps])

    def extract_all(self, images: Sequence[RgbImage], *, threads: int = 0) -> FeatureRows:
        """Return the values of many images, N x F, in their order; `threads` 0 takes one per core."""
        with image_threads(threads) as pool:
            rows = list(pool.map(self.extract, images))
        return np.stack(rows) if rows else np.zeros((0, self.width), np.float32)

    def _extract(self, step: FeatureStep, image: RgbImage) -> Values:
        if isinstance(step, SiftWords):
            assert self.vocabulary is not None  # noqa: S101 - checked when the set was made
            return step.extract(image, self.vocabulary)
        return step.extract(image)


@contextmanager
def image_threads(threads: int = 0) -> Iterator[ThreadPoolExecutor]:
    """Give threads that work on an image each: OpenCV, which otherwise divides each image among threads, keeps to one.

    `threads` 0 takes one per core.
    """
    with _WHOLE_IMAGES, ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        yield pool


class _OneThreadEach:
    """OpenCV's number of threads is the process's: the first that enters lowers it, the last that leaves restores."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = cv2.getNumThreads()
                cv2.setNumThreads(1)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                cv2.setNumThreads(self._before)


_WHOLE_IMAGES = _OneThreadEach()
