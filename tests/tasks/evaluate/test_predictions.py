from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.bundle.predictor import BATCH_SIZE, Predictor
from tasks.dataset.entries import ImageEntry
from tasks.errors import SourceChanged
from tasks.evaluate.predictions import confidence_matrix, predict_entries, write_predictions
from tasks.evaluate.records import ImagePrediction, read_predictions
from tasks.ground_truth.manifests import read_manifest
from tests.tasks.conftest import Made


@pytest.fixture(scope="module")
def predictor(trained: Made) -> Predictor:
    return Predictor.open(trained.model.bundle_path)


@pytest.fixture(scope="module")
def entries(trained: Made) -> list[ImageEntry]:
    return list(read_manifest(trained.manifest.manifest_path("train")))


def test_entries_are_predicted_in_order(predictor: Predictor, entries: list[ImageEntry], trained: Made) -> None:
    told: list[tuple[int, int]] = []
    found = predict_entries(predictor, trained.source, entries, lambda *done: told.append(done))
    assert [one.source_ref for one in found] == [entry.source_ref for entry in entries]
    assert [one.truth for one in found] == [entry.truth.labels for entry in entries]
    assert len(entries) > BATCH_SIZE
    assert told == [(done, len(entries)) for done in (*range(BATCH_SIZE, len(entries), BATCH_SIZE), len(entries))]
    for one in (found[0], found[-1]):
        alone = predictor.predict_bytes([(trained.source / one.source_ref).read_bytes()])[0]
        assert one.confidences == pytest.approx(alone.confidences, abs=1e-5)
        assert one.given == tuple(
            label for label, value in one.confidences.items() if value >= predictor.card.thresholds[label]
        )


def test_nothing_is_predicted_of_nothing(predictor: Predictor, trained: Made) -> None:
    assert predict_entries(predictor, trained.source, [], lambda *_: None) == []


def test_changed_file_is_refused(predictor: Predictor, entries: list[ImageEntry], trained: Made) -> None:
    changed = [*entries[:3], replace(entries[3], sha256="0" * 64)]
    with pytest.raises(SourceChanged, match=entries[3].source_ref):
        predict_entries(predictor, trained.source, changed, lambda *_: None)


def test_written_predictions_come_back_exactly(tmp_path: Path) -> None:
    predictions = [
        ImagePrediction(
            source_ref=f"ü b/{number}\u2028.png",
            sha256="0" * 64,
            truth=("ü b",),
            confidences={"ü b": 1 / 3 + number * 1e-17, "a": 2 / 3},
            given=("a",),
        )
        for number in range(3)
    ]
    write_predictions(tmp_path / "p.jsonl", predictions)
    found = list(read_predictions(tmp_path / "p.jsonl"))
    assert found == predictions
    assert [list(one.confidences) for one in found] == [["ü b", "a"]] * 3


def test_matrix_has_the_order_of_the_labels() -> None:
    one = ImagePrediction(source_ref="x", sha256="", truth=("a",), confidences={"b": 0.75, "a": 0.25}, given=())
    np.testing.assert_array_equal(confidence_matrix([one, one], ("a", "b")), [[0.25, 0.75]] * 2)
    assert (one.top_label, one.is_correct) == ("b", False)
