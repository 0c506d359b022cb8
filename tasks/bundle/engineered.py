"""The engineered features that a classifier sees, as a bundle names and keeps them."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from tasks.errors import BundleError, RequestError
from tasks.features.feature_set import FEATURES, FeatureSet, FeatureStep
from tasks.features.vocabulary import read_vocabulary, write_vocabulary


class VocabularyFile(BaseModel, frozen=True, extra="forbid"):
    """The visual words of `sift_words`."""

    file: Literal["vocabulary.npy"] = "vocabulary.npy"
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class EngineeredFeatures(BaseModel, frozen=True, extra="forbid"):
    """What a head sees of a framed image, beside a backbone's features and behind them.

    Attributes:
        steps: the features, in the order of their columns.
        vocabulary: of `sift_words`, where that is among them.
    """

    steps: tuple[FeatureStep, ...] = Field(min_length=1, max_length=len(FEATURES))
    vocabulary: VocabularyFile | None = None


def write_features(folder: Path, features: FeatureSet) -> EngineeredFeatures:
    """Write what was learned for the features into a bundle's folder; returns what the card says of them."""
    if features.vocabulary is None:
        return EngineeredFeatures(steps=features.steps)
    digest = write_vocabulary(folder, features.vocabulary)
    return EngineeredFeatures(steps=features.steps, vocabulary=VocabularyFile(sha256=digest))


def read_features(folder: Path, features: EngineeredFeatures) -> FeatureSet:
    """Open the features of a bundle, the digest of the vocabulary verified.

    Raises:
        BundleError: when a feature repeats, or the vocabulary is missing, damaged, or not that of the features.
    """
    words = features.vocabulary
    try:
        return FeatureSet(features.steps, None if words is None else read_vocabulary(folder, words.sha256))
    except RequestError as error:
        raise BundleError(f"the features of the bundle in {folder} do not fit: {error.message}") from error
