"""A classifier's evaluation files in the managed service's shape."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.evaluate.records import ImagePrediction
from tasks.evaluate.service_files import (
    DETAILS_KEY,
    EVALUATION_ATTRIBUTE,
    TRAINING_ATTRIBUTE,
    Outcome,
    answer_metadata,
    outcome_details,
    summary_file,
    truth_metadata,
)
from tasks.ground_truth.manifests import CLASSIFICATION_TYPE
from tasks.metrics.classification import ClassificationMetrics


def evaluation_summary(
    metrics: ClassificationMetrics,
    confusion: NDArray[np.int64],
    labels: Sequence[str],
    training_images: int,
    version_arn: str,
) -> dict[str, Any]:
    """Return the summary file's content.

    A cell of the confusion matrix is a share of the ground-truth label's images; cells of 0 are left out, as the
    service does.
    """
    rows = confusion.sum(axis=1)
    cells = [
        {"GroundTruthLabel": truth, "PredictedLabel": guess, "Value": float(confusion[i, j] / rows[i])}
        for i, truth in enumerate(labels)
        for j, guess in enumerate(labels)
        if confusion[i, j]
    ]
    images = {label: figures.support for label, figures in metrics.per_label.items()}
    aggregate = {"ConfusionMatrix": cells}
    return summary_file(metrics, aggregate, images, labels, training_images, int(rows.sum()), version_arn)


def snapshot_line(prediction: ImagePrediction, class_ids: Mapping[str, int]) -> dict[str, Any]:
    """Return one test image's line: its ground truth, and every label that is true or was given."""
    line: dict[str, Any] = {"source-ref": prediction.source_ref}
    for index, label in enumerate(prediction.truth):
        name = f"{TRAINING_ATTRIBUTE}-{index}"
        line[name] = class_ids[label]
        line[f"{name}-metadata"] = {"class-name": label, "confidence": 1.0, **truth_metadata(CLASSIFICATION_TYPE)}
    listed = [label for label in prediction.confidences if label in prediction.given or label in prediction.truth]
    for index, label in enumerate(listed):
        name = f"{EVALUATION_ATTRIBUTE}-{index}"
        line[name] = class_ids[label]
        line[f"{name}-metadata"] = {
            "class-name": label,
            "confidence": prediction.confidences[label],
            **answer_metadata(CLASSIFICATION_TYPE),
            DETAILS_KEY: outcome_details(_outcome(label, prediction)),
        }
    return line


def _outcome(label: str, prediction: ImagePrediction) -> Outcome:
    if label not in prediction.given:
        return "false-negative"
    return "true-positive" if label in prediction.truth else "false-positive"
