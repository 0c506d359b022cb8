"""An anomaly model's answers on the wire: verdict, confidence and boxes, in the plain API and in Rekognition's."""

import pytest

from deployments.endpoint.http_answers import PredictionDocument, prediction_document
from deployments.endpoint.rekognition.answers import custom_label
from tasks.bundle.predictor import Predictor
from tasks.serving.selection import select
from tasks.serving.service import Answer
from tests.tasks.bundle.made_anomaly_model import SIDE, grey, write_anomaly_model


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    predictor = Predictor.open(write_anomaly_model(tmp_path_factory.mktemp("made") / "bundle"))
    images = {"normal": grey(), "abnormal": grey((32, 16, 32, 16))}
    return {
        name: Answer(
            model="parts",
            version="1",
            bundle_digest="d" * 64,
            task="anomaly",
            labels=predictor.card.labels,
            thresholds=predictor.card.thresholds,
            prediction=prediction,
            width=SIDE,
            height=SIDE,
        )
        for name, prediction in zip(images, predictor.predict(list(images.values())), strict=True)
    }


def test_plain_api_tells_verdict_confidence_and_boxes(answers: dict[str, Answer]) -> None:
    told = PredictionDocument.model_validate(prediction_document(answers["abnormal"], None, None))
    assert told.task == "anomaly"
    assert [one.label for one in told.labels] == ["anomaly"]
    assert told.confidences["anomaly"] == told.boxes[0].confidence == pytest.approx(100 * 16 / 17, abs=0.1)
    place = told.boxes[0].pixels
    assert (place.left + place.width, len(told.boxes)) == (SIDE, 1)
    passed = PredictionDocument.model_validate(prediction_document(answers["normal"], None, None))
    assert (passed.labels, passed.boxes) == ([], [])
    assert passed.confidences["anomaly"] < 1


def test_rekognition_clients_get_a_custom_label_with_its_place(answers: dict[str, Answer]) -> None:
    (label,) = [custom_label(one) for one in select(answers["abnormal"])]
    assert label["Name"] == "anomaly"
    assert label["Confidence"] == pytest.approx(100 * 16 / 17, abs=0.1)
    assert label["Geometry"]["BoundingBox"]["Left"] > 0.3
    assert [custom_label(one) for one in select(answers["normal"])] == []
    (asked,) = [custom_label(one) for one in select(answers["normal"], min_confidence=0)]
    assert "Geometry" not in asked
