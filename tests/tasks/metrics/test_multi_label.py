import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as reference

from tasks.metrics.multi_label import MultiLabelMetrics, average_precision, measure_multi_label

LABELS = ("scratch", "dent", "stain")
CONFIDENCE = st.floats(0.0, 1.0, width=32) | st.sampled_from([0.0, 0.25, 0.5, 1.0])


@st.composite
def answered(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    size = draw(st.integers(1, 25))
    truths = draw(hnp.arrays(np.bool_, (size, len(LABELS))))
    return truths, draw(hnp.arrays(np.float64, truths.shape, elements=CONFIDENCE))


def _figures(metrics: MultiLabelMetrics, mean: str) -> list[float]:
    return [getattr(metrics, f"{mean}_{figure}") for figure in ("precision", "recall", "f1")]


def _expected(truth: np.ndarray, given_: np.ndarray) -> list[float]:
    figures = reference.precision_recall_fscore_support(truth, given_, average="binary", zero_division=0.0)
    return list(figures[:3])


@settings(max_examples=50, deadline=None)
@given(answered(), st.lists(CONFIDENCE, min_size=3, max_size=3))
def test_figures_are_those_of_scikit_learn(case: tuple[np.ndarray, np.ndarray], cuts: list[float]) -> None:
    truths, confidences = case
    found = measure_multi_label(truths, confidences, LABELS, dict(zip(LABELS, cuts, strict=True)))
    given_ = confidences >= np.array(cuts)
    carried = np.flatnonzero(truths.any(axis=0))
    columns = [(truths[:, i], given_[:, i]) for i in carried]
    assert _figures(found, "macro") == pytest.approx(
        np.mean([_expected(*one) for one in columns] or [[0.0] * 3], axis=0)
    )
    assert _figures(found, "micro") == pytest.approx(_expected(truths.ravel(), given_.ravel()))
    assert found.exact_match == pytest.approx(reference.accuracy_score(truths, given_))
    precisions = [reference.average_precision_score(truths[:, i], confidences[:, i]) for i in carried]
    assert list(found.average_precision.values()) == pytest.approx(precisions)
    assert list(found.average_precision) == [LABELS[i] for i in carried]
    assert found.mean_average_precision == (pytest.approx(np.mean(precisions)) if precisions else None)


@pytest.mark.parametrize(
    ("truth", "confidence", "expected"),
    [
        pytest.param([True, False], [0.9, 0.1], 1.0, id="in order"),
        pytest.param([False, True], [0.9, 0.1], 0.5, id="out of order"),
        pytest.param([False, True], [0.5, 0.5], 0.5, id="equal confidences have no order"),
        pytest.param([True, False, True], [0.9, 0.8, 0.7], (1 + 2 / 3) / 2, id="one between"),
    ],
)
def test_average_precision(truth: list[bool], confidence: list[float], expected: float) -> None:
    assert average_precision(np.array(truth), np.array(confidence)) == pytest.approx(expected)
