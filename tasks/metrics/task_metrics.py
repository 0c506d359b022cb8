"""The figures of a model of any task."""

from tasks.metrics.anomaly import AnomalyMetrics
from tasks.metrics.classification import ClassificationMetrics
from tasks.metrics.detection import DetectionMetrics

TaskMetrics = ClassificationMetrics | DetectionMetrics | AnomalyMetrics
"""Records tell them apart by their fields, none of which may be of another."""
