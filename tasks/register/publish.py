"""What a training run leaves in MLflow: flat parameters and metrics, and the files a person looks for."""

import hashlib
from collections.abc import Mapping
from typing import Any

from tasks.metrics.classification import ClassificationMetrics

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


def flat_metrics(metrics: ClassificationMetrics) -> dict[str, float]:
    """Flatten a classifier's figures to MLflow's metric names, labels made safe."""
    flat = {
        "test.accuracy": metrics.accuracy,
        "test.macro_precision": metrics.macro_precision,
        "test.macro_recall": metrics.macro_recall,
        "test.macro_f1": metrics.macro_f1,
        "test.calibration_error": metrics.calibration_error,
    }
    if metrics.cross_validated:
        flat["cross_validated.macro_f1"] = metrics.cross_validated.macro_f1
        flat["cross_validated.macro_f1_std"] = metrics.cross_validated.macro_f1_std
        flat["cross_validated.accuracy"] = metrics.cross_validated.accuracy
    for label, figures in metrics.per_label.items():
        for name in ("precision", "recall", "f1", "threshold"):
            flat[f"label.{metric_name(label)}.{name}"] = getattr(figures, name)
    return flat


def metric_name(label: str) -> str:
    """Replace what MLflow refuses in metric names (it takes letters, digits, `_`, `-`, `.`, blanks, `:` and `/`).

    A label that is not kept as it is gets a piece of its digest, so that no two labels share a metric.
    """
    safe = "".join(
        character if character.isascii() and (character.isalnum() or character in "_-. ") else "_"
        for character in label
    )[:MAX_LABEL_CHARACTERS]
    return safe if safe == label else f"{safe}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"
