"""Run a bundle's predictor over the images of a split, as it will run in service."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tasks.bundle.format import Task
from tasks.bundle.predictor import BATCH_SIZE, Prediction, Predictor
from tasks.dataset.entries import ImageEntry
from tasks.dataset.files import read_image_bytes
from tasks.evaluate.records import ImagePrediction
from tasks.metrics.classification import Confidences


def predict_entries(
    predictor: Predictor, root: Path, entries: Sequence[ImageEntry], report: Callable[[int, int], None]
) -> list[ImagePrediction]:
    """Predict every entry from its file, in order; `report(done, total)` is called per batch.

    Raises:
        SourceChanged: when a file's bytes are not those that were checked at ingest.
    """
    predictions: list[ImagePrediction] = []
    join = _with_any_labels if predictor.card.is_multi_label else JOINS[predictor.card.task]
    for start in range(0, len(entries), BATCH_SIZE):
        batch = entries[start : start + BATCH_SIZE]
        answers = predictor.predict_bytes([read_image_bytes(root, entry) for entry in batch])
        predictions += [join(entry, answer) for entry, answer in zip(batch, answers, strict=True)]
        report(len(predictions), len(entries))
    return predictions


def confidence_matrix(predictions: Iterable[ImagePrediction], labels: Sequence[str]) -> Confidences:
    """Return N x L confidences, columns in the order of `labels`."""
    return np.array([[prediction.confidences[label] for label in labels] for prediction in predictions])


def write_predictions(path: Path, predictions: Iterable[ImagePrediction]) -> None:
    """Write one prediction per line, as `read_predictions` reads them."""
    lines = (prediction.model_dump_json(exclude_none=True) for prediction in predictions)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _joined(entry: ImageEntry, answer: Prediction) -> ImagePrediction:
    return ImagePrediction(
        source_ref=entry.source_ref,
        sha256=entry.sha256,
        truth=entry.truth.labels,
        confidences=answer.confidences,
        given=answer.labels,
    )


def _with_any_labels(entry: ImageEntry, answer: Prediction) -> ImagePrediction:
    return _joined(entry, answer).model_copy(update={"labels_per_image": "any"})


def _with_boxes(entry: ImageEntry, answer: Prediction) -> ImagePrediction:
    boxes = {"true_boxes": entry.truth.boxes or (), "boxes": answer.boxes}
    return _joined(entry, answer).model_copy(update=boxes)


def _with_heat_map(entry: ImageEntry, answer: Prediction) -> ImagePrediction:
    return _with_boxes(entry, answer).model_copy(update={"heat_map": answer.heat_map})


JOINS: Mapping[Task, Callable[[ImageEntry, Prediction], ImagePrediction]] = {
    "classification": _joined,
    "detection": _with_boxes,
    "anomaly": _with_heat_map,
}
