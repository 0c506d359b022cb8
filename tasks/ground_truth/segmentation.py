"""Semantic segmentation: a mask's reference and which of its colours or indices is which class."""

import re
from typing import Any

from tasks.ground_truth.attribute import Attribute, Take, accepts_label, checked_metadata, take_common
from tasks.ground_truth.draft import Draft, MaskRow, Segmentation
from tasks.ground_truth.limits import Limits
from tasks.ground_truth.problems import shown
from tasks.vision.background import BACKGROUND

MAX_MASK_INDEX = 65_535
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


def check_mask(attribute: Attribute, limits: Limits) -> Take:
    """Check a mask's reference and its `internal-color-map`.

    A class without `hex-color` is told by its key, as in old manifests. An entry for the background may be missing,
    as in the samples of Lookout for Vision; a map with nothing else says that there is nothing to find.

    Raises:
        LineStopped: see `CHECKED_FIRST`.
    """
    mask_ref = attribute.value
    if type(mask_ref) is not str or not mask_ref or not mask_ref.isprintable():
        raise attribute.wrong_value(f"is no reference of a mask: {shown(mask_ref)}")
    metadata = checked_metadata(attribute, limits)
    colours = metadata.get("internal-color-map")
    if type(colours) is not dict or not colours:
        raise attribute.wrong_metadata("has no internal-color-map")
    rows = [_row(key, entry, attribute) for key, entry in colours.items()]
    classes = tuple(row for row in rows if row.label.casefold() != BACKGROUND)
    return _take(attribute, metadata, Segmentation(mask_ref, classes))


def _row(key: str, entry: object, attribute: Attribute) -> MaskRow:
    label = entry.get("class-name") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(label, str):
        raise attribute.wrong_metadata(f"names no class for entry {shown(key)} of internal-color-map")
    colour = entry.get("hex-color")
    if isinstance(colour, str) and _COLOUR.fullmatch(colour):
        return MaskRow(label, colour.lower(), -1)
    if colour is None and key.isascii() and key.isdigit() and len(key) <= 5 and int(key) <= MAX_MASK_INDEX:
        return MaskRow(label, "", int(key))
    raise attribute.wrong_metadata(f"has neither a colour #rrggbb nor an index for entry {shown(key)}")


def _take(attribute: Attribute, metadata: dict[str, Any], stated: Segmentation) -> Take:
    def take(draft: Draft) -> None:
        if not all([accepts_label(row.label, attribute, draft) for row in stated.classes]):
            return
        if not stated.classes:
            draft.boxes = draft.boxes or []
        elif draft.segmentation is None:
            draft.segmentation = stated
        else:
            message = f"mask {shown(stated.mask_ref)} was passed over: the image has another"
            draft.report("WARNING_SECOND_MASK", message, attribute.name)
        take_common(metadata, draft)

    return take
