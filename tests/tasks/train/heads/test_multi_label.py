import numpy as np
import onnx
import pytest

from tasks.bundle.predictor import OnnxNetwork
from tasks.errors import DataError
from tasks.metrics.multi_label import measure_multi_label
from tasks.train.build_bundle import head_to_onnx
from tasks.train.heads import forest
from tasks.train.heads.model import HeadName, Matrix
from tasks.train.heads.multi_label import fit_multi_label_head
from tasks.train.heads.search import KINDS, fit_head
from tasks.train.heads.thresholds import choose_thresholds

LABELS = ("scratch", "dent", "stain")


def _parts(images: int, seed: int) -> tuple[Matrix, np.ndarray]:
    """Return features and N x 3 truths: each label adds a pattern of its own; some images carry none."""
    rng = np.random.default_rng(seed)
    truths = rng.random((images, 3)) < (0.5, 0.3, 0.2)
    patterns = np.random.default_rng(7).normal(size=(3, 24))
    return (truths @ patterns * 2.0 + rng.normal(size=(images, 24))).astype(np.float32), truths


@pytest.mark.parametrize("name", [*KINDS, "ensemble"])
def test_labels_are_learned_apart_from_each_other(name: HeadName, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forest, "TREES", 16)
    features, truths = _parts(90, 0)
    unseen, unseen_truths = _parts(90, 1)
    assert not truths.all(axis=1).all()
    assert not truths.any(axis=1).all()
    head = fit_multi_label_head(name, features, truths, LABELS, 0)
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
    head = fit_multi_label_head("logistic", features, truths, LABELS, 3)
    alone = [fit_head("logistic", features, truths[:, place].astype(np.intp), 3) for place in range(3)]
    np.testing.assert_array_equal(head.out_of_fold, np.column_stack([one.out_of_fold[:, 1] for one in alone]))
    assert head.chosen == {
        f"{label}.strength": one.chosen["strength"] for label, one in zip(LABELS, alone, strict=True)
    }
    assert head.probabilities(features[:0]).shape == (0, 3)


@pytest.mark.parametrize(("count", "says"), [(0, "0 of 20"), (1, "1 of 20"), (19, "19 of 20"), (20, "20 of 20")])
def test_label_that_cannot_be_learned_is_named(count: int, says: str) -> None:
    truths = np.column_stack([np.arange(20) % 2 == 0, np.arange(20) < count])
    with pytest.raises(DataError, match=f"'dent' is carried by {says}"):
        fit_multi_label_head("logistic", np.zeros((20, 4), np.float32), truths, LABELS[:2], 0)
