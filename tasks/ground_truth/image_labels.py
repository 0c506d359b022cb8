"""Labels of the whole image: one class a line or a list of them."""

from typing import Any

from tasks.ground_truth.attribute import (
    Attribute,
    Take,
    accepts_label,
    checked_metadata,
    is_class_index,
    is_confidence,
    take_common,
    take_confidence,
)
from tasks.ground_truth.draft import Draft
from tasks.ground_truth.limits import Limits
from tasks.ground_truth.problems import shown, stop

_SCALARS = (str, float, bool)
"""Lookout for Vision wants a value beside its class name, but not any one."""


def check_labels(attribute: Attribute, limits: Limits) -> Take:
    """Check image-level labels: a class index with its `class-name`, or a list of them with a `class-map`.

    Without metadata, the index itself is the label. `aws` knows no lists: Ground Truth's must first be transformed
    to one attribute for each label.

    Raises:
        LineStopped: see `CHECKED_FIRST`.
    """
    value = attribute.value
    if type(value) is list and not limits.is_strict:
        return _check_list(attribute, limits)
    if not (is_class_index(value) or type(value) is int or (not limits.is_strict and type(value) in _SCALARS)):
        raise attribute.wrong_value(f"is {shown(value)} in place of a class index")
    metadata = checked_metadata(attribute, limits)
    label = str(value) if attribute.metadata is None else metadata.get("class-name")
    if type(label) is not str:
        raise attribute.wrong_metadata("names no class under class-name")
    confidence = metadata.get("confidence")
    if limits.is_strict and not is_confidence(confidence):
        raise attribute.wrong_metadata("has no confidence from 0 to 1")
    return _take(attribute, metadata, [(label, confidence)])


def _check_list(attribute: Attribute, limits: Limits) -> Take:
    if not all(is_class_index(index) for index in attribute.value):
        raise attribute.wrong_value("is a list of something else than class indices")
    metadata = checked_metadata(attribute, limits)
    indices = [str(index) for index in attribute.value]
    if attribute.metadata is None:
        return _take(attribute, metadata, [(index, None) for index in indices])
    classes, confidences = metadata.get("class-map", {}), metadata.get("confidence-map", {})
    if type(classes) is not dict or type(confidences) is not dict:
        raise attribute.wrong_metadata("has a class-map or confidence-map that is no object")
    labels = [class_name(index, classes, attribute) for index in indices]
    return _take(
        attribute, metadata, [(label, confidences.get(index)) for label, index in zip(labels, indices, strict=True)]
    )


def class_name(index: str, classes: dict[str, Any], attribute: Attribute) -> str:
    """Return the class of an index in the line's own map.

    Raises:
        LineStopped: when the map has no such index, or something else than a name.
    """
    label = classes.get(index)
    if type(label) is str:
        return label
    if label is None:
        message = f"class {shown(index)} is not in the class-map of {shown(attribute.metadata_name)}"
        raise stop("ERROR_MISSING_CLASS_MAP_ID", message, attribute.metadata_name)
    raise attribute.wrong_metadata(f"has {shown(label)} in place of the name of class {shown(index)}")


def _take(attribute: Attribute, metadata: dict[str, Any], stated: list[tuple[str, Any]]) -> Take:
    def take(draft: Draft) -> None:
        draft.lists_no_label |= not stated
        for label, confidence in stated:
            if accepts_label(label, attribute, draft):
                taken = take_confidence(confidence, attribute, draft)
                draft.labels[label] = max(taken, draft.labels.get(label, 0.0))
        take_common(metadata, draft)

    return take
