import numpy as np
import pytest

from tasks.train.heads.search import fit_head
from tasks.train.heads.thresholds import MIN_VALIDATION_IMAGES, choose_thresholds, one_label_each
from tests.tasks.train.heads.blobs import blobs


@pytest.mark.parametrize("count", [0, MIN_VALIDATION_IMAGES - 1, MIN_VALIDATION_IMAGES])
def test_thresholds_come_from_validation_when_it_has_enough_images(count: int) -> None:
    truths = one_label_each(np.array([0] * 10 + [1] * 10), 2)
    held_truths = one_label_each(np.array([0] * count + [1] * 30, dtype=np.intp), 2)
    out_of_fold, held = np.where(truths, 0.9, 0.1), np.where(held_truths, 0.3, 0.2)
    thresholds = choose_thresholds((out_of_fold, truths), (held, held_truths), ("a", "b"))
    # Without an image of `a`, nothing stands below the confidences of `b`.
    assert thresholds["b"] == pytest.approx(0.25 if count else 0.15)
    assert thresholds["a"] == pytest.approx(0.25 if count >= MIN_VALIDATION_IMAGES else 0.5)


def test_thresholds_without_validation() -> None:
    features, y = blobs((8, 8, 8), 30, 2.0)
    head = fit_head("logistic", features, y, 0)
    thresholds = choose_thresholds((head.out_of_fold, one_label_each(y, 3)), None, ("a", "b", "c"))
    assert set(thresholds) == {"a", "b", "c"}
    assert all(0.0 < threshold < 1.0 for threshold in thresholds.values())


def test_a_label_that_all_images_have_alike_is_given_to_none() -> None:
    truths = np.array([[True, True], [False, True], [False, False], [False, True]])
    scores = np.array([[0.25, 0.9], [0.25, 0.9], [0.25, 0.1], [0.25, 0.8]])
    assert choose_thresholds((scores, truths), None, ["rare", "usual"]) == pytest.approx({"rare": 0.5, "usual": 0.45})


def test_thresholds_of_several_labels_per_image() -> None:
    truths = np.array([[True, True], [True, False], [False, False], [False, True]])
    confidences = np.where(truths, 0.8, [0.2, 0.4])
    thresholds = choose_thresholds((confidences, truths), None, ("a", "b"))
    assert thresholds == pytest.approx({"a": 0.5, "b": 0.6})
