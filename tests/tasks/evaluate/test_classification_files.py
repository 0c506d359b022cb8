import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

from tasks.evaluate.classification_files import evaluation_summary, snapshot_line
from tasks.evaluate.records import ImagePrediction
from tasks.metrics.classification import ClassificationMetrics, confusion_matrix, measure, truths_of

TRAINING, EVALUATION = "rekognition-custom-labels-training", "rekognition-custom-labels-evaluation"
Line = dict[str, Any]


def _case(seed: int, labels: tuple[str, ...], images: int) -> tuple[ClassificationMetrics, list[ImagePrediction]]:
    rng = np.random.default_rng(seed)
    thresholds = {label: float(rng.uniform(0.1, 0.6)) for label in labels}
    # The last label has no test image.
    truth = rng.integers(0, max(1, len(labels) - 1), images)
    raw = rng.random((images, len(labels))) + 0.4 * np.eye(len(labels))[truth]
    confidences = raw / raw.sum(axis=1, keepdims=True)
    predictions = []
    for number, row in enumerate(confidences):
        ordered = {labels[i]: float(row[i]) for i in np.argsort(-row, kind="stable")}
        given = tuple(label for label, value in ordered.items() if value >= thresholds[label])
        predictions.append(
            ImagePrediction(
                source_ref=f"{number}.png", sha256="", truth=(labels[truth[number]],), confidences=ordered, given=given
            )
        )
    truths = truths_of([one.truth for one in predictions], labels)
    return measure(truths, confidences, labels, thresholds), predictions


def _summary(metrics: ClassificationMetrics, predictions: list[ImagePrediction], labels: tuple[str, ...]) -> Line:
    truths = truths_of([one.truth for one in predictions], labels)
    confidences = np.array([[one.confidences[label] for label in labels] for one in predictions])
    return evaluation_summary(metrics, confusion_matrix(truths, confidences), labels, 77, "arn")


def recount(lines: list[Line]) -> dict[str, Counter[str]]:
    """Count the outcomes per label from the snapshot's lines alone."""
    counts: dict[str, Counter[str]] = {}
    for line in lines:
        for key, value in line.items():
            if key.startswith(EVALUATION) and key.endswith("-metadata"):
                details = value[f"{EVALUATION}-details"]
                outcome = [name for name in details if name.startswith("is-t") or name.startswith("is-f")]
                counts.setdefault(value["class-name"], Counter()).update(name for name in outcome if details[name])
    return counts


@pytest.mark.parametrize(
    ("labels", "images"), [(("a", "b"), 30), (("a", "b", "c", "d"), 200), (("ü x", "y/z"), 1)], ids=str
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_counts_of_the_snapshot_give_the_figures(seed: int, labels: tuple[str, ...], images: int) -> None:
    metrics, predictions = _case(seed, labels, images)
    ids = {label: index for index, label in enumerate(labels)}
    lines = [json.loads(json.dumps(snapshot_line(one, ids))) for one in predictions]
    counts = recount(lines)
    for label, figures in metrics.per_label.items():
        count = counts.get(label, Counter())
        hits, extra, missed = (count[f"is-{word}"] for word in ("true-positive", "false-positive", "false-negative"))
        assert figures.precision == (hits / (hits + extra) if hits + extra else 0.0)
        assert figures.recall == (hits / (hits + missed) if hits + missed else 0.0)
        assert figures.support == hits + missed


@pytest.mark.parametrize("seed", range(3))
def test_summary_tells_the_figures(seed: int) -> None:
    labels = ("a", "b", "c")
    metrics, predictions = _case(seed, labels, 60)
    summary = json.loads(json.dumps(_summary(metrics, predictions, labels)))
    assert summary["Version"] == 1
    details = summary["EvaluationDetails"]
    assert details["Labels"] == list(labels)
    assert (details["NumberOfTrainingImages"], details["NumberOfTestingImages"]) == (77, 60)
    assert details["ProjectVersionArn"] == "arn"
    per_label = summary["LabelEvaluationResults"]
    scores = [one["Metrics"]["F1Score"] for one in per_label]
    assert scores == sorted(scores, reverse=True)
    assert sorted(one["Label"] for one in per_label) == list(labels)
    for one in per_label:
        figures = metrics.per_label[one["Label"]]
        assert one["NumberOfTestingImages"] == figures.support
        assert one["Metrics"] == {
            "Threshold": figures.threshold,
            "Precision": figures.precision,
            "Recall": figures.recall,
            "F1Score": figures.f1,
        }
    aggregate = summary["AggregatedEvaluationResults"]
    for name in ("Precision", "Recall", "F1Score"):
        tested = [one["Metrics"][name] for one in per_label if one["NumberOfTestingImages"]]
        assert aggregate[name] == pytest.approx(np.mean(tested), abs=1e-15)


def test_cells_are_shares_of_the_true_labels_images() -> None:
    labels = ("a", "b", "c")
    metrics, predictions = _case(0, labels, 60)
    cells = _summary(metrics, predictions, labels)["AggregatedEvaluationResults"]["ConfusionMatrix"]
    assert all(0.0 < cell["Value"] <= 1.0 for cell in cells)
    assert len({(cell["GroundTruthLabel"], cell["PredictedLabel"]) for cell in cells}) == len(cells)
    for label in ("a", "b"):
        row = {cell["PredictedLabel"]: cell["Value"] for cell in cells if cell["GroundTruthLabel"] == label}
        assert sum(row.values()) == pytest.approx(1.0)
        mine = [one for one in predictions if one.truth == (label,)]
        for guess, value in row.items():
            assert value == sum(one.top_label == guess for one in mine) / len(mine)
    assert not [cell for cell in cells if cell["GroundTruthLabel"] == "c"]


def test_line_has_the_services_shape() -> None:
    prediction = ImagePrediction(
        source_ref="a/1.png", sha256="", truth=("a",), confidences={"b": 0.6, "a": 0.3, "c": 0.1}, given=("b",)
    )
    line = snapshot_line(prediction, {"a": 0, "b": 1, "c": 2})
    assert next(iter(line)) == "source-ref"
    assert set(line) == {
        "source-ref",
        *(
            f"{name}{ending}"
            for name in (f"{TRAINING}-0", f"{EVALUATION}-0", f"{EVALUATION}-1")
            for ending in ("", "-metadata")
        ),
    }
    assert (line["source-ref"], line[f"{TRAINING}-0"]) == ("a/1.png", 0)
    truth = line[f"{TRAINING}-0-metadata"]
    assert (truth["class-name"], truth["confidence"], truth["human-annotated"]) == ("a", 1.0, "yes")
    assert truth["job-name"] == f"{TRAINING}-job"
    assert truth["type"] == "groundtruth/image-classification"
    given, missed = (line[f"{EVALUATION}-{index}-metadata"] for index in (0, 1))
    assert (given["class-name"], given["confidence"], line[f"{EVALUATION}-0"]) == ("b", 0.6, 1)
    assert (missed["class-name"], missed["confidence"], line[f"{EVALUATION}-1"]) == ("a", 0.3, 0)
    assert given["human-annotated"] == missed["human-annotated"] == "no"
    assert given["job-name"] == f"{EVALUATION}-job"
    common = {"version": 1, "is-true-negative": False, "ground-truth-labelling-jobs": [f"{TRAINING}-job"]}
    assert given[f"{EVALUATION}-details"] == common | {
        "is-true-positive": False,
        "is-false-positive": True,
        "is-false-negative": False,
        "is-present-in-ground-truth": False,
    }
    assert missed[f"{EVALUATION}-details"] == common | {
        "is-true-positive": False,
        "is-false-positive": False,
        "is-false-negative": True,
        "is-present-in-ground-truth": True,
    }


@pytest.mark.parametrize(
    ("given", "outcomes"),
    [
        ((), [("a", "is-false-negative")]),
        (("a",), [("a", "is-true-positive")]),
        (("b", "a"), [("b", "is-false-positive"), ("a", "is-true-positive")]),
    ],
    ids=["nothing given", "right", "both"],
)
def test_listed_labels(given: tuple[str, ...], outcomes: list[tuple[str, str]]) -> None:
    prediction = ImagePrediction(
        source_ref="x", sha256="", truth=("a",), confidences={"b": 0.5, "a": 0.4, "c": 0.1}, given=given
    )
    counts = recount([snapshot_line(prediction, {"a": 0, "b": 1, "c": 2})])
    assert counts == {label: Counter([outcome]) for label, outcome in outcomes}
