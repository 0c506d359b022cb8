"""What a training run leaves in MLflow: flat parameters and metrics, and the files a person looks for."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from tasks.metrics.detection import DetectionMetrics
from tasks.metrics.multi_label import MultiLabelMetrics
from tasks.metrics.task_metrics import TaskMetrics

MAX_PARAMETER_CHARACTERS = 500
MAX_LABEL_CHARACTERS = 100


def flat_parameters(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten nested settings to `group.field` names.

    >>> flat_parameters({"task": "classification", "data": {"split": "80/20"}})
    {'task': 'classification', 'data.split': '80/20'}
    """
    flat: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat.update(flat_parameters(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = str(value)[:MAX_PARAMETER_CHARACTERS]
    return flat


def flat_metrics(metrics: TaskMetrics) -> dict[str, float]:
    """Flatten a model's figures to MLflow's metric names, labels made safe.

    Counts are left out, and so are figures that the test images do not give.
    """
    flat = {f"test.{name}": value for name, value in _figures(metrics)}
    if isinstance(metrics, DetectionMetrics):
        flat |= {f"test.map_{size}": value for size, value in metrics.map_by_size.items() if value is not None}
    if isinstance(metrics, MultiLabelMetrics):
        precisions = metrics.average_precision.items()
        flat |= {f"label.{metric_name(label)}.average_precision": value for label, value in precisions}
    if metrics.cross_validated:
        flat |= {f"cross_validated.{name}": value for name, value in _figures(metrics.cross_validated)}
    for label, figures in metrics.per_label.items():
        flat |= {f"label.{metric_name(label)}.{name}": value for name, value in _figures(figures)}
    return flat


def _figures(model: BaseModel) -> Iterator[tuple[str, float]]:
    return ((name, value) for name, value in model if isinstance(value, float))


def metric_name(label: str) -> str:
    """Replace what MLflow refuses in metric names (it takes letters, digits, `_`, `-`, `.`, blanks, `:` and `/`).

    A label that is not kept as it is gets a piece of its digest, so that no two labels share a metric.
    """
    safe = "".join(
        character if character.isascii() and (character.isalnum() or character in "_-. ") else "_"
        for character in label
    )[:MAX_LABEL_CHARACTERS]
    return safe if safe == label else f"{safe}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"
