import pytest

from tasks.evaluate.predictions import write_predictions
from tasks.evaluate.records import Evaluation, GateVerdict, ImagePrediction, read_predictions
from tasks.metrics.classification import ClassificationMetrics
from tasks.metrics.detection import DetectionMetrics, measure_detections
from tasks.vision.boxes import BoundingBox, DetectedBox
from tests.tasks.evaluate.box_answers import CUTS, answers_of
from tests.tasks.metrics.random_boxes import LABELS, dataset

TRUE, OTHER = BoundingBox("bent", 10, 10, 20, 20), BoundingBox("cut", 60, 60, 20, 20)
RIGHT = DetectedBox("bent", 11, 10, 20, 20, 0.9, True)


@pytest.mark.parametrize(
    ("true_boxes", "boxes", "is_correct"),
    [
        pytest.param((TRUE,), (RIGHT,), True, id="found"),
        pytest.param((), (), True, id="nothing there, nothing given"),
        pytest.param((TRUE,), (), False, id="missed"),
        pytest.param((), (RIGHT,), False, id="nothing there"),
        pytest.param((TRUE, OTHER), (RIGHT,), False, id="one missed"),
        pytest.param((TRUE,), (DetectedBox("cut", 11, 10, 20, 20, 0.9, True),), False, id="wrong label"),
        pytest.param((TRUE,), (DetectedBox("bent", 40, 10, 20, 20, 0.9, True),), False, id="wrong place"),
        pytest.param((TRUE,), (DetectedBox("bent", 11, 10, 20, 20, 0.3, False),), False, id="found but not given"),
        pytest.param((TRUE,), (RIGHT, DetectedBox("cut", 0, 0, 5, 5, 0.3, False)), True, id="extra but not given"),
        pytest.param((TRUE,), (RIGHT, DetectedBox("bent", 10, 10, 20, 20, 0.8, True)), False, id="twice"),
    ],
)
def test_detection_is_correct_when_its_boxes_are_the_true_ones(
    true_boxes: tuple[BoundingBox, ...], boxes: tuple[DetectedBox, ...], is_correct: bool
) -> None:
    # The labels alone are right in every case, so that only the boxes can tell.
    one = ImagePrediction(
        source_ref="x", sha256="", truth=("bent",), confidences={"bent": 0.9}, given=("bent",),
        true_boxes=true_boxes, boxes=boxes,
    )  # fmt: skip
    assert one.is_correct == is_correct
    assert one.given_boxes == tuple(box for box in boxes if box.is_given)


@pytest.mark.parametrize(("truth", "is_correct"), [(("bent",), True), (("cut",), False)], ids=["right", "wrong"])
def test_classification_is_correct_when_the_top_label_is_true(truth: tuple[str, ...], is_correct: bool) -> None:
    one = ImagePrediction(source_ref="x", sha256="", truth=truth, confidences={"bent": 0.9, "cut": 0.1}, given=())
    assert one.is_correct == is_correct
    assert one.given_boxes == ()


def test_predictions_with_boxes_come_back_exactly(tmp_path) -> None:
    predictions = list(answers_of(3, images=6).predictions)
    write_predictions(tmp_path / "p.jsonl", predictions)
    assert list(read_predictions(tmp_path / "p.jsonl")) == predictions
    assert any(one.boxes for one in predictions)


def test_predictions_without_boxes_say_nothing_of_boxes(tmp_path) -> None:
    one = ImagePrediction(source_ref="x", sha256="", truth=("a",), confidences={"a": 1.0}, given=("a",))
    write_predictions(tmp_path / "p.jsonl", [one])
    assert "boxes" not in (tmp_path / "p.jsonl").read_text()
    assert list(read_predictions(tmp_path / "p.jsonl")) == [one]


def test_evaluation_comes_back_with_the_metrics_of_its_task() -> None:
    detected = measure_detections(*dataset(0, images=3), LABELS, CUTS)
    classified = ClassificationMetrics(
        accuracy=1.0, macro_precision=1.0, macro_recall=1.0, macro_f1=1.0, per_label={}, calibration_error=0.0
    )
    for metrics, kind in ((detected, DetectionMetrics), (classified, ClassificationMetrics)):
        record = Evaluation(bundle_digest="b" * 64, manifest_digest="m" * 64, metrics=metrics)
        again = Evaluation.model_validate_json(record.model_dump_json())
        assert again == record
        assert type(again.metrics) is kind


def test_verdict_of_an_earlier_classification_still_reads() -> None:
    verdict = GateVerdict.model_validate_json('{"passed":true,"reasons":[],"judged_on":{"a":"test"},"macro_f1":0.9}')
    assert (verdict.macro_f1, verdict.map_50) == (0.9, None)
