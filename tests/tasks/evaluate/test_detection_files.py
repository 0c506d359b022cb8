import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.evaluate.answers import Measured
from tasks.evaluate.detection import evaluate_detector
from tasks.evaluate.detection_files import box_snapshot_line, detection_summary
from tasks.evaluate.records import ImagePrediction
from tasks.metrics.detection import measure_detections
from tasks.vision.boxes import BoundingBox, DetectedBox
from tests.tasks.evaluate.box_answers import SIZE, answers_of
from tests.tasks.metrics.random_boxes import LABELS

TRAINING, EVALUATION = "rekognition-custom-labels-training-0", "rekognition-custom-labels-evaluation"
Line = dict[str, Any]


def recount(lines: list[Line]) -> dict[str, Counter[str]]:
    """Count the outcomes per label from the snapshot's lines alone."""
    counts: dict[str, Counter[str]] = {}
    for line in lines:
        metadata = line[f"{EVALUATION}-metadata"]
        for box, told in zip(line[EVALUATION]["annotations"], metadata["objects"], strict=True):
            details = told[f"{EVALUATION}-details"]
            outcome = [name for name in details if name.startswith(("is-true", "is-false")) and details[name]]
            assert len(outcome) == 1
            assert details["is-present-in-ground-truth"] == (outcome != ["is-false-positive"])
            counts.setdefault(metadata["class-map"][str(box["class_id"])], Counter()).update(outcome)
    return counts


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.integers(1, 8))
def test_counts_of_the_snapshot_give_the_summary(seed: int, tied: bool, images: int) -> None:
    measured = evaluate_without_drawings(seed, tied=tied, images=images)
    lines = [json.loads(json.dumps(line)) for line in measured.snapshot]
    counts = recount(lines)
    results = {one["Label"]: one for one in measured.summary["LabelEvaluationResults"]}
    assert set(results) == set(LABELS)
    for label, result in results.items():
        count = counts.get(label, Counter())
        hits, extra, missed = (count[f"is-{word}"] for word in ("true-positive", "false-positive", "false-negative"))
        assert result["Metrics"]["Precision"] == (hits / (hits + extra) if hits + extra else 0.0)
        assert result["Metrics"]["Recall"] == (hits / (hits + missed) if hits + missed else 0.0)
        assert result["Metrics"]["F1Score"] == (2 * hits / (2 * hits + extra + missed) if hits + extra + missed else 0)
        assert measured.metrics.per_label[label].support == hits + missed
        carriers = [line for line in lines if label in line[f"{TRAINING}-metadata"]["class-map"].values()]
        assert result["NumberOfTestingImages"] == len(carriers)


def evaluate_without_drawings(seed: int, **shape: object) -> Any:
    """Evaluate as in production, but draw nothing: the files do not depend on it."""
    answers = answers_of(seed, **shape)
    truths, found = ([getattr(one, name) for one in answers.predictions] for name in ("true_boxes", "boxes"))
    metrics = measure_detections(truths, found, answers.labels, answers.thresholds)
    summary = detection_summary(metrics, answers.predictions, answers.labels, 77, "arn")
    lines = [box_snapshot_line(one, answers.class_ids, SIZE) for one in answers.predictions]
    return Measured(metrics, {}, summary, lines)


def test_summary_tells_the_figures() -> None:
    measured = evaluate_detector(answers_of(0, images=9))
    summary, metrics = json.loads(json.dumps(measured.summary)), measured.metrics
    assert summary["Version"] == 1
    details = summary["EvaluationDetails"]
    assert (details["NumberOfTrainingImages"], details["NumberOfTestingImages"]) == (77, 9)
    assert details["Labels"] == list(LABELS)
    assert summary["AggregatedEvaluationResults"] == {
        "Precision": metrics.macro_precision,
        "Recall": metrics.macro_recall,
        "F1Score": metrics.macro_f1,
        "AveragePrecision": metrics.map,
        "AverageRecall": metrics.mar_100,
    }
    scores = [one["Metrics"]["F1Score"] for one in summary["LabelEvaluationResults"]]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.0
    for one in summary["LabelEvaluationResults"]:
        assert one["Metrics"]["Threshold"] == metrics.per_label[one["Label"]].threshold


def _line(
    true_boxes: tuple[BoundingBox, ...], boxes: tuple[DetectedBox, ...], size: tuple[int, int] = (100, 80)
) -> Line:
    one = ImagePrediction(
        source_ref="a/1.png", sha256="", truth=(), confidences={}, given=(), true_boxes=true_boxes, boxes=boxes
    )
    return box_snapshot_line(one, {"bent": 4, "cut": 0}, size)


def test_line_has_the_services_shape() -> None:
    line = _line((BoundingBox("bent", 5, 6, 20, 30),), (DetectedBox("cut", 40.4, 10.5, 20.2, 9.0, 0.75, True),))
    assert list(line) == ["source-ref", TRAINING, f"{TRAINING}-metadata", EVALUATION, f"{EVALUATION}-metadata"]
    size = [{"width": 100, "height": 80, "depth": 3}]
    missed = {"class_id": 4, "left": 5, "top": 6, "width": 20, "height": 30}
    assert line[TRAINING] == {"image_size": size, "annotations": [missed]}
    truth = line[f"{TRAINING}-metadata"]
    assert truth == {
        "objects": [{"confidence": 1.0}],
        "class-map": {"4": "bent"},
        "human-annotated": "yes",
        "job-name": "rekognition-custom-labels-training-job",
        "type": "groundtruth/object-detection",
        "creation-date": truth["creation-date"],
    }
    wrong = {"class_id": 0, "left": 40, "top": 11, "width": 21, "height": 9}
    assert line[EVALUATION] == {"image_size": size, "annotations": [wrong, missed]}
    answer = line[f"{EVALUATION}-metadata"]
    assert answer["class-map"] == {"4": "bent", "0": "cut"}
    assert (answer["human-annotated"], answer["job-name"]) == ("no", "rekognition-custom-labels-evaluation-job")
    assert answer["type"] == truth["type"]
    assert [one["confidence"] for one in answer["objects"]] == [0.75, 0.0]
    assert answer["objects"][1][f"{EVALUATION}-details"] == {
        "version": 1,
        "is-true-positive": False,
        "is-true-negative": False,
        "is-false-positive": False,
        "is-false-negative": True,
        "is-present-in-ground-truth": True,
        "ground-truth-labelling-jobs": ["rekognition-custom-labels-training-job"],
    }


TRUE = BoundingBox("bent", 10, 10, 20, 20)


@pytest.mark.parametrize(
    ("true_boxes", "boxes", "outcomes"),
    [
        pytest.param((TRUE,), (), [("is-false-negative", 0.0)], id="missed"),
        pytest.param(
            (TRUE,), (DetectedBox("bent", 10, 10, 20, 20, 0.3, False),), [("is-false-negative", 0.3)], id="too unsure"
        ),
        pytest.param(
            (TRUE,), (DetectedBox("bent", 10, 10, 20, 20, 0.9, True),), [("is-true-positive", 0.9)], id="right"
        ),
        pytest.param((), (DetectedBox("bent", 10, 10, 20, 20, 0.9, True),), [("is-false-positive", 0.9)], id="wrong"),
        pytest.param((), (DetectedBox("bent", 10, 10, 20, 20, 0.2, False),), [], id="unsure and nothing there"),
        pytest.param((), (), [], id="nothing"),
        pytest.param(
            (TRUE,),
            (DetectedBox("bent", 10, 10, 20, 20, 0.9, True), DetectedBox("bent", 11, 10, 20, 20, 0.8, True)),
            [("is-true-positive", 0.9), ("is-false-positive", 0.8)],
            id="twice",
        ),
    ],
)
def test_outcome(
    true_boxes: tuple[BoundingBox, ...], boxes: tuple[DetectedBox, ...], outcomes: list[tuple[str, float]]
) -> None:
    told = _line(true_boxes, boxes)[f"{EVALUATION}-metadata"]["objects"]
    found = [
        (name, one["confidence"])
        for one in told
        for name, is_so in one[f"{EVALUATION}-details"].items()
        if name.startswith(("is-true", "is-false")) and is_so
    ]
    assert found == outcomes


EDGE = st.floats(-5.0, 70.0)


@settings(max_examples=100, deadline=None)
@given(EDGE, EDGE, st.floats(0.0, 80.0), st.floats(0.0, 80.0), st.integers(1, 64), st.integers(1, 64))
def test_boxes_are_whole_pixels_inside_the_image(
    left: float, top: float, width: float, height: float, image_width: int, image_height: int
) -> None:
    line = _line((), (DetectedBox("bent", left, top, width, height, 0.9, True),), (image_width, image_height))
    (box,) = line[EVALUATION]["annotations"]
    for start, length, limit, first, last in (
        (box["left"], box["width"], image_width, left, left + width),
        (box["top"], box["height"], image_height, top, top + height),
    ):
        assert type(start) is type(length) is int
        assert 0 <= start < start + length <= limit
        if first >= 0 and last <= limit and last - first >= 1.5:
            assert abs(start - first) <= 0.5 + 1e-9
            assert abs(start + length - last) <= 0.5 + 1e-9
