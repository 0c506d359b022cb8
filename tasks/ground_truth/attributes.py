"""Label attributes of a line: which there are and of which kind.

Each kind has a function that checks what an attribute states and returns a function that takes it into the draft.
The checks of all attributes come first: one of `CHECKED_FIRST` ends the line, and the rest is not looked at.
"""

from collections.abc import Callable
from typing import Any

from tasks.ground_truth.attribute import METADATA, Attribute, Take, is_class_index
from tasks.ground_truth.draft import Draft
from tasks.ground_truth.image_labels import check_labels
from tasks.ground_truth.limits import Limits
from tasks.ground_truth.located import check_boxes
from tasks.ground_truth.problems import PRECEDENCE, LineStopped, shown, stop
from tasks.ground_truth.segmentation import check_mask

SERVICE_KEY = "keeneye-metadata"
"""Under which a line holds what Keeneye knows beyond the format."""
NO_ATTRIBUTES = frozenset(
    {
        "source-ref",
        "source",
        "cl-metadata",
        "cl-errors",
        "errors",
        "warnings",
        SERVICE_KEY,
        "source-ref-metadata",
    }
)
"""Keys of the image, and keys under which the managed service and Keeneye keep what is theirs."""

KIND_BY_TYPE = {
    "groundtruth/image-classification": "labels",
    "groundtruth/image-classification-multilabel": "labels",
    "groundtruth/object-detection": "boxes",
    "groundtruth/semantic-segmentation": "mask",
}


def find_attributes(value: dict[str, Any], limits: Limits) -> list[Attribute]:
    """Return the label attributes of a line; none when it has nothing but its image.

    Raises:
        LineStopped: `ERROR_NO_LABEL_ATTRIBUTES` when there are other keys, but no label attribute among them.
    """
    found = []
    for key, metadata in value.items():
        if key.endswith(METADATA) and key not in NO_ATTRIBUTES:
            name = key[: -len(METADATA)]
            if name in value and name not in NO_ATTRIBUTES:
                found.append(Attribute(name, value[name], metadata, _kind(name, value[name], metadata, limits)))
    return found or _bare_attributes(value, limits)


def _bare_attributes(value: dict[str, Any], limits: Limits) -> list[Attribute]:
    names = [key for key in value if key not in NO_ATTRIBUTES]
    if not names:
        return []
    bare = [name for name in names if _may_be_bare(value[name])]
    if limits.is_strict or len(bare) != 1:
        message = f"of {shown(sorted(names))} none is a label attribute with its {METADATA} partner"
        raise stop("ERROR_NO_LABEL_ATTRIBUTES", message)
    return [Attribute(bare[0], value[bare[0]], None, _kind(bare[0], value[bare[0]], None, limits))]


def _may_be_bare(value: object) -> bool:
    """Whether a value without metadata is a label, a list of labels, or boxes: other keys of a line are its owner's."""
    if isinstance(value, dict):
        return "annotations" in value
    if isinstance(value, list):
        return bool(value) and all(is_class_index(item) for item in value)
    return is_class_index(value)


def _kind(name: str, value: object, metadata: object, limits: Limits) -> str:
    stated = metadata.get("type") if isinstance(metadata, dict) else None
    if isinstance(stated, str):
        kind = KIND_BY_TYPE.get(stated, "unsupported")
    elif isinstance(value, dict):
        kind = "boxes"
    elif isinstance(value, str) and name.endswith("-ref"):
        kind = "mask"
    else:
        kind = "labels"
    return "unsupported" if kind == "mask" and limits.is_strict else kind


def check_attributes(attributes: list[Attribute], draft: Draft) -> None:
    """Check the attributes and take what they state into the draft.

    Raises:
        LineStopped: for the first in precedence of what `CHECKED_FIRST` lists.
    """
    takes, stops = [], []
    for attribute in attributes:
        try:
            takes.append(_CHECKS[attribute.kind](attribute, draft.limits))
        except LineStopped as stopped:
            stops.append(stopped)
    if stops:
        raise min(stops, key=lambda stopped: PRECEDENCE[stopped.problem.code])
    for take in takes:
        take(draft)
    if len(draft.labels) > draft.limits.max_image_labels:
        message = f"the image has {len(draft.labels)} labels, more than {draft.limits.max_image_labels}"
        draft.report("ERROR_TOO_MANY_LABELS_PER_IMAGE", message)


def _pass_over(attribute: Attribute, limits: Limits) -> Take:
    stated = attribute.metadata.get("type") if isinstance(attribute.metadata, dict) else None
    if not isinstance(stated, str):
        raise attribute.wrong_metadata("has no type")

    def take(draft: Draft) -> None:
        severity = "ERROR" if limits.is_strict else "WARNING"
        message = f"labels of type {shown(stated)} are not read; the attribute was passed over"
        draft.report(f"{severity}_UNSUPPORTED_USE_CASE_TYPE", message, attribute.metadata_name)

    return take


_CHECKS: dict[str, Callable[[Attribute, Limits], Take]] = {
    "labels": check_labels,
    "boxes": check_boxes,
    "mask": check_mask,
    "unsupported": _pass_over,
}
