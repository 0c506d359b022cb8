"""The figures of a model of any task."""

from tasks.metrics.anomaly import AnomalyMetrics
from tasks.metrics.classification import ClassificationMetrics, CrossValidated
from tasks.metrics.detection import CrossValidatedDetection, DetectionMetrics
from tasks.metrics.importance import Importances
from tasks.metrics.multi_label import CrossValidatedMultiLabel, MultiLabelMetrics

Estimate = CrossValidated | CrossValidatedDetection | CrossValidatedMultiLabel
"""Of a model of any task; records tell them apart by their fields, none of which may be of another."""
TaskMetrics = ClassificationMetrics | DetectionMetrics | AnomalyMetrics | MultiLabelMetrics
"""Records tell them apart by their fields, none of which may be of another."""


def importances_of(estimate: Estimate | None) -> Importances | None:
    """Return what each kind of features is worth, where an estimate tells of it."""
    return estimate.importances if isinstance(estimate, CrossValidated | CrossValidatedMultiLabel) else None
