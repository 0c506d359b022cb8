"""Predictions as tables: the same rows as JSON lines and as Parquet, written as they come.

A row is one label or box. An image of which nothing is told has one row without a label, so that every predicted image
is in the table.
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
import pyarrow as pa
from pyarrow import parquet

from tasks.predict.answers import ImageAnswer, Told
from tasks.predict.records import FetchedModel
from tasks.vision.boxes import DetectedBox

JSON_FILE, PARQUET_FILE = "predictions.jsonl", "predictions.parquet"
ROWS_PER_GROUP = 20_000
"""Rows held in memory until they are written to Parquet."""
PIXEL_DIGITS, RATIO_DIGITS = 2, 6

Row = dict[str, Any]
SIDES = ("left", "top", "width", "height")
SCHEMA = pa.schema(
    [
        pa.field("image", pa.string()),
        pa.field("label", pa.string()),
        pa.field("confidence", pa.float64()),
        pa.field("given", pa.bool_()),
        *(pa.field(side, pa.float64()) for side in SIDES),
        *(pa.field(f"{side}_ratio", pa.float64()) for side in SIDES),
        pa.field("image_width", pa.int32()),
        pa.field("image_height", pa.int32()),
        pa.field("model", pa.string()),
        pa.field("version", pa.string()),
        pa.field("bundle_digest", pa.string()),
    ]
)
"""The columns: confidence 0 to 100; left, top, width and height in pixels of the upright image, then 0 to 1 of it."""
_NO_BOX = dict.fromkeys((*SIDES, *(f"{side}_ratio" for side in SIDES)))


def rows_of(answer: ImageAnswer, told: Sequence[Told], model: FetchedModel) -> list[Row]:
    """Return an image's rows: one for each label or box told, or one that tells of none."""
    about = {
        "image_width": answer.width,
        "image_height": answer.height,
        "model": model.model_name,
        "version": model.model_version,
        "bundle_digest": model.bundle_digest,
    }
    if not told:
        nothing = {"label": None, "confidence": None, "given": False, **_NO_BOX}
        return [{"image": answer.source_ref, **nothing, **about}]
    return [{"image": answer.source_ref, **_row(one, answer), **about} for one in told]


class TableWriter:
    """Writes rows to `predictions.jsonl` and `predictions.parquet` of a folder."""

    def __init__(self, folder: Path) -> None:
        self._lines = (folder / JSON_FILE).open("wb")
        self._table = parquet.ParquetWriter(folder / PARQUET_FILE, SCHEMA)
        self._waiting: list[Row] = []

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows."""
        self._lines.writelines(orjson.dumps(row) + b"\n" for row in rows)
        self._waiting += rows
        if len(self._waiting) >= ROWS_PER_GROUP:
            self._write_group()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if kind is None and self._waiting:
            self._write_group()
        self._lines.close()
        self._table.close()

    def _write_group(self) -> None:
        self._table.write_table(pa.Table.from_pylist(self._waiting, SCHEMA))
        self._waiting.clear()


def _row(one: Told, answer: ImageAnswer) -> Row:
    place = _place(one.box, answer.width, answer.height) if one.box else _NO_BOX
    return {"label": one.label, "confidence": one.percent, "given": one.is_given, **place}


def _place(box: DetectedBox, width: int, height: int) -> Row:
    # Edges are rounded, not sizes: left + width then never lies beyond the image.
    edges = (box.left, box.top, box.right, box.bottom)
    ratios = (box.left / width, box.top / height, box.right / width, box.bottom / height)
    return _sides(edges, PIXEL_DIGITS, "") | _sides(ratios, RATIO_DIGITS, "_ratio")


def _sides(edges: Sequence[float], digits: int, ending: str) -> Row:
    left, top, right, bottom = (round(edge, digits) for edge in edges)
    values = (left, top, round(right - left, digits), round(bottom - top, digits))
    return {f"{side}{ending}": value for side, value in zip(SIDES, values, strict=True)}
