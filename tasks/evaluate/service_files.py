"""Evaluation files in the managed service's shape: the summary, and the snapshot of every test image.

Follows the worked example rather than the reference page where they differ (fields of the aggregate stand directly
under `AggregatedEvaluationResults`). Counts taken from the snapshot give the summary's figures exactly.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tasks.annotations.dates import UNDATED
from tasks.evaluate.records import ImagePrediction
from tasks.ground_truth.manifests import CLASSIFICATION_TYPE
from tasks.metrics.classification import ClassificationMetrics

TRAINING_ATTRIBUTE = "rekognition-custom-labels-training"
EVALUATION_ATTRIBUTE = "rekognition-custom-labels-evaluation"


def evaluation_summary(
    metrics: ClassificationMetrics,
    confusion: np.ndarray[Any, np.dtype[np.int64]],
    labels: Sequence[str],
    training_images: int,
    version_arn: str,
) -> dict[str, Any]:
    """Return the summary file's content; labels sorted by F1, highest first.

    A cell of the confusion matrix is a share of the ground-truth label's images; cells of 0 are left out, as the
    service does.
    """
    rows = confusion.sum(axis=1)
    by_f1 = sorted(metrics.per_label.items(), key=lambda item: (-item[1].f1, item[0]))
    return {
        "Version": 1,
        "EvaluationDetails": {
            "ProjectVersionArn": version_arn,
            "EvaluationEndTimestamp": UNDATED,
            "Labels": list(labels),
            "NumberOfTrainingImages": training_images,
            "NumberOfTestingImages": int(rows.sum()),
        },
        "AggregatedEvaluationResults": {
            "Precision": metrics.macro_precision,
            "Recall": metrics.macro_recall,
            "F1Score": metrics.macro_f1,
            "ConfusionMatrix": [
                {"GroundTruthLabel": truth, "PredictedLabel": guess, "Value": float(confusion[i, j] / rows[i])}
                for i, truth in enumerate(labels)
                for j, guess in enumerate(labels)
                if confusion[i, j]
            ],
        },
        "LabelEvaluationResults": [
            {
                "Label": label,
                "NumberOfTestingImages": figures.support,
                "Metrics": {
                    "Threshold": figures.threshold,
                    "Precision": figures.precision,
                    "Recall": figures.recall,
                    "F1Score": figures.f1,
                },
            }
            for label, figures in by_f1
        ],
    }


def snapshot_line(prediction: ImagePrediction, class_ids: Mapping[str, int]) -> dict[str, Any]:
    """Return one test image's line: its ground truth, and every label that is true or was given."""
    line: dict[str, Any] = {"source-ref": prediction.source_ref}
    for index, label in enumerate(prediction.truth):
        name = f"{TRAINING_ATTRIBUTE}-{index}"
        line[name] = class_ids[label]
        line[f"{name}-metadata"] = _metadata(label, 1.0, "yes", f"{TRAINING_ATTRIBUTE}-job")
    listed = [label for label in prediction.confidences if label in prediction.given or label in prediction.truth]
    for index, label in enumerate(listed):
        name = f"{EVALUATION_ATTRIBUTE}-{index}"
        line[name] = class_ids[label]
        metadata = _metadata(label, prediction.confidences[label], "no", f"{EVALUATION_ATTRIBUTE}-job")
        metadata[f"{EVALUATION_ATTRIBUTE}-details"] = _details(label, prediction)
        line[f"{name}-metadata"] = metadata
    return line


def _metadata(label: str, confidence: float, human: str, job: str) -> dict[str, Any]:
    return {
        "class-name": label,
        "confidence": confidence,
        "type": CLASSIFICATION_TYPE,
        "job-name": job,
        "human-annotated": human,
        "creation-date": UNDATED,
    }


def _details(label: str, prediction: ImagePrediction) -> dict[str, Any]:
    given, true = label in prediction.given, label in prediction.truth
    return {
        "version": 1,
        "is-true-positive": given and true,
        "is-true-negative": False,
        "is-false-positive": given and not true,
        "is-false-negative": true and not given,
        "is-present-in-ground-truth": true,
        "ground-truth-labelling-jobs": [f"{TRAINING_ATTRIBUTE}-job"],
    }
