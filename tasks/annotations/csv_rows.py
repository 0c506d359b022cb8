"""What one row of a CSV table says, by the table's heading. Knows nothing of other rows."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tasks.annotations.annotated import MAX_LABEL_CHARACTERS, SPLIT_BY_NAME, StatedBox

COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "image": ("image", "filename", "file", "path", "image_path", "source-ref", "source_ref"),
    "label": ("label", "class", "class_name", "category", "labels", "classes", "tags"),
    "split": ("split", "set", "subset"),
    "group": ("group",),
    "confidence": ("confidence",),
    "mask": ("mask",),
}
"""Headings by what they mean, lower case; of several in one table the first here counts."""
LISTS = ("labels", "classes", "tags")
"""Headings of a column whose cells may hold several labels, divided by `|` or `;`."""
CORNERS = ("xmin", "ymin", "xmax", "ymax")
BOX_FORMS = (("left", "top", "width", "height"), CORNERS, ("x", "y", "w", "h"))
"""Headings of a box: pixels, half-open, so that `xmax` is the right edge. Beside corners or with no box at all, `width`
and `height` are the image's."""
IMAGE_SIZE = ("width", "height")
_SHOWN_CHARACTERS = 50


@dataclass(frozen=True, slots=True)
class Columns:
    """Where in a row things stand, from 0.

    Attributes:
        count: number of columns.
        places: column of each key of `COLUMN_NAMES` that the table has.
        box: columns of a box in the order of its form; empty when the table has none.
        has_corners: the box is given by its corners.
        size: columns of the image's width and height; empty when the table has none.
        unread: headings of the other columns.
        lists_labels: a cell may hold several labels.
    """

    count: int
    places: Mapping[str, int]
    box: tuple[int, ...]
    has_corners: bool
    size: tuple[int, ...]
    unread: tuple[str, ...]
    lists_labels: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A usable row of an image; texts are empty and sides 0 where it says nothing.

    Attributes:
        number: of the line on which it begins, from 1.
        label: of the box, or else of the image.
        confidence: 0 to 1.
        box: None when the row has none.
        split: one of `SPLITS`.
        group: images of one group never part.
        mask_ref: path relative to the root.
        width: of the image, in pixels.
        height: likewise.
    """

    number: int
    label: str
    confidence: float
    box: StatedBox | None
    split: str
    group: str
    mask_ref: str
    width: int
    height: int


class UnusableTable(Exception):
    """A table that cannot be understood. The message is what follows on its name."""


class UnusableRow(Exception):
    """A row that is left out. `code` is the finding it becomes; the message is what follows on "the row"."""

    def __init__(self, message: str, code: str = "ERROR_INVALID_ANNOTATION") -> None:
        super().__init__(message)
        self.code = code


def columns_of(heading: Sequence[str], group_column: str = "") -> Columns:
    """Understand a table's heading.

    Args:
        heading: its cells.
        group_column: the one that names groups; empty for `group`, where there is one.

    Raises:
        UnusableTable: without a column of images or `group_column`, when a column that is read stands twice, or when
            there are some columns of a box and not all.
    """
    names = [cell.lower() for cell in heading]
    known = COLUMN_NAMES | ({"group": (group_column.strip().lower(),)} if group_column else {})
    found = {role: next((name for name in synonyms if name in names), "") for role, synonyms in known.items()}
    if not found["image"]:
        raise UnusableTable(f"has no column of images; call it one of {', '.join(COLUMN_NAMES['image'])}")
    if group_column and not found["group"]:
        raise UnusableTable(f"has no column {group_column!r} to group by; it has {', '.join(heading)[:1000]}")
    box = _box_form(names)
    size = () if set(IMAGE_SIZE) & set(box) or not set(IMAGE_SIZE) <= set(names) else IMAGE_SIZE
    read = {*found.values(), *box, *size} - {""}
    repeated = sorted(name for name in read if names.count(name) > 1)
    if repeated:
        raise UnusableTable(f"has more than one column {repeated[0]!r}; rename all but one")
    return Columns(
        count=len(names),
        places={role: names.index(name) for role, name in found.items() if name},
        box=tuple(map(names.index, box)),
        has_corners=box == CORNERS,
        size=tuple(map(names.index, size)),
        unread=tuple(cell for cell in heading if cell and cell.lower() not in read),
        lists_labels=found["label"] in LISTS,
    )


def with_one_label_each(cells: Sequence[str], columns: Columns) -> Iterator[Sequence[str]]:
    """Yield a row's cells once for each of the labels that its cell lists, once where it lists none."""
    if not columns.lists_labels:
        yield cells
        return
    place = columns.places["label"]
    listed = [label.strip() for label in re.split(r"[|;]", cells[place])]
    for label in [label for label in listed if label] or [""]:
        yield [*cells[:place], label, *cells[place + 1 :]]


def row_of(number: int, cells: Sequence[str], columns: Columns, resolve: Callable[[str], str]) -> Row:
    """Understand a row with as many cells as the table has columns.

    Args:
        number: of the line on which it begins.
        cells: its texts, without spaces around.
        columns: of the table.
        resolve: from a reference to a path relative to the root.

    Raises:
        UnusableRow: when a cell cannot be used, or a box or mask has no label.
        RefusedReference: when the mask's reference leads nowhere.
    """
    texts = {role: cells[place] for role, place in columns.places.items()}
    label = _label(texts.get("label", ""))
    confidence = _confidence(texts.get("confidence", ""))
    box = _box([cells[place] for place in columns.box], columns.has_corners, label, confidence)
    mask = texts.get("mask", "")
    if mask and not label:
        raise UnusableRow("has a mask and no label; add the label")
    width, height = (_side(cells[place]) for place in columns.size) if columns.size else (0, 0)
    return Row(
        number=number,
        label=label,
        confidence=confidence,
        box=box,
        split=_split(texts.get("split", "")),
        group=texts.get("group", ""),
        mask_ref=resolve(mask) if mask else "",
        width=width,
        height=height,
    )


def _box_form(names: Sequence[str]) -> tuple[str, ...]:
    complete = next((form for form in BOX_FORMS if set(form) <= set(names)), ())
    begun = next((form for form in BOX_FORMS if set(form) & set(names) - set(IMAGE_SIZE)), ())
    if begun and not complete:
        forms = "; ".join(",".join(form) for form in BOX_FORMS)
        raise UnusableTable(f"has columns of a box and not all four of one form ({forms}); complete or rename them")
    return complete


def _label(text: str) -> str:
    if len(text) > MAX_LABEL_CHARACTERS or not text.isprintable():
        message = f"has a label of {len(text)} characters or some that cannot be printed; rename it"
        raise UnusableRow(message, "ERROR_INVALID_LABEL_NAME")
    return text


def _confidence(text: str) -> float:
    confidence = _number(text or "1")
    if not 0 <= confidence <= 1:
        raise UnusableRow(f"has a confidence of {text[:_SHOWN_CHARACTERS]}; give one from 0 to 1")
    return confidence


def _split(text: str) -> str:
    if text and text.lower() not in SPLIT_BY_NAME:
        raise UnusableRow(f"has the split {text[:_SHOWN_CHARACTERS]!r}; call it train, validation or test")
    return SPLIT_BY_NAME.get(text.lower(), "")


def _box(texts: Sequence[str], has_corners: bool, label: str, confidence: float) -> StatedBox | None:
    if not any(texts):
        return None
    if not label:
        raise UnusableRow("has a box and no label; add the label")
    left, top, width, height = map(_number, texts)
    if has_corners:
        width, height = width - left, height - top
    if not (0 < width < math.inf and 0 < height < math.inf):
        raise UnusableRow(f"has a box of {width:g} x {height:g} pixels; draw it again")
    return StatedBox(label, left, top, width, height, confidence=confidence)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UnusableRow(f"has {text[:_SHOWN_CHARACTERS]!r} in place of a number; correct it")
    return value


def _side(text: str) -> int:
    side = _number(text or "0")
    if side < 0 or side != int(side):
        raise UnusableRow(f"has {text[:_SHOWN_CHARACTERS]!r} in place of a number of pixels; correct it")
    return int(side)
