import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as reference

from tasks.metrics.classification import (
    CrossValidated,
    accuracy,
    best_f1_threshold,
    calibration_bins,
    calibration_error,
    confusion_matrix,
    macro,
    measure,
    measure_given,
    measure_labels,
    truths_of,
)

LABELS = ("bent", "cut", "good", "odd")
# As a network gives them: 32-bit numbers from 0 to 1, both ends included, often equal.
CONFIDENCE = st.floats(0.0, 1.0, width=32) | st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])


@st.composite
def scored(draw: st.DrawFn, min_size: int = 1) -> tuple[np.ndarray, np.ndarray]:
    size = draw(st.integers(min_size, 30))
    truth = draw(hnp.arrays(np.bool_, size))
    confidence = draw(hnp.arrays(np.float64, size, elements=CONFIDENCE))
    return truth, confidence


@st.composite
def single_label(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    size = draw(st.integers(1, 25))
    truth = draw(hnp.arrays(np.int64, size, elements=st.integers(0, len(LABELS) - 1)))
    confidences = draw(hnp.arrays(np.float64, (size, len(LABELS)), elements=CONFIDENCE))
    return truth, np.eye(len(LABELS), dtype=np.bool_)[truth], confidences


def f1_at(truth: np.ndarray, confidence: np.ndarray, threshold: float) -> float:
    return float(reference.f1_score(truth, confidence >= threshold, zero_division=0.0))


def f1_plain(truth: np.ndarray, given_: np.ndarray) -> float:
    whole = truth.sum() + given_.sum()
    return 2.0 * (truth & given_).sum() / whole if whole else 0.0


@settings(max_examples=300, deadline=None)
@given(scored())
@example((np.array([True, False]), np.array([0.0, 0.5])))
@example((np.array([True]), np.array([0.0])))
@example((np.array([True]), np.array([1.0])))
def test_no_threshold_beats_the_best(case: tuple[np.ndarray, np.ndarray]) -> None:
    truth, confidence = case
    threshold = best_f1_threshold(truth, confidence)
    assert 0.0 <= threshold <= 1.0
    cuts = {0.0, 1.0, *confidence.tolist(), *np.linspace(0, 1, 11).tolist()}
    best = max(f1_plain(truth, confidence >= cut) for cut in cuts)
    assert f1_plain(truth, confidence >= threshold) >= best - 1e-9


@settings(deadline=None)
@given(st.data(), scored())
def test_threshold_does_not_depend_on_the_order(data: st.DataObject, case: tuple[np.ndarray, np.ndarray]) -> None:
    truth, confidence = case
    order = data.draw(st.permutations(range(len(truth))))
    assert best_f1_threshold(truth[order], confidence[order]) == best_f1_threshold(truth, confidence)


@pytest.mark.parametrize(
    ("truth", "confidence", "threshold"),
    [
        pytest.param([True, False], [0.9, 0.1], 0.5, id="middle of the gap"),
        pytest.param([True, True, False], [0.9, 0.8, 0.2], 0.5, id="middle of the gap below the lowest hit"),
        pytest.param([False, False], [0.9, 0.1], 0.5, id="no image carries the label"),
        pytest.param([], [], 0.5, id="no image"),
        pytest.param([True, True], [0.8, 0.6], 0.3, id="all carry the label"),
        pytest.param([True], [1.0], 0.5, id="one image"),
    ],
)
def test_threshold_of_plain_cases(truth: list[bool], confidence: list[float], threshold: float) -> None:
    assert best_f1_threshold(np.array(truth, bool), np.array(confidence, float)) == pytest.approx(threshold)


def test_threshold_of_equal_f1_lies_in_the_widest_gap() -> None:
    # Cutting below 0.9 gives precision 1 and recall 1/2; cutting below 0.2 precision 1/2 and recall 1: F1 2/3 both.
    truth = np.array([True, False, False, True])
    assert best_f1_threshold(truth, np.array([0.9, 0.3, 0.25, 0.2])) == pytest.approx(0.6)
    assert best_f1_threshold(truth, np.array([0.9, 0.85, 0.84, 0.8])) == pytest.approx(0.4)


def test_threshold_of_many_images() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(50_000) < 0.3
    confidence = np.clip(0.35 * truth + rng.random(50_000) * 0.65, 0.0, 1.0)
    threshold = best_f1_threshold(truth, confidence)
    assert f1_at(truth, confidence, threshold) >= max(f1_at(truth, confidence, cut) for cut in np.linspace(0, 1, 41))


@settings(max_examples=60, deadline=None)
@given(single_label(), st.lists(st.floats(0.0, 1.0), min_size=len(LABELS), max_size=len(LABELS)))
def test_label_metrics_are_those_of_scikit_learn(
    case: tuple[np.ndarray, np.ndarray, np.ndarray], cuts: list[float]
) -> None:
    _, truths, confidences = case
    thresholds = dict(zip(LABELS, cuts, strict=True))
    measured = measure_labels(truths, confidences, LABELS, thresholds)
    precision, recall, f1, support = reference.precision_recall_fscore_support(
        truths, confidences >= np.array(cuts), average=None, zero_division=0.0
    )
    assert list(measured) == list(LABELS)
    assert [m.precision for m in measured.values()] == pytest.approx(precision.tolist())
    assert [m.recall for m in measured.values()] == pytest.approx(recall.tolist())
    assert [m.f1 for m in measured.values()] == pytest.approx(f1.tolist())
    assert [m.support for m in measured.values()] == support.tolist()
    assert [m.threshold for m in measured.values()] == cuts
    assert macro(measured, "f1") == pytest.approx(f1[support > 0].mean())


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.bool_, (12, len(LABELS))), hnp.arrays(np.bool_, (12, len(LABELS))))
def test_label_metrics_of_label_sets_are_those_of_scikit_learn(truths: np.ndarray, answers: np.ndarray) -> None:
    measured = measure_given(truths, answers, LABELS, dict.fromkeys(LABELS, 0.5))
    *expected, support = reference.precision_recall_fscore_support(truths, answers, average=None, zero_division=0.0)
    figures = [macro(measured, figure) for figure in ("precision", "recall", "f1")]
    means = [values[support > 0].mean() if support.any() else 0.0 for values in expected]
    assert figures == pytest.approx(means)


@settings(max_examples=60, deadline=None)
@given(single_label())
def test_accuracy_and_confusion_are_those_of_scikit_learn(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    truth, truths, confidences = case
    answers = confidences.argmax(axis=1)
    assert accuracy(truths, confidences) == pytest.approx(reference.accuracy_score(truth, answers))
    expected = reference.confusion_matrix(truth, answers, labels=range(len(LABELS)))
    assert confusion_matrix(truths, confidences).tolist() == expected.tolist()


@settings(deadline=None)
@given(single_label(), st.integers(1, 15))
def test_calibration_is_what_its_definition_says(case: tuple[np.ndarray, np.ndarray, np.ndarray], bins: int) -> None:
    truth, truths, confidences = case
    members: dict[int, list[tuple[float, bool]]] = {}
    for row in range(len(truth)):
        highest = float(confidences[row].max())
        place = min(int(highest * bins), bins - 1)
        members.setdefault(place, []).append((highest, int(confidences[row].argmax()) == truth[row]))
    expected = 0.0
    for rows in members.values():
        expected += abs(np.mean([c for c, _ in rows]) - np.mean([hit for _, hit in rows])) * len(rows) / len(truth)
    assert calibration_error(truths, confidences, bins) == pytest.approx(expected, abs=1e-9)
    found = calibration_bins(truths, confidences, bins)
    assert [count for _, _, count in found] == [len(members[place]) for place in sorted(members)]


@pytest.mark.parametrize(
    ("confidence", "hit", "error"),
    [
        pytest.param(1.0, True, 0.0, id="sure and right"),
        pytest.param(1.0, False, 1.0, id="sure and wrong"),
        pytest.param(0.5, True, 0.5, id="unsure and right"),
        pytest.param(0.7, False, 0.7, id="fairly sure and wrong"),
    ],
)
def test_calibration_of_one_image(confidence: float, hit: bool, error: float) -> None:
    truths = np.array([[hit, not hit]])
    assert calibration_error(truths, np.array([[confidence, 0.0]])) == pytest.approx(error)


@pytest.mark.parametrize(
    ("label_sets", "expected"),
    [
        pytest.param([], np.zeros((0, 2)), id="no image"),
        pytest.param([["b"], ["a"]], [[0, 1], [1, 0]], id="one label each"),
        pytest.param([[], ["a", "b"]], [[0, 0], [1, 1]], id="none and both"),
    ],
)
def test_truths_of(label_sets: list[list[str]], expected: list[list[int]]) -> None:
    truths = truths_of(label_sets, ("a", "b"))
    assert truths.dtype == np.bool_
    assert truths.tolist() == np.asarray(expected, bool).tolist()
    assert truths.shape == (len(label_sets), 2)


def test_truths_of_a_label_that_is_not_known() -> None:
    with pytest.raises(KeyError):
        truths_of([["c"]], ("a", "b"))


def test_label_without_images_and_answers_has_zeros() -> None:
    truths = np.array([[True, False], [True, False]])
    confidences = np.array([[0.9, 0.1], [0.8, 0.2]])
    measured = measure_labels(truths, confidences, ("a", "b"), {"a": 0.5, "b": 0.5})
    assert (measured["b"].precision, measured["b"].recall, measured["b"].f1, measured["b"].support) == (0, 0, 0, 0)


def test_threshold_itself_counts_as_given() -> None:
    measured = measure_labels(np.array([[True]]), np.array([[0.5]]), ("a",), {"a": 0.5})
    assert measured["a"].recall == 1.0


@settings(max_examples=30, deadline=None)
@given(single_label())
def test_measure_holds_all_figures(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    _, truths, confidences = case
    thresholds = dict.fromkeys(LABELS, 0.5)
    whole = measure(truths, confidences, LABELS, thresholds)
    assert whole.per_label == measure_labels(truths, confidences, LABELS, thresholds)
    assert whole.accuracy == accuracy(truths, confidences)
    assert whole.calibration_error == calibration_error(truths, confidences)
    assert whole.macro_precision == macro(whole.per_label, "precision")
    assert whole.macro_recall == macro(whole.per_label, "recall")
    assert whole.macro_f1 == macro(whole.per_label, "f1")
    assert whole.cross_validated is None
    assert type(whole).model_validate_json(whole.model_dump_json()) == whole


def test_measure_carries_the_cross_validated_estimate() -> None:
    estimate = CrossValidated(macro_f1=0.9, macro_f1_std=0.1, accuracy=0.9, folds=5, images=20, per_label={})
    whole = measure(np.array([[True]]), np.array([[1.0]]), ("a",), {"a": 0.5}, estimate)
    assert whole.cross_validated == estimate
