"""Answers of all tasks are measured as wholes and on resamples by the same rule."""

import numpy as np
import pytest

from tasks.bundle.format import ModelCard, read_model_card
from tasks.bundle.predictor import Prediction
from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.metrics.answers import headline, headline_of_resamples, measure_answers
from tasks.metrics.bootstrap import draw_resamples
from tests.tasks.bundle.made_anomaly_model import write_anomaly_model
from tests.tasks.bundle.made_detector import LABELS as BOX_LABELS
from tests.tasks.bundle.made_detector import silent_outputs, write_detector
from tests.tasks.metrics.random_boxes import dataset
from tests.tasks.serving.made_classifier import write_classifier

LABELS = ("red", "green", "blue")
Case = tuple[ModelCard, list[ImageEntry], list[Prediction]]


def entry(number: int, truth: Truth) -> ImageEntry:
    return ImageEntry(f"{number}.png", f"{number:064x}", 512, 512, truth)


@pytest.fixture
def classified(tmp_path) -> Case:
    card = read_model_card(write_classifier(tmp_path / "bundle", LABELS, threshold=0.4))
    rng = np.random.default_rng(5)
    truths = [str(label) for label in rng.choice(LABELS[:2], 20)]
    answers = []
    for truth in truths:
        values = rng.dirichlet([1 + 3 * (label == truth) for label in LABELS])
        confidences = dict(sorted(zip(LABELS, values.tolist(), strict=True), key=lambda item: -item[1]))
        answers.append(Prediction(confidences, tuple(label for label, value in confidences.items() if value >= 0.4)))
    return card, [entry(number, Truth((label,))) for number, label in enumerate(truths)], answers


@pytest.fixture
def detected(tmp_path) -> Case:
    (tmp_path / "bundle").mkdir()
    card = read_model_card(write_detector(tmp_path / "bundle", silent_outputs()))
    truths, found = dataset(1, images=20, labels=BOX_LABELS)
    entries = [
        entry(number, Truth(tuple(sorted({box.label for box in boxes})), tuple(boxes)))
        for number, boxes in enumerate(truths)
    ]
    answers = [Prediction(dict.fromkeys(BOX_LABELS, 0.0), (), tuple(boxes)) for boxes in found]
    return card, entries, answers


@pytest.fixture
def judged(tmp_path) -> Case:
    card = read_model_card(write_anomaly_model(tmp_path / "bundle"))
    rng = np.random.default_rng(2)
    abnormal = rng.random(20) < 0.5
    answers = [Prediction({"anomaly": float(one)}, ()) for one in rng.random(20) / 2 + abnormal / 4]
    entries = [
        entry(number, Truth(("anomaly",)) if one else Truth((), ())) for number, one in enumerate(abnormal.tolist())
    ]
    return card, entries, answers


@pytest.mark.parametrize("case", ["classified", "detected", "judged"])
def test_headline_of_resamples_is_the_headline_of_their_images(case: str, request: pytest.FixtureRequest) -> None:
    card, entries, answers = request.getfixturevalue(case)
    counts = np.vstack([np.ones(len(entries), np.int64), draw_resamples(len(entries), 5, 0)])
    places = [np.repeat(np.arange(len(entries)), row).tolist() for row in counts]
    expected = [
        headline(measure_answers(card, [entries[i] for i in row], [answers[i] for i in row], None)) for row in places
    ]
    assert 0 < expected[0] < 1
    assert len(set(expected)) > 3
    assert headline_of_resamples(card, entries, answers, counts) == pytest.approx(expected, abs=1e-9)
