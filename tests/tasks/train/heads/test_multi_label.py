import numpy as np
import onnx
import pytest

from tasks.bundle.predictor import OnnxNetwork
from tasks.metrics.multi_label import measure_multi_label
from tasks.train.build_bundle import head_to_onnx
from tasks.train.heads import forest
from tasks.train.heads.model import HeadName, Matrix
from tasks.train.heads.multi_label import fit_multi_label_head, shared_folds
from tasks.train.heads.search import INNER_FOLDS, KINDS, SeenBy, fit_head_and_features
from tasks.train.heads.thresholds import choose_thresholds

LABELS = ("scratch", "dent", "stain")


def _parts(images: int, seed: int) -> tuple[Matrix, np.ndarray]:
    """Return features and N x 3 truths: each label adds a pattern of its own; some images carry none."""
    rng = np.random.default_rng(seed)
    truths = rng.random((images, 3)) < (0.5, 0.3, 0.2)
    patterns = np.random.default_rng(7).normal(size=(3, 24))
    return (truths @ patterns * 2.0 + rng.normal(size=(images, 24))).astype(np.float32), truths


def seen(features: Matrix) -> SeenBy:
    return lambda _: features[:, None]


@pytest.mark.parametrize("name", [*KINDS, "ensemble"])
def test_labels_are_learned_apart_from_each_other(name: HeadName, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forest, "TREES", 16)
    features, truths = _parts(90, 0)
    unseen, unseen_truths = _parts(90, 1)
    assert not truths.all(axis=1).all()
    assert not truths.any(axis=1).all()
    head = fit_multi_label_head(name, seen(features), truths, 0)
    thresholds = choose_thresholds((head.out_of_fold, truths), None, LABELS)
    metrics = measure_multi_label(unseen_truths, head.probabilities(unseen), LABELS, thresholds)
    assert metrics.micro_f1 > 0.7
    assert metrics.mean_average_precision > 0.8
    data = head_to_onnx(head)
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    for rows in (features, unseen):
        np.testing.assert_allclose(OnnxNetwork(data, threads=1).run(rows), head.probabilities(rows), atol=1e-5)


def test_columns_are_the_heads_of_each_label() -> None:
    features, truths = _parts(60, 0)
    head = fit_multi_label_head("logistic", seen(features), truths, 3)
    (divided,) = {id(folds): folds for folds in shared_folds(truths, 3)}.values()
    alone = [
        fit_head_and_features("logistic", seen(features), truth.astype(np.intp), 3, divided=divided)
        for truth in truths.T
    ]
    np.testing.assert_array_equal(head.out_of_fold, np.column_stack([one.out_of_fold[:, 1] for one in alone]))
    assert head.chosen == {"strength": ", ".join(f"{one.chosen['strength']:.4g}" for one in alone)}
    assert head.probabilities(features[:0]).shape == (0, 3)


def test_features_learn_once_for_all_labels() -> None:
    features, truths = _parts(60, 0)
    learned_from = set()

    def seen_by(places: np.ndarray) -> np.ndarray:
        learned_from.add(tuple(places.tolist()))
        return features[:, None]

    fit_multi_label_head("logistic", seen_by, truths, 3)
    assert len(learned_from) == INNER_FOLDS + 1


def test_a_label_that_folds_part_from_what_is_learned_has_its_own() -> None:
    features, truths = _parts(60, 0)
    groups = np.arange(60)
    groups[:2] = 0
    of_one_group = np.arange(60) < 2
    # On every learning side of the others' folds there are images with it, though there are fewer than folds.
    rare = np.isin(np.arange(60), [held_out[0] for _, held_out in shared_folds(truths, 3, groups)[0][:2]])
    more = np.column_stack([truths, of_one_group, rare])
    frequent, *others, own, shared = shared_folds(more, 3, groups)
    assert own is None
    assert all(one is frequent for one in (*others, shared))
    for train, held_out in frequent:
        assert not set(groups[train]) & set(groups[held_out])
    head = fit_multi_label_head("logistic", seen(features), more, 3, groups)
    without = fit_multi_label_head("logistic", seen(features), truths, 3, groups)
    np.testing.assert_array_equal(head.out_of_fold[:, :3], without.out_of_fold)
    assert np.isfinite(head.out_of_fold).all()
    assert shared_folds(more[:, 3:4], 3, groups) == [None]


def test_further_views_are_learned_from_by_every_label() -> None:
    features, truths = _parts(60, 0)
    both = np.stack([features, features + np.float32(0.5)], axis=1)
    head = fit_multi_label_head("logistic", lambda _: both, truths, 3)
    divided = shared_folds(truths, 3)[1]
    alone = fit_head_and_features("logistic", lambda _: both, truths[:, 1].astype(np.intp), 3, divided=divided)
    np.testing.assert_array_equal(head.out_of_fold[:, 1], alone.out_of_fold[:, 1])


@pytest.mark.parametrize("count", [0, 1, 19, 20])
def test_label_that_cannot_be_learned_is_answered_by_its_share(count: int) -> None:
    features, _ = _parts(20, 0)
    truths = np.column_stack([np.arange(20) % 2 == 0, np.arange(20) < count])
    head = fit_multi_label_head("svm", seen(features), truths, 0)
    assert set(head.out_of_fold[:, 1]) == {count / 20}
    assert all(chosen.endswith(", -") for chosen in head.chosen.values())
    answers = OnnxNetwork(head_to_onnx(head), threads=1).run(features)
    np.testing.assert_allclose(answers, head.probabilities(features), atol=1e-6)
    assert answers[:, 1] == pytest.approx(count / 20)
