"""Evaluation files in the managed service's shape: what the summary and the snapshot of both tasks share.

Follows the worked example rather than the reference page where they differ (fields of the aggregate stand directly
under `AggregatedEvaluationResults`). Counts taken from the snapshot give the summary's figures exactly.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tasks.annotations.dates import UNDATED
from tasks.metrics.task_metrics import TaskMetrics

TRAINING_ATTRIBUTE = "rekognition-custom-labels-training"
EVALUATION_ATTRIBUTE = "rekognition-custom-labels-evaluation"
DETAILS_KEY = f"{EVALUATION_ATTRIBUTE}-details"
Outcome = Literal["true-positive", "false-positive", "false-negative"]


def summary_file(
    metrics: TaskMetrics,
    aggregate: Mapping[str, Any],
    images_by_label: Mapping[str, int],
    labels: Sequence[str],
    training_images: int,
    testing_images: int,
    version_arn: str,
) -> dict[str, Any]:
    """Return the summary file's content; labels sorted by F1, highest first.

    Args:
        metrics: the figures.
        aggregate: what the task's aggregate holds besides precision, recall and F1.
        images_by_label: number of test images that carry each label.
        labels: the model's, in its order.
        training_images: number of images that the model learned from.
        testing_images: number of test images.
        version_arn: names the model.
    """
    by_f1 = sorted(metrics.per_label.items(), key=lambda item: (-item[1].f1, item[0]))
    return {
        "Version": 1,
        "EvaluationDetails": {
            "ProjectVersionArn": version_arn,
            "EvaluationEndTimestamp": UNDATED,
            "Labels": list(labels),
            "NumberOfTrainingImages": training_images,
            "NumberOfTestingImages": testing_images,
        },
        "AggregatedEvaluationResults": {
            "Precision": metrics.macro_precision,
            "Recall": metrics.macro_recall,
            "F1Score": metrics.macro_f1,
            **aggregate,
        },
        "LabelEvaluationResults": [
            {
                "Label": label,
                "NumberOfTestingImages": images_by_label[label],
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


def truth_metadata(kind: str) -> dict[str, Any]:
    """Return what the metadata of every ground-truth attribute says; `kind` is the attribute's type."""
    return _metadata(kind, "yes", TRAINING_ATTRIBUTE)


def answer_metadata(kind: str) -> dict[str, Any]:
    """Return what the metadata of every predicted attribute says; `kind` is the attribute's type."""
    return _metadata(kind, "no", EVALUATION_ATTRIBUTE)


def outcome_details(outcome: Outcome) -> dict[str, Any]:
    """Return how one answer turned out, in the service's words."""
    return {
        "version": 1,
        "is-true-positive": outcome == "true-positive",
        "is-true-negative": False,
        "is-false-positive": outcome == "false-positive",
        "is-false-negative": outcome == "false-negative",
        "is-present-in-ground-truth": outcome != "false-positive",
        "ground-truth-labelling-jobs": [f"{TRAINING_ATTRIBUTE}-job"],
    }


def _metadata(kind: str, human: str, attribute: str) -> dict[str, Any]:
    return {"type": kind, "job-name": f"{attribute}-job", "human-annotated": human, "creation-date": UNDATED}
