"""Our records as the service writes them: members by their names in its model, times in seconds since 1970."""

from typing import Any

from tasks.serving.projects import Project, Version
from tasks.serving.selection import RatioBox, Selected
from tasks.serving.states import Status
from tasks.tracking.registry import REASONS_TAG, STATUS_TAG

TRAINED = "TRAINING_COMPLETED"
READY_MESSAGE = "The model is ready to run."
MAX_DESCRIPTION_CHARACTERS = 255
_FEATURE = "CUSTOM_LABELS"


def custom_label(selected: Selected) -> dict[str, Any]:
    """Write a label with its confidence in percent; a detector's with its box, a classifier's without `Geometry`."""
    label: dict[str, Any] = {"Name": selected.label, "Confidence": 100.0 * selected.confidence}
    if selected.box:
        label["Geometry"] = {"BoundingBox": _bounding_box(selected.box)}
    return label


def project_description(project: Project) -> dict[str, Any]:
    """Write a project; its data lies with its dataset, not with the endpoint, hence no datasets."""
    return {
        "ProjectArn": str(project.arn),
        "CreationTimestamp": project.created_ms / 1000,
        "Status": "CREATED",
        "Datasets": [],
        "Feature": _FEATURE,
    }


def version_description(version: Version) -> dict[str, Any]:
    """Write a version; `TRAINING_COMPLETED` until it is started for the first time."""
    made = version.info.created_ms / 1000
    description: dict[str, Any] = {
        "ProjectVersionArn": str(version.arn),
        "CreationTimestamp": made,
        "Status": version.status or TRAINED,
        "StatusMessage": _status_message(version),
        "TrainingEndTimestamp": made,
        "Feature": _FEATURE,
    }
    if version.f1 is not None:
        description["EvaluationResult"] = {"F1Score": version.f1}
    if version.state and version.state.min_units is not None:
        description["MinInferenceUnits"] = version.state.min_units
    if version.state and version.state.max_units is not None:
        description["MaxInferenceUnits"] = version.state.max_units
    if what := _what_it_is(version):
        description["VersionDescription"] = what
    return description


def _bounding_box(box: RatioBox) -> dict[str, float]:
    return {"Width": box.width, "Height": box.height, "Left": box.left, "Top": box.top}


def _status_message(version: Version) -> str:
    if version.state:
        return version.state.message
    if version.status is Status.RUNNING:
        return f"The model is running: version {version.info.version}, to which the alias points."
    if version.info.tags.get(STATUS_TAG) == "rejected":
        return f"{READY_MESSAGE} But it was rejected: {version.info.tags.get(REASONS_TAG, '')}"
    return READY_MESSAGE


def _what_it_is(version: Version) -> str:
    if version.arn.qualifier != version.info.version:
        return f"Alias of version {version.info.version}"
    aliases = ", ".join(version.info.aliases)
    return f"Aliases: {aliases}"[:MAX_DESCRIPTION_CHARACTERS] if aliases else ""
