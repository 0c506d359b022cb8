"""Tables as CSV: a row for each label or box of an image, read and written.

A row with a label and a box is that box, with a label alone a label of the image, and with neither, in a table of
boxes, an image without objects, in a table of labels one that no label fits. A column `labels` lists several in one
row. Columns are known by their heading, see `csv_rows`.
"""

import csv
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tasks.annotations.annotated import SPLIT_BY_NAME, AnnotatedImage, Reading
from tasks.annotations.csv_lines import Record, read_heading, read_records
from tasks.annotations.csv_rows import (
    COLUMN_NAMES,
    Columns,
    Row,
    UnusableRow,
    UnusableTable,
    columns_of,
    row_of,
    with_one_label_each,
)
from tasks.annotations.losses import loss_findings
from tasks.annotations.references import ReferenceResolver, RefusedReference
from tasks.dataset.entries import SPLITS, ImageEntry, Split
from tasks.dataset.findings import Finding
from tasks.errors import DataError, RequestError
from tasks.vision.masks import MaskClass

WRITTEN_COLUMNS = ("image", "label", "split", "group", "left", "top", "width", "height", "confidence")
_NO_BOX = ("", "", "", "")
MAX_UNUSABLE_ROWS = 250_000
"""More findings than this would tell nothing and fill the memory."""
_SHOWN_CHARACTERS = 50


@dataclass(slots=True)
class _Gathered:
    """Rows by image, as far as they were read; `spoiled` images have rows that could not be used."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    spoiled: set[str] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)


def is_table(path: Path) -> bool:
    """Whether a file is a CSV table with a column of images."""
    if path.suffix.lower() != ".csv":
        return False
    try:
        heading = read_heading(path)
    except DataError:
        return False
    return any(cell.lower() in COLUMN_NAMES["image"] for cell in heading)


def read_csv(path: Path, resolver: ReferenceResolver, *, base: str, group_column: str = "") -> Reading:
    """Read a table; rows of one image add up, and where they contradict each other the first counts.

    Args:
        path: of the table.
        resolver: finds images and masks.
        base: the table's folder, relative to the resolver's root.
        group_column: heading of the column that names groups; empty for `group`, where there is one.

    Raises:
        DataError: when the table cannot be read, has no rows or no column of images, lacks `group_column`, has a
            column twice, or some columns of a box and not all, or more than 250,000 rows that cannot be used.
    """
    table_ref = posixpath.join(base, path.name)
    records = read_records(path)
    heading = read_heading(path)
    next(records)
    try:
        columns = columns_of(heading, group_column)
        gathered = _gather(records, columns, lambda reference: resolver.resolve(reference, base), table_ref)
    except UnusableTable as error:
        raise DataError(f"{path} {error}") from error
    if not gathered.rows and not gathered.findings:
        raise DataError(f"{path} has a heading and no rows; add a row for each image")
    images = []
    for image_ref, rows in gathered.rows.items():
        problems: list[str] = []
        images.append(_image_of(image_ref, rows, columns, image_ref not in gathered.spoiled, problems))
        gathered.findings += [_finding("ERROR_INVALID_ANNOTATION", table_ref, problem) for problem in problems]
    return Reading(tuple(images), (*gathered.findings, *_unread_findings(columns, table_ref)))


def write_csv(
    path: Path, divided: Mapping[Split, Sequence[ImageEntry]], reference: Callable[[ImageEntry], str]
) -> list[Finding]:
    """Write a table with `WRITTEN_COLUMNS`: a row for each box, each label of no box, each image without objects.

    An image of which nothing is known is left out: its row would say that it has no objects.

    Args:
        path: of the table.
        divided: images of each split.
        reference: what stands for an image in its column.

    Returns:
        One finding for each kind of thing that the table cannot hold.

    Raises:
        RequestError: when two images have the same reference, as those of a source and a test source may: read back,
            they would be one image of one split. Nothing is written then.
    """
    _require_distinct((entry for split in SPLITS for entry in divided.get(split, ())), reference)
    losses: Counter[str] = Counter()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(WRITTEN_COLUMNS)
        for split in SPLITS:
            for entry in divided.get(split, ()):
                group = "" if entry.group == entry.sha256 else entry.group
                image = reference(entry)
                writer.writerows((image, label, split, group, *rest) for label, *rest in _written_rows(entry))
                losses.update(_losses_of(entry, image))
    return loss_findings(losses, "CSV", path.name)


def _require_distinct(entries: Iterable[ImageEntry], reference: Callable[[ImageEntry], str]) -> None:
    digests: dict[str, str] = {}
    for entry in entries:
        image = reference(entry)
        if digests.setdefault(image, entry.sha256) != entry.sha256:
            raise RequestError(
                f"source and test source both have {image}, and a table cannot tell them apart; choose another format"
            )


def _gather(records: Iterable[Record], columns: Columns, resolve: Callable[[str], str], table_ref: str) -> _Gathered:
    gathered = _Gathered()
    for record in records:
        image_ref = ""
        try:
            _require_cells(record, columns)
            image_ref = resolve(record.cells[columns.places["image"]])
            rows = [row_of(record.row, cells, columns, resolve) for cells in with_one_label_each(record.cells, columns)]
        except (UnusableRow, RefusedReference) as error:
            gathered.spoiled.add(image_ref)
            place = f"row {record.row} of {table_ref}" if image_ref else f"row {record.row}"
            sentence = f"{place} {error}" if isinstance(error, UnusableRow) else f"{place}: {error}"
            gathered.findings.append(_finding(error.code, image_ref or table_ref, sentence))
            _require_few(gathered.findings)
        else:
            gathered.rows.setdefault(image_ref, []).extend(rows)
    return gathered


def _require_few(findings: Sequence[Finding]) -> None:
    if len(findings) > MAX_UNUSABLE_ROWS:
        raise UnusableTable(
            f"has more than {MAX_UNUSABLE_ROWS:,} rows that cannot be used, the first: {findings[0].message}"
        )


def _require_cells(record: Record, columns: Columns) -> None:
    if record.problem:
        raise UnusableRow(record.problem)
    if len(record.cells) != columns.count:
        raise UnusableRow(f"has {len(record.cells)} cells where the heading has {columns.count}; complete it")


def _image_of(
    image_ref: str, rows: Sequence[Row], columns: Columns, is_whole: bool, problems: list[str]
) -> AnnotatedImage:
    boxes = tuple(row.box for row in rows if row.box)
    confidences = _label_confidences(rows, problems)
    mask_ref = _agreed(rows, "mask", lambda row: row.mask_ref, problems)
    masked = [row for row in rows if mask_ref and row.mask_ref == mask_ref]
    silent = next((row for row in rows if not row.label), None)
    may_be_negative = silent is not None and is_whole
    if silent and boxes:
        problems.append(f"row {silent.number} says that its image has no objects, and others give boxes, which count")
    mask_label = _agreed(masked, "mask's label", lambda row: row.label, problems)
    return AnnotatedImage(
        source_ref=image_ref,
        labels=tuple(confidences),
        boxes=boxes or (() if may_be_negative and columns.box else None),
        given_split=SPLIT_BY_NAME.get(_agreed(rows, "split", lambda row: row.split, problems), ""),
        group=_agreed(rows, "group", lambda row: row.group, problems),
        mask_ref=mask_ref,
        mask_classes=(MaskClass(mask_label),) if mask_label else (),
        stated_width=rows[0].width,
        stated_height=rows[0].height,
        confidences=() if all(value == 1 for value in confidences.values()) else tuple(confidences.values()),
        is_negative=may_be_negative and not (confidences or columns.box) and "label" in columns.places,
    )


def _label_confidences(rows: Iterable[Row], problems: list[str]) -> dict[str, float]:
    """Return the image-level labels, sorted, with their confidences."""
    stated: dict[str, list[Row]] = {}
    for row in rows:
        if row.label and not row.box:
            stated.setdefault(row.label, []).append(row)
    return {
        label: float(_agreed(stated[label], "confidence", lambda row: repr(row.confidence), problems))
        for label in sorted(stated)
    }


def _agreed(rows: Iterable[Row], what: str, text_of: Callable[[Row], str], problems: list[str]) -> str:
    stated = [(row.number, text_of(row)) for row in rows if text_of(row)]
    if not stated:
        return ""
    first_number, first = stated[0]
    for number, text in stated:
        if text != first:
            found = f"row {number} gives its image the {what} {text[:_SHOWN_CHARACTERS]!r}"
            counts = f"row {first_number} gives {first[:_SHOWN_CHARACTERS]!r}, which counts"
            problems.append(f"{found}, {counts}; make them agree")
    return first


def _written_rows(entry: ImageEntry) -> Iterator[tuple[str | int | float, ...]]:
    """Yield label, left, top, width, height and confidence of each row of an image."""
    truth = entry.truth
    boxes = truth.boxes or ()
    for box in boxes:
        yield (box.label, box.left, box.top, box.width, box.height, box.confidence)
    boxed = {box.label for box in boxes}
    for label, confidence in zip(truth.labels, truth.confidences or [1.0] * len(truth.labels), strict=True):
        if label not in boxed or confidence != 1:
            yield (label, *_NO_BOX, confidence)
    if truth.boxes == () or entry.is_negative:
        yield ("", *_NO_BOX, "")


def _losses_of(entry: ImageEntry, image: str) -> Iterator[str]:
    if not entry.truth.labels and not entry.is_negative:
        yield "are left out, as nothing is known of them"
        return
    if entry.creation_date:
        yield "lose the date of their annotation"
    if entry.job_name:
        yield "lose the name of their labelling job"
    if not entry.is_human:
        yield "lose the note that no person confirmed them"
    if entry.mask_ref:
        yield "lose their mask"
    if any(text != text.strip() for text in (image, entry.group, *entry.truth.labels)):
        yield "lose the spaces around a name"


def _unread_findings(columns: Columns, table_ref: str) -> list[Finding]:
    if not columns.unread:
        return []
    message = f"columns {', '.join(columns.unread)[:1000]} are not read; rename those that should be"
    return [_finding("WARNING_NOT_IN_FORMAT", table_ref, message)]


def _finding(code: str, source_ref: str, message: str) -> Finding:
    return Finding(code=code, source_ref=source_ref, message=message)
