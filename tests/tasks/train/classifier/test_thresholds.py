import numpy as np
import pytest

from tasks.train.classifier.thresholds import Judged, choose_thresholds
from tasks.train.heads.thresholds import MIN_VALIDATION_IMAGES

MANY = MIN_VALIDATION_IMAGES


def judged(name, counts, sure):
    """Images of each label, given their own label with a confidence of the label's own."""
    y = np.repeat(np.arange(len(counts)), counts)
    probabilities = np.full((len(y), len(counts)), 0.01)
    probabilities[np.arange(len(y)), y] = np.array(sure)[y]
    return Judged(name, probabilities, y[:, None] == np.arange(len(counts)))


def test_label_with_enough_images_has_its_own():
    thresholds, sources = choose_thresholds("ab", [judged("validation", (MANY, MANY), (0.9, 0.3))])
    assert 0.01 < thresholds["b"] <= 0.3 < thresholds["a"] <= 0.9
    assert sources == {"a": "validation", "b": "validation"}


def test_folds_serve_where_validation_is_small():
    few, all_images = judged("validation", (MANY, 2), (0.9, 0.1)), judged("folds", (MANY + 1, MANY), (0.5, 0.8))
    thresholds, sources = choose_thresholds("ab", [few, all_images])
    assert sources == {"a": "validation", "b": "folds"}
    assert thresholds["a"] == choose_thresholds("ab", [few])[0]["a"]
    assert 0.1 < thresholds["b"] <= 0.8


@pytest.mark.parametrize("sure", [(0.9, 0.9), (0.9, 0.6)])
def test_small_labels_share_one(sure):
    thresholds, sources = choose_thresholds("ab", [judged("validation", (3, 2), sure)])
    assert thresholds["a"] == thresholds["b"] <= min(sure)
    assert set(sources.values()) == {"validation, all labels together"}
