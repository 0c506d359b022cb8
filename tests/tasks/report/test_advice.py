"""Advice: what it says, and above all when it stays silent."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from tasks.dataset.entries import ImageEntry, Split
from tasks.dataset.findings import Finding
from tasks.dataset.truth import Truth
from tasks.evaluate.records import GateVerdict, ImagePrediction
from tasks.inference_test.records import InferenceOutcome
from tasks.metrics.classification import ClassificationMetrics, CrossValidated, LabelMetrics
from tasks.report.advice import advise
from tasks.report.advice_on_figures import chance_of_gap, stricter_threshold
from tasks.report.facts import Advice
from tasks.report.inputs import OutOfFoldPrediction, ReportInputs

Answers = Sequence[tuple[str, str, float]]
"""True label, label with the highest confidence, that confidence."""


def inputs_of(
    crossed: Answers,
    tested: Answers = (),
    *,
    threshold: float = 0.5,
    spread: float = 0.02,
    f1: float = 0.95,
    given: int = 1,
    findings: Sequence[Finding] = (),
) -> ReportInputs:
    labels = sorted({name for truth, top, _ in (*crossed, *tested) for name in (truth, top)})
    figures = {
        label: LabelMetrics(precision=0.9, recall=0.9, f1=f1, threshold=threshold, support=25) for label in labels
    }
    estimate = CrossValidated(
        macro_f1=f1, macro_f1_std=spread, accuracy=0.9, folds=5, images=len(crossed), per_label=figures
    )
    entries: dict[Split, list[ImageEntry]] = {
        "train": [entry_of(f"train/{i}", truth) for i, (truth, _, _) in enumerate(crossed)],
        "test": [entry_of(f"test/{i}", truth) for i, (truth, _, _) in enumerate(tested)],
    }
    return ReportInputs(
        task="classification",
        model_name="m",
        model_version="1",
        status="staged",
        labels=labels,
        metrics=metrics_of(figures, estimate),
        gate=GateVerdict(passed=True, reasons=(), judged_on={}, macro_f1=f1),
        inference=InferenceOutcome(passed=True),
        predictions=[
            ImagePrediction(
                source_ref=f"test/{i}",
                sha256="",
                truth=(truth,),
                confidences=spread_over(labels, top, confidence),
                given=tuple(labels[:given]),
            )
            for i, (truth, top, confidence) in enumerate(tested)
        ],
        out_of_fold=[
            OutOfFoldPrediction(f"train/{i}", (truth,), spread_over(labels, top, confidence))
            for i, (truth, top, confidence) in enumerate(crossed)
        ],
        entries=entries,
        roots={"train": Path(), "test": Path()},
        findings=findings,
        figures_path=Path(),
        provenance={},
        input_size=320,
    )


def metrics_of(figures: Mapping[str, LabelMetrics], estimate: CrossValidated) -> ClassificationMetrics:
    return ClassificationMetrics(
        accuracy=0.9,
        macro_precision=0.9,
        macro_recall=0.9,
        macro_f1=0.9,
        per_label=dict(figures),
        calibration_error=0.05,
        cross_validated=estimate,
    )


def entry_of(ref: str, label: str) -> ImageEntry:
    return ImageEntry(ref, "", 10, 10, Truth((label,)))


def spread_over(labels: Sequence[str], top: str, confidence: float) -> dict[str, float]:
    rest = (1 - confidence) / max(1, len(labels) - 1)
    scores = {label: confidence if label == top else rest for label in labels}
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def right(label: str, count: int, confidence: float = 0.97) -> list[tuple[str, str, float]]:
    return [(label, label, confidence)] * count


def wrong(truth: str, top: str, count: int, confidence: float = 0.6) -> list[tuple[str, str, float]]:
    return [(truth, top, confidence)] * count


def find(advice: Sequence[Advice], words: str) -> Advice | None:
    return next((one for one in advice if words in one.title), None)


SOUND = [*right("bent", 30), *right("good", 30)]


def test_a_sound_run_gives_none() -> None:
    assert advise(inputs_of(SOUND, [*right("bent", 10), *right("good", 10)])) == []


def test_nothing_to_judge_gives_no_error() -> None:
    assert advise(inputs_of([])) == []


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("all_wrong", [False, True])
def test_tiny_sets_are_told_to_grow_and_little_else(size: int, all_wrong: bool) -> None:
    answers = [*right("bent", size, 0.6), *right("good", size, 0.6)]
    if all_wrong:
        answers = [*wrong("bent", "good", size, 0.95), *wrong("good", "bent", size, 0.95)]
    advice = advise(inputs_of(answers))
    assert find(advice, "fewer than 20 images")
    assert not find(advice, "may carry the wrong label")
    assert not find(advice, "too readily")
    assert not find(advice, "test images fare")
    if not all_wrong:
        assert len(advice) == 1


def test_names_suspected_mislabels() -> None:
    advice = advise(inputs_of([*SOUND, ("bent", "good", 0.95), ("bent", "good", 0.99)]))
    found = find(advice, "2 images may carry the wrong label")
    assert found
    assert found.severity == "high"
    assert found.images == ("train/61", "train/60")
    assert "train/61 (“bent”, answered “good”)" in found.text
    assert advice[0] is found


@pytest.mark.parametrize(
    ("case", "answers"),
    [
        ("not sure enough", [*SOUND, *wrong("bent", "good", 2, 0.75)]),
        (
            "the answer has proved right too seldom",
            [*right("bent", 30), *right("good", 4), *wrong("bent", "good", 1, 0.97)],
        ),
        ("sure answers are often wrong", [*right("bent", 30), *right("good", 10), *wrong("bent", "good", 6, 0.97)]),
        (
            "the model does not know the label",
            [*right("bent", 3), *right("good", 90), *wrong("bent", "good", 10, 0.97)],
        ),
    ],
)
def test_suspects_no_label_when(case: str, answers: Answers) -> None:
    assert not find(advise(inputs_of(answers)), "may carry the wrong label"), case


def test_all_wrong_is_no_mislabelling() -> None:
    advice = advise(inputs_of([*wrong("bent", "good", 30, 0.97), *wrong("good", "bent", 30, 0.97)]))
    assert not find(advice, "may carry the wrong label")
    confused = find(advice, "“bent” and “good” are confused")
    assert confused
    assert "30 of 30 images of “bent” are taken for “good”" in confused.text
    baseline = find(advice, "would be right at least as often")
    assert baseline
    assert "it gets 0 right (0.000)" in baseline.text


def test_confused_pairs_join_cross_validated_and_test_images() -> None:
    crossed = [*right("bent", 20), *right("good", 20), *wrong("bent", "good", 2)]
    found = find(
        advise(inputs_of(crossed, [*right("good", 10), ("bent", "good", 0.6), ("good", "bent", 0.6)])), "confused"
    )
    assert found
    assert found.severity == "medium"
    assert found.title == "“bent” and “good” are confused"
    assert "3 of 23 images of “bent” are taken for “good”; 1 of 31 images of “good” are taken for “bent”" in found.text
    assert found.images == ("train/40", "train/41", "test/10", "test/11")


@pytest.mark.parametrize(
    "answers",
    [[*SOUND, *wrong("bent", "good", 2)], [*right("bent", 90), *right("good", 90), *wrong("bent", "good", 3)]],
)
def test_few_mistakes_are_no_pattern(answers: Answers) -> None:
    assert not find(advise(inputs_of(answers)), "confused")


def test_label_whose_mistakes_scatter() -> None:
    others = [f"l{i}" for i in range(5)]
    answers = [answer for other in others for answer in (*right(other, 50), *wrong("bent", other, 2))]
    advice = advise(inputs_of([*answers, *right("bent", 8)]))
    assert not find(advice, "confused")
    found = find(advice, "mostly not recognised")
    assert found
    assert "“bent” 8 of 18" in found.text


@pytest.mark.parametrize(("f1", "severity"), [(0.95, "medium"), (0.5, "high")])
def test_few_images(f1: float, severity: str) -> None:
    found = find(advise(inputs_of([*right("bent", 8), *right("good", 30)], f1=f1)), "One label has fewer than 20")
    assert found
    assert found.severity == severity
    assert "“bent” 8" in found.text
    assert "by 12 points" in found.text


def test_accuracy_no_better_than_the_most_frequent_label() -> None:
    answers = [*right("good", 90), *wrong("good", "bent", 10), *right("bent", 4), *wrong("bent", "good", 20)]
    found = find(advise(inputs_of(answers)), "Always answering “good”")
    assert found
    assert found.severity == "high"
    assert "Of 124 images that the model had not seen it gets 94 right (0.758); 100 (0.806) carry “good”" in found.text


def test_imbalance_alone_is_information() -> None:
    found = find(advise(inputs_of([*right("good", 250), *right("bent", 22)])), "very unequal")
    assert found
    assert found.severity == "low"
    assert "“good” has 250 images, “bent” has 22" in found.text


@pytest.mark.parametrize(
    ("tested", "words", "severity"),
    [
        ([*right("good", 20), *wrong("good", "bent", 20)], "worse than cross-validation", "high"),
        ([*right("good", 9), *wrong("good", "bent", 1)], "", ""),
        ([*right("good", 2), *wrong("good", "bent", 1)], "", ""),
        (right("good", 40), "", ""),
    ],
)
def test_gap_between_test_and_cross_validation(tested: Answers, words: str, severity: str) -> None:
    found = find(advise(inputs_of([*SOUND, *right("good", 40)], tested)), "The test images fare")
    assert bool(found) == bool(words)
    if found:
        assert words in found.title
        assert found.severity == severity
        assert "20 of 40 test images are right (0.500), against 100 of 100" in found.text


@pytest.mark.parametrize(
    ("counts", "chance"),
    [((2, 3, 100, 100), 6 / 103), ((5, 10, 50, 100), 1.0), ((0, 5, 5, 5), 2 / 252), ((0, 0, 3, 4), 1.0)],
)
def test_chance_of_gap(counts: tuple[int, int, int, int], chance: float) -> None:
    assert chance_of_gap(*counts) == pytest.approx(chance)


def test_test_images_that_are_easier() -> None:
    crossed = [*right("good", 60), *wrong("good", "bent", 40), *right("bent", 60), *wrong("bent", "good", 40)]
    found = find(advise(inputs_of(crossed, [*right("good", 40), *right("bent", 40)])), "better than cross-validation")
    assert found
    assert found.severity == "medium"


def test_threshold_to_raise() -> None:
    # 20 sure and right, 8 less sure and wrong: all reach 0.5, the right ones alone reach 0.75.
    crossed = [*right("good", 20, 0.9), *wrong("bent", "good", 8, 0.6), *right("bent", 30, 0.97)]
    found = find(advise(inputs_of(crossed)), "“good” is given too readily")
    assert found
    assert "20 of the 28 cross-validated images given it carry it (precision 0.714, recall 1.000)" in found.text
    # 22 of 28 is below 0.9; with two of the wrong ones precision is 20 / 22.
    assert "From 0.750 on, precision would have been 1.000 and recall 1.000" in found.text


@pytest.mark.parametrize(
    ("case", "crossed"),
    [
        ("too few images", [*right("good", 8, 0.9), *wrong("bent", "good", 4, 0.6), *right("bent", 30)]),
        ("no threshold helps", [*right("good", 20, 0.6), *wrong("bent", "good", 8, 0.9), *right("bent", 30)]),
        (
            "recall is low already",
            [*right("good", 10, 0.9), *wrong("good", "bent", 10), *wrong("bent", "good", 8, 0.6)],
        ),
    ],
)
def test_no_threshold_to_raise_when(case: str, crossed: Answers) -> None:
    assert not find(advise(inputs_of(crossed)), "“good” is given too readily"), case


def test_stricter_threshold() -> None:
    truth = np.array([True, True, True, False, True, False])
    confidence = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    assert stricter_threshold(truth, confidence, 0.9) == pytest.approx((0.65, 1.0, 0.75))
    assert stricter_threshold(truth, confidence, 0.8) == pytest.approx((0.45, 0.8, 1.0))
    assert stricter_threshold(~truth, confidence, 0.9) is None
    assert stricter_threshold(np.zeros(6, dtype=np.bool_), confidence) is None


def test_stricter_threshold_does_not_part_equal_confidences() -> None:
    truth = np.array([True, True, False])
    assert stricter_threshold(truth, np.array([0.9, 0.5, 0.5]), 0.9) == pytest.approx((0.7, 1.0, 0.5))


@pytest.mark.parametrize(("spread", "expected"), [(0.14, True), (0.05, False)])
def test_spread_of_the_folds(spread: float, expected: bool) -> None:
    found = find(advise(inputs_of(SOUND, spread=spread)), "The folds differ much")
    assert bool(found) == expected
    if found:
        assert "standard deviation of 0.140 over 5 folds" in found.text


@pytest.mark.parametrize(
    ("answers", "title", "severity"),
    [
        ([*right("bent", 60, 0.6), *right("good", 60, 0.6)], "lower than they need be", "low"),
        (
            [*right("bent", 60), *right("good", 60), *wrong("good", "bent", 40, 0.97)],
            "Confidences are too high",
            "medium",
        ),
    ],
)
def test_calibration(answers: Answers, title: str, severity: str) -> None:
    found = find(advise(inputs_of(answers)), title)
    assert found
    assert found.severity == severity


def test_a_few_unlucky_images_are_no_miscalibration() -> None:
    assert not find(
        advise(inputs_of([*right("bent", 5), *right("good", 4), *wrong("good", "bent", 2, 0.9)])), "Confidences"
    )


@pytest.mark.parametrize(("given", "expected"), [(0, True), (1, False), (2, True)])
def test_unclear_answers(given: int, expected: bool) -> None:
    tested = [*right("bent", 10), *right("good", 10)]
    found = find(advise(inputs_of(SOUND, tested, given=given)), "no label or several")
    assert bool(found) == expected


def test_findings_that_need_a_decision() -> None:
    findings = [
        Finding(code="WARNING_CONFLICTING_LABELS", source_ref="a.png", message=""),
        Finding(code="WARNING_CONFLICTING_LABELS", source_ref="b.png", message=""),
        Finding(code="ERROR_EMPTY_FILE", source_ref="c.png", message=""),
        Finding(code="WARNING_IGNORED_FILE", source_ref="d.txt", message=""),
    ]
    first, second = advise(inputs_of(SOUND, findings=findings))
    assert first.images == ("a.png", "b.png")
    assert second.title == "1 file could not be used"
    assert second.images == ("c.png",)


def test_most_important_first_and_long_names_cut() -> None:
    long = "x" * 256
    advice = advise(
        inputs_of([*right("good", 300, 0.6), *right(long, 6, 0.6), *wrong(long, "good", 6)], spread=0.3, f1=0.4)
    )
    ranks = [("high", "medium", "low").index(one.severity) for one in advice]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == 3
    assert all("x" * 40 not in one.title + one.text for one in advice)


def test_equal_inputs_give_equal_advice() -> None:
    inputs = inputs_of([*SOUND, *wrong("bent", "good", 9, 0.95)])
    assert advise(inputs) == advise(inputs)
