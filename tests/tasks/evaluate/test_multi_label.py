import json
import re
from collections import Counter

import numpy as np
import pytest

from tasks.evaluate.answers import Answers, Measured
from tasks.evaluate.gate import judge_metrics
from tasks.evaluate.multi_label import evaluate_multi_label, multi_label_headline
from tasks.evaluate.multi_label_figures import outcomes_figure, together_figure
from tasks.evaluate.records import ImagePrediction
from tasks.metrics.multi_label import CrossValidatedMultiLabel, MultiLabelMetrics
from tests.tasks.evaluate.test_classification_files import recount

LABELS = ("cut", "dent", "stain")
THRESHOLDS = {"cut": 0.5, "dent": 0.4, "stain": 0.6}
LIMITS = {"min_macro_f1": 0.8, "min_label_recall": 0.6}


def prediction(number: int, truth: tuple[str, ...], confidences: tuple[float, ...]) -> ImagePrediction:
    ordered = dict(sorted(zip(LABELS, confidences, strict=True), key=lambda item: -item[1]))
    given = tuple(label for label, value in ordered.items() if value >= THRESHOLDS[label])
    return ImagePrediction(
        source_ref=f"{number}.png", sha256="", truth=truth, confidences=ordered, given=given, labels_per_image="any"
    )


def evaluated(predictions: list[ImagePrediction], **others: object) -> Measured[MultiLabelMetrics]:
    return evaluate_multi_label(
        Answers(
            predictions=predictions,
            sizes=[(64, 64)] * len(predictions),
            labels=LABELS,
            thresholds=THRESHOLDS,
            class_ids={label: place for place, label in enumerate(LABELS)},
            training_images=7,
            version_arn="arn",
            **others,  # type: ignore[arg-type]
        )
    )


@pytest.mark.parametrize(
    ("truth", "confidences", "right"),
    [
        pytest.param((), (0.1, 0.1, 0.1), True, id="none and none given"),
        pytest.param((), (0.6, 0.1, 0.1), False, id="none and one given"),
        pytest.param(("cut", "dent"), (0.5, 0.9, 0.1), True, id="both"),
        pytest.param(("cut", "dent"), (0.49, 0.9, 0.1), False, id="one missed"),
        pytest.param(("cut",), (0.9, 0.45, 0.1), False, id="one too many"),
    ],
)
def test_image_is_right_when_its_labels_and_no_other_are_given(
    truth: tuple[str, ...], confidences: tuple[float, ...], right: bool
) -> None:
    assert prediction(0, truth, confidences).is_correct == right


def some_predictions(count: int, noise: float, seed: int = 0) -> list[ImagePrediction]:
    rng = np.random.default_rng(seed)
    truths = rng.random((count, 3)) < (0.5, 0.4, 0.3)
    rows = np.clip(0.2 + 0.6 * truths + noise * rng.normal(size=(count, 3)), 0.0, 1.0)
    return [
        prediction(number, tuple(label for label, has in zip(LABELS, truth, strict=True) if has), tuple(row))
        for number, (truth, row) in enumerate(zip(truths.tolist(), rows.tolist(), strict=True))
    ]


def test_counts_of_the_snapshot_give_the_figures() -> None:
    measured = evaluated(some_predictions(60, 0.3))
    assert any(
        not any(key.startswith("rekognition-custom-labels-training") for key in line) for line in measured.snapshot
    )
    counts = recount([json.loads(json.dumps(line)) for line in measured.snapshot])
    for label, figures in measured.metrics.per_label.items():
        count = counts.get(label, Counter())
        hits, extra, missed = (count[f"is-{word}"] for word in ("true-positive", "false-positive", "false-negative"))
        assert figures.precision == hits / (hits + extra)
        assert figures.recall == hits / (hits + missed)
    told = {one["Label"]: one for one in measured.summary["LabelEvaluationResults"]}
    assert {label: one["NumberOfTestingImages"] for label, one in told.items()} == {
        label: figures.support for label, figures in measured.metrics.per_label.items()
    }
    assert measured.summary["EvaluationDetails"]["NumberOfTestingImages"] == 60


def test_all_is_drawn() -> None:
    measured = evaluated(some_predictions(30, 0.2))
    assert set(measured.drawings) == {
        *("outcomes", "per_label", "labels_together", "answers_together"),
        *("precision_recall", "roc", "calibration"),
    }
    assert f"exact {measured.metrics.exact_match:.3f}" in multi_label_headline(measured.metrics)


def test_outcomes_are_counted_by_label() -> None:
    truths = np.array([[True, True], [True, False], [False, False]])
    given = np.array([[True, False], [False, False], [False, True]])
    (axes,) = outcomes_figure(truths, given, ("cut", "dent")).axes
    lengths = [[round(bar.get_width()) for bar in bars] for bars in axes.containers]
    assert lengths == [[1, 0], [1, 1], [0, 1]]


def test_pairs_of_labels_are_counted() -> None:
    truths = np.array([[True, True], [True, False], [False, False]])
    (axes,) = together_figure(truths, ("cut", "dent"), "row", "column").axes
    assert [text.get_text() for text in axes.texts] == ["2", "1", "1", "1"]


def estimate(recall: float) -> CrossValidatedMultiLabel:
    good = evaluated(some_predictions(60, 0.0)).metrics
    per_label = {label: one.model_copy(update={"recall": recall}) for label, one in good.per_label.items()}
    return CrossValidatedMultiLabel(
        macro_f1=0.9,
        macro_f1_std=0.0,
        exact_match=0.9,
        mean_average_precision=0.9,
        folds=3,
        images=60,
        per_label=per_label,
    )


@pytest.mark.parametrize(
    ("noise", "recall", "passed", "says"),
    [
        pytest.param(0.05, 0.9, True, "", id="good"),
        pytest.param(0.6, 0.6, False, "macro-F1 .* is below", id="bad"),
        pytest.param(0.35, 1.0, False, "test labels found contradicts the cross-validated 1.000", id="contradicted"),
    ],
)
def test_gate_judges_macro_f1_and_recalls(noise: float, recall: float, passed: bool, says: str) -> None:
    metrics = evaluated(some_predictions(60, noise), cross_validated=estimate(recall)).metrics
    verdict = judge_metrics(metrics, LIMITS)
    assert verdict.passed == passed
    assert verdict.macro_f1 == pytest.approx(metrics.macro_f1)
    assert re.search(says, " ".join(verdict.reasons))


def test_small_label_is_judged_on_the_folds() -> None:
    metrics = evaluated(some_predictions(12, 0.0), cross_validated=estimate(0.3)).metrics
    verdict = judge_metrics(metrics, LIMITS)
    assert set(verdict.judged_on.values()) == {"cross-validation"}
    assert len([reason for reason in verdict.reasons if "recall 0.300" in reason]) == 3
