"""Bounding boxes: what an `annotations` list states, and which of its boxes can be used."""

from operator import itemgetter
from typing import Any, NamedTuple

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
from tasks.ground_truth.draft import BoxRow, Draft
from tasks.ground_truth.image_labels import class_name
from tasks.ground_truth.limits import Limits
from tasks.ground_truth.problems import shown, stop

SLACK_PIXELS = 1e-3
"""Fractional coordinates may miss the image's edge by this much: sums of floats do."""

MAX_COORDINATE_PIXELS = 1_000_000_000
"""Of a box on an image whose size is not stated."""

_FIELDS = itemgetter("class_id", "left", "top", "width", "height")
_COORDINATES = ("left", "top", "width", "height")
_WHOLE = frozenset({int})
_NUMBERS = frozenset({int, float})

_Row = tuple[Any, Any, Any, Any, Any]
"""Class id, left, top, width, height; the last four are numbers in pixels."""


class _Stated(NamedTuple):
    rows: list[_Row]
    labels: list[str]
    confidences: list[Any]
    width: int
    height: int


def check_boxes(attribute: Attribute, limits: Limits) -> Take:
    """Check an object detection attribute: `image_size`, `annotations`, and in its metadata `objects`, `class-map`.

    `image_size` is a list of one object, or that object. Class ids may have gaps and are those of this line alone.

    Raises:
        LineStopped: see `CHECKED_FIRST`.
    """
    value = attribute.value
    if type(value) is not dict or "annotations" not in value:
        raise attribute.wrong_value("is no object with image_size and annotations")
    width, height = _image_size(attribute, limits)
    rows = _rows(attribute, limits)
    metadata = checked_metadata(attribute, limits)
    if not rows:
        return _take(attribute, metadata, _Stated([], [], [], width, height))
    confidences = _confidences(attribute, metadata, limits, len(rows))
    stated = _Stated(rows, _labels(attribute, metadata, rows), confidences, width, height)
    return _take(attribute, metadata, stated)


def _image_size(attribute: Attribute, limits: Limits) -> tuple[int, int]:
    """Return the stated width and height; 0 and 0 when nothing is stated, which `aws` does not accept."""
    size = attribute.value.get("image_size")
    if type(size) is list and len(size) == 1:
        size = size[0]
    if size is None and not limits.is_strict:
        return 0, 0
    if type(size) is not dict:
        raise attribute.wrong_value("has no image_size of one object")
    width, height = size.get("width"), size.get("height")
    if not (type(width) is int and type(height) is int and width > 0 and height > 0):
        raise attribute.wrong_value("has an image_size without positive whole width and height")
    if limits.is_strict and type(size.get("depth")) is not int:
        raise attribute.wrong_value("has an image_size without depth")
    return width, height


def _rows(attribute: Attribute, limits: Limits) -> list[_Row]:
    annotations = attribute.value["annotations"]
    if annotations is None:
        return []
    if type(annotations) is not list:
        raise attribute.wrong_value("has annotations that are no list")
    wanted = _WHOLE if limits.is_strict else _NUMBERS
    rows = []
    for index, annotation in enumerate(annotations):
        try:
            row = _FIELDS(annotation)
        except (KeyError, TypeError):
            message = f"has no box with class_id, {', '.join(_COORDINATES)} in place {index} of annotations"
            raise attribute.wrong_value(message) from None
        if not wanted.issuperset(map(type, row[1:])):
            kind = "a whole number" if limits.is_strict else "a number"
            raise attribute.wrong_value(f"has a coordinate that is not {kind} in place {index} of annotations")
        if type(row[0]) is not int and (limits.is_strict or not is_class_index(row[0])):
            raise attribute.wrong_value(f"has {shown(row[0])} as class_id in place {index} of annotations")
        rows.append(row)
    return rows


def _confidences(attribute: Attribute, metadata: dict[str, Any], limits: Limits, count: int) -> list[Any]:
    """Return what `objects` states for each box; None where it states nothing, which `aws` does not accept."""
    objects = metadata.get("objects")
    if objects is None and not limits.is_strict:
        return [None] * count
    if type(objects) is not list:
        raise attribute.wrong_metadata("has no list of objects")
    try:
        stated = [item.get("confidence") for item in objects[:count]]
    except AttributeError:
        raise attribute.wrong_metadata("has something else than objects in its list of objects") from None
    if limits.is_strict:
        if not all([confidence is None or is_confidence(confidence) for confidence in stated]):
            raise attribute.wrong_metadata("has a confidence that is no number from 0 to 1")
        if len(stated) < count or None in stated:
            message = f"{count} boxes have {len(stated) - stated.count(None)} confidences"
            raise stop("ERROR_MISSING_BOUNDING_BOX_CONFIDENCE", message, attribute.metadata_name)
    return stated + [None] * (count - len(stated))


def _labels(attribute: Attribute, metadata: dict[str, Any], rows: list[_Row]) -> list[str]:
    if attribute.metadata is None:
        return [str(row[0]) for row in rows]
    classes = metadata.get("class-map")
    if type(classes) is not dict:
        raise attribute.wrong_metadata("has no class-map")
    return [class_name(str(row[0]), classes, attribute) for row in rows]


def _take(attribute: Attribute, metadata: dict[str, Any], stated: _Stated) -> Take:
    def take(draft: Draft) -> None:
        take_common(metadata, draft)
        _take_image_size(stated, draft)
        if stated.rows:
            _take_rows(attribute, stated, draft)
        elif draft.limits.is_strict:
            message = f"attribute {shown(attribute.name)} has no annotations"
            draft.report("WARNING_NO_ATTRIBUTE_ANNOTATIONS", message, attribute.name)
        elif draft.boxes is None:
            draft.boxes = []

    return take


def _take_image_size(stated: _Stated, draft: Draft) -> None:
    if not stated.width:
        return
    draft.width, draft.height = stated.width, stated.height
    shorter, longer = sorted((stated.width, stated.height))
    smallest, largest = draft.limits.image_sides
    if shorter < smallest or longer > largest:
        message = f"the image is {stated.width} x {stated.height} pixels; its sides must be {smallest} to {largest}"
        draft.report("ERROR_INVALID_IMAGE_DIMENSION", message)
    elif longer > shorter * draft.limits.max_aspect:
        message = f"the image is {stated.width} x {stated.height} pixels, more than {draft.limits.max_aspect:g} to 1"
        draft.report("ERROR_INVALID_IMAGE", message)


def _take_rows(attribute: Attribute, stated: _Stated, draft: Draft) -> None:
    if not all([accepts_label(label, attribute, draft) for label in dict.fromkeys(stated.labels)]):
        return
    count = len(draft.boxes or ()) + len(stated.rows)
    if count > draft.limits.max_boxes:
        message = f"the image has {count} boxes, more than {draft.limits.max_boxes}"
        draft.report("ERROR_TOO_MANY_BOUNDING_BOXES", message)
    right = (stated.width or MAX_COORDINATE_PIXELS) + SLACK_PIXELS
    bottom = (stated.height or MAX_COORDINATE_PIXELS) + SLACK_PIXELS
    min_side = draft.limits.min_box_side * max(1.0, max(stated.width, stated.height) / draft.limits.scaled_side)
    boxes = draft.boxes or []
    before = len(boxes)
    for index, (row, label, confidence) in enumerate(zip(stated.rows, stated.labels, stated.confidences, strict=True)):
        _, left, top, width, height = row
        if left < 0 or top < 0 or width < 0 or height < 0 or left + width > right or top + height > bottom:
            _report_box("ERROR_INVALID_BOUNDING_BOX", "is off its image", index, attribute, stated, draft)
        elif width <= min_side or height <= min_side:
            _report_box("ERROR_BOUNDING_BOX_TOO_SMALL", "is too small on its image", index, attribute, stated, draft)
        else:
            boxes.append(BoxRow(label, left, top, width, height, take_confidence(confidence, attribute, draft)))
    if len(boxes) > before:
        draft.boxes = boxes
    else:
        message = f"no box of attribute {shown(attribute.name)} is valid"
        draft.report("ERROR_NO_VALID_ANNOTATIONS", message, attribute.name)


def _report_box(code: str, what: str, index: int, attribute: Attribute, stated: _Stated, draft: Draft) -> None:
    _, left, top, width, height = stated.rows[index]
    image = f"{stated.width} x {stated.height} pixels" if stated.width else "an unstated size"
    message = f"the box at left {left}, top {top} of {width} x {height} pixels {what}, which has {image}"
    draft.report(code, message, attribute.name, "annotations", index)
