import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
import pytest

from tasks.bundle.predictor import OnnxNetwork
from tasks.train.build_bundle import head_to_onnx
from tasks.train.heads import forest, search
from tasks.train.heads.folds import stratified_folds
from tasks.train.heads.model import HeadKind, HeadName, Indices, Matrix, Options, Probabilities
from tasks.train.heads.search import INNER_FOLDS, KINDS, fit_head
from tests.tasks.train.heads.blobs import blobs

NAMES: tuple[HeadName, ...] = (*KINDS, "ensemble")


@pytest.fixture(autouse=True)
def _small_and_silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(forest, "TREES", 16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="skl2onnx")
        yield


@pytest.mark.parametrize("name", NAMES)
def test_constant_features_do_no_harm(name: HeadName) -> None:
    features, y = blobs((12, 12), 40, 2.0)
    features[:, ::3] = 7.0
    features[:, 1] = np.nextafter(np.float32(3e4), np.where(y, np.float32(4e4), np.float32(2e4)))
    head = fit_head(name, features, y, 0)
    assert (head.probabilities(features).argmax(axis=1) == y).mean() > 0.9
    assert _difference_as_onnx(name, features, y) < 1e-5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0.0, 7.3], ids=str)
def test_equal_images_are_anything(name: HeadName, value: float) -> None:
    features, y = np.full((30, 20), value, np.float32), np.repeat([0, 1, 2], [5, 10, 15])
    head = fit_head(name, features, y, 0)
    np.testing.assert_allclose(head.probabilities(features), 1 / 3, atol=0.1)
    assert _difference_as_onnx(name, features, y) < 1e-5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("labels", "width"), [(2, 8), (2, 200), (3, 8), (3, 200), (9, 40)], ids=["2-8", "2-200", "3-8", "3-200", "9-40"]
)
def test_head_answers_alike_as_onnx(name: HeadName, labels: int, width: int) -> None:
    features, y = blobs((10,) * labels, width, 0.7, seed=labels)
    assert _difference_as_onnx(name, np.concatenate([features, features[:5]]), np.concatenate([y, y[-5:]])) < 1e-5


def _difference_as_onnx(name: HeadName, features: Matrix, y: Indices) -> float:
    """Return by how much a head's graph answers otherwise than the head, at most; infinitely in another shape."""
    head = fit_head(name, features, y, 0)
    data = head_to_onnx(head)
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    apart = np.random.default_rng(0).normal(size=(20, features.shape[1])).astype(np.float32) * 10
    differences = []
    for rows in (features, features[:1], apart):
        found, expected = OnnxNetwork(data, threads=1).run(rows), head.probabilities(rows)
        is_alike = found.shape == expected.shape == (len(rows), y.max() + 1)
        differences.append(float(np.abs(found - expected).max()) if is_alike else np.inf)
    return max(differences)


@pytest.mark.parametrize("name", NAMES)
def test_equal_seeds_give_equal_heads(name: HeadName) -> None:
    features, y = blobs((15, 15, 15), 60, 0.4)
    one, other, third = (fit_head(name, features, y, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.out_of_fold, other.out_of_fold)
    assert head_to_onnx(one) == head_to_onnx(other)
    assert one.chosen == other.chosen
    assert not np.array_equal(one.out_of_fold, third.out_of_fold)


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_are_probabilities(name: HeadName) -> None:
    features, y = blobs((8, 12, 10), 50)
    head = fit_head(name, features, y, 0)
    for rows in (head.out_of_fold, head.probabilities(features)):
        assert rows.shape == (30, 3)
        assert rows.min() >= 0.0
        np.testing.assert_allclose(rows.sum(axis=1), 1.0, atol=1e-9)
    assert head.probabilities(features[:0]).shape == (0, 3)
    assert head.kind == name


@pytest.mark.parametrize("name", NAMES)
def test_clear_labels_are_learned(name: HeadName) -> None:
    features, y = blobs((15, 15, 15), 30, 2.0)
    unseen, unseen_y = blobs((30, 30, 30), 30, 2.0)
    head = fit_head(name, features, y, 0)
    assert (head.out_of_fold.argmax(axis=1) == y).mean() > 0.95
    assert (head.probabilities(unseen).argmax(axis=1) == unseen_y).mean() > 0.95


@pytest.mark.parametrize("name", NAMES)
def test_labels_that_say_nothing_are_guessed_out_of_fold(name: HeadName) -> None:
    features, y = blobs((40, 40), 400, 0.0)
    head = fit_head(name, features, y, 0)
    assert (head.probabilities(features).argmax(axis=1) == y).mean() > 0.85
    assert (head.out_of_fold.argmax(axis=1) == y).mean() < 0.7


@pytest.mark.parametrize("counts", [(2, 2), (2, 20), (3, 3, 3), (2, 2, 2, 40)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_rare_labels_are_learned(name: HeadName, counts: tuple[int, ...]) -> None:
    features, y = blobs(counts, 60, 2.0)
    head = fit_head(name, features, y, 0)
    assert head.out_of_fold.shape == (sum(counts), len(counts))
    assert (head.probabilities(features).argmax(axis=1) == y).all()


@pytest.mark.parametrize("name", NAMES)
def test_rare_label_weighs_as_much_as_a_common_one(name: HeadName) -> None:
    features, y = blobs((12, 120), 5, 0.8, seed=2)
    out_of_fold = fit_head(name, features, y, 0).out_of_fold
    assert (out_of_fold.argmax(axis=1) == y)[y == 0].mean() > 0.6


@dataclass(frozen=True)
class Shifted:
    """Says the label that the first feature is, with a confidence of its own."""

    confidence: float

    def probabilities(self, features: Matrix) -> Probabilities:
        return np.where(features[:, :1] == np.arange(2), self.confidence, 1 - self.confidence)


def _fit_shifted(features: Matrix, y: Indices, candidates: Sequence[Options], seed: int) -> Iterator[Shifted]:
    return (Shifted(float(options["confidence"])) for options in candidates)


@pytest.mark.parametrize(
    ("confidences", "best"),
    [((0.6, 0.9, 0.7), 1), ((0.9, 0.9), 0), ((0.8, 0.92, 0.920001), 1), ((0.92, 0.920001), 0)],
    ids=["lowest loss", "tie", "nearly a tie below the best", "nearly a tie"],
)
def test_best_candidate_is_taken_and_the_simpler_of_equals(
    confidences: tuple[float, ...], best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = HeadKind(tuple({"confidence": one, "place": place} for place, one in enumerate(confidences)), _fit_shifted)
    monkeypatch.setattr(search, "KINDS", {"logistic": replace(kind, is_calibrated=True)})
    y = np.arange(20) % 2
    head = fit_head("logistic", y[:, None].astype(np.float32), y, 0)
    assert head.chosen["place"] == best


@dataclass(frozen=True)
class Remembering:
    """Is certain of the images it was fitted on, and of no other."""

    known: frozenset[float]

    def probabilities(self, features: Matrix) -> Probabilities:
        seen = np.isin(features[:, 0], list(self.known))
        return np.column_stack([seen, ~seen]).astype(np.float64)


def test_out_of_fold_rows_come_from_models_that_did_not_see_them(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def fit(features: Matrix, y: Indices, candidates: Sequence[Options], seed: int) -> Iterator[Remembering]:
        sizes.append(len(features))
        return (Remembering(frozenset(features[:, 0].tolist())) for _ in candidates)

    monkeypatch.setattr(search, "KINDS", {"knn": HeadKind(({"a": 1}, {"a": 2}), fit, is_calibrated=True)})
    y = np.arange(40) % 2
    head = fit_head("knn", np.arange(40, dtype=np.float32)[:, None], y, 5)
    assert (head.out_of_fold[:, 1] == 1.0).all()
    assert sizes == [len(train) for train, _ in stratified_folds(y, INNER_FOLDS, 5)] + [40]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("logistic", {"strength"}),
        ("random_forest", {"images_per_leaf", "temperature"}),
        ("knn", {"neighbours", "components", "temperature"}),
        (
            "ensemble",
            {"members", "logistic_strength", "random_forest_images_per_leaf", "svm_kernel", "svm_penalty"}
            | {f"{member}_temperature" for member in ("logistic", "svm", "random_forest")},
        ),
    ],
)
def test_choice_is_told(name: HeadName, options: set[str]) -> None:
    features, y = blobs((10, 10), 20)
    assert set(fit_head(name, features, y, 0).chosen) - {"svm_gamma"} == options
