"""COCO object detection files, read and written; format: https://cocodataset.org/#format-data."""

import json
import posixpath
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import orjson

from tasks.annotations.annotated import AnnotatedImage, Reading, StatedBox
from tasks.annotations.coco_fields import (
    Id,
    Row,
    UnusableRow,
    confidence_of,
    id_of,
    is_crowd,
    name_of,
    object_of,
    side_of,
)
from tasks.annotations.dates import canonical_date
from tasks.annotations.losses import loss_findings, losses_of
from tasks.annotations.references import ReferenceResolver, RefusedReference
from tasks.annotations.rle import OutlineError, Rectangle, is_coordinate, outline_to_box
from tasks.dataset.entries import ImageEntry, Split
from tasks.dataset.findings import Finding
from tasks.errors import DataError

MAX_FILE_MEGABYTES = 500
"""Reading takes about 14 times as much memory."""

_LISTS = ("images", "annotations", "categories")
_LOOK_BYTES = 1 << 20
_SHOWN_CHARACTERS = 40
_SHOWN_NAME_CHARACTERS = 200
_SUBSET_PREFIX = "instances_"


@dataclass(slots=True)
class _Picture:
    """An image while its annotations are gathered; `left_out` counts those that gave no box."""

    image: AnnotatedImage
    boxes: list[StatedBox] = field(default_factory=list)
    left_out: int = 0


def is_coco(path: Path) -> bool:
    """Tell whether a file looks like COCO: a .json object that speaks of images, annotations and categories.

    A look without trust, in bounded memory at any size; only `read_coco` knows.
    """
    if path.suffix.lower() != ".json":
        return False
    missing = {f'"{key}"'.encode() for key in _LISTS}
    try:
        with path.open("rb") as stream:
            window = stream.read(_LOOK_BYTES)
            if not window.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
                return False
            while missing := {key for key in missing if key not in window}:
                if not (chunk := stream.read(_LOOK_BYTES)):
                    return False
                window = window[-max(map(len, missing)) :] + chunk  # a key may lie across the seam of two reads
    except OSError:
        return False
    return True


def read_coco(path: Path, resolver: ReferenceResolver, *, base: str, given_split: Split | Literal[""] = "") -> Reading:
    """Read images with their boxes; an image without annotations is a true negative.

    A bbox wins over an outline beside it; without a bbox, the box around the outline is taken. Where annotations are
    stated and none can be used, the image's boxes are unknown: it is no true negative.

    Args:
        path: the annotation file.
        resolver: finds the image files.
        base: the annotation file's folder, relative to the root.
        given_split: of all its images.

    Raises:
        DataError: when the file is no JSON object with lists of images, annotations and categories, cannot be read,
            or is larger than `MAX_FILE_MEGABYTES`.
    """
    file_ref = posixpath.join(base, path.name)
    document = _load(path, file_ref)
    findings: list[Finding] = []
    labels = _read_categories(document["categories"], file_ref, findings)
    pictures = _read_images(document["images"], file_ref, resolver, base, findings)
    _read_annotations(document["annotations"], file_ref, labels, pictures, findings)
    # An image with two ids is one picture.
    once = {picture.image.source_ref: picture for picture in pictures.values()}
    return Reading(tuple(_with_boxes(picture, given_split) for picture in once.values()), tuple(findings))


def write_coco(
    path: Path, entries: Iterable[ImageEntry], labels: Sequence[str], reference_of: Callable[[ImageEntry], str]
) -> list[Finding]:
    """Write one file; equal arguments give equal bytes. Images whose boxes are None are left out.

    Args:
        path: the file to write.
        entries: images, in the order of their ids.
        labels: categories, in the order of their ids; boxes of others are left out.
        reference_of: gives an image's `file_name`.

    Returns:
        A finding with a number for each kind of thing that COCO cannot hold.
    """
    category_ids = {label: number for number, label in enumerate(labels, start=1)}
    images: list[Row] = []
    annotations: list[Row] = []
    losses: Counter[str] = Counter()
    for entry in entries:
        losses.update(losses_of(entry, category_ids))
        if entry.truth.boxes is None:
            continue
        image_id = len(images) + 1
        images.append(_image_row(entry, image_id, reference_of(entry)))
        annotations.extend(_annotation_rows(entry, image_id, category_ids, first_id=len(annotations) + 1))
    document = {
        "info": {"description": "Object detection dataset"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": label} for label, number in category_ids.items()],
    }
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE))
    return loss_findings(losses, "COCO", path.name)


def _image_row(entry: ImageEntry, image_id: int, file_name: str) -> Row:
    row = {"id": image_id, "file_name": file_name, "width": entry.width, "height": entry.height}
    return row | ({"date_captured": entry.creation_date} if entry.creation_date else {})


def _annotation_rows(entry: ImageEntry, image_id: int, category_ids: dict[str, int], first_id: int) -> Iterator[Row]:
    boxes = [box for box in entry.truth.boxes or () if box.label in category_ids]
    for annotation_id, box in enumerate(boxes, start=first_id):
        row = {
            "id": annotation_id,
            "image_id": image_id,
            "category_id": category_ids[box.label],
            "bbox": [box.left, box.top, box.width, box.height],
            "area": box.width * box.height,
            "iscrowd": 0,
        }
        yield row | ({"score": box.confidence} if box.confidence != 1.0 else {})


def _load(path: Path, file_ref: str) -> dict[str, list[Any]]:
    try:
        if path.stat().st_size > MAX_FILE_MEGABYTES * 1_000_000:
            raise DataError(f"{file_ref} is larger than {MAX_FILE_MEGABYTES} MB; divide it into several COCO files")
        document = _parse(path.read_bytes())
    except OSError as error:
        raise DataError(f"{file_ref} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file_ref} is no JSON: {str(error)[:200]}; export it again") from error
    lists = document if isinstance(document, dict) else {}
    absent = [key for key in _LISTS if not isinstance(lists.get(key), list)]
    if absent:
        raise DataError(f"{file_ref} is no COCO file: it has no list {' and no list '.join(absent)}; export it again")
    return lists


def _parse(data: bytes) -> Any:  # noqa: ANN401  JSON holds anything
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        # Python's own writer puts NaN into files, which is no JSON; its reader takes it, and it becomes a finding.
        return json.loads(data)


def _read_categories(rows: list[Any], file_ref: str, findings: list[Finding]) -> dict[Id, str]:
    names: dict[Id, set[str]] = defaultdict(set)
    for number, row in enumerate(rows, start=1):
        try:
            category_id = id_of(object_of(row), "id", "ERROR_INVALID_CATEGORY")
            names[category_id].add(name_of(row))
        except UnusableRow as error:
            findings.append(_finding(error, file_ref, "category", number, row, file_ref))
    for category_id, several in names.items():
        if len(several) > 1:
            message = f"{file_ref} has several categories of id {category_id!r:.40}; give each an id of its own"
            findings.append(Finding(code="ERROR_INVALID_CATEGORY", source_ref=file_ref, message=message))
    return {category_id: next(iter(several)) for category_id, several in names.items() if len(several) == 1}


def _read_images(
    rows: list[Any], file_ref: str, resolver: ReferenceResolver, base: str, findings: list[Finding]
) -> dict[Id, _Picture]:
    subset = PurePosixPath(file_ref).stem.removeprefix(_SUBSET_PREFIX)
    read: list[tuple[int, Id, AnnotatedImage]] = []
    refs_by_id: dict[Id, set[str]] = defaultdict(set)
    for number, row in enumerate(rows, start=1):
        try:
            image_id = id_of(object_of(row), "id", "ERROR_INVALID_IMAGE_ID")
            image = _read_image(row, resolver, base, subset)
        except (UnusableRow, RefusedReference) as error:
            findings.append(_finding(error, _stated_name(row) or file_ref, "image", number, row, file_ref))
            continue
        read.append((number, image_id, image))
        refs_by_id[image_id].add(image.source_ref)
    pictures: dict[Id, _Picture] = {}
    by_ref: dict[str, _Picture] = {}
    for number, image_id, image in read:
        if len(refs_by_id[image_id]) > 1:
            problem = UnusableRow("ERROR_DUPLICATE_IMAGE_ID", "other images have this id too; give each its own")
            findings.append(_finding(problem, image.source_ref, "image", number, rows[number - 1], file_ref))
            continue
        if image.source_ref in by_ref:
            problem = UnusableRow(
                "WARNING_DUPLICATE_IMAGE", "its file is listed before; the boxes of both are one image's"
            )
            findings.append(_finding(problem, image.source_ref, "image", number, rows[number - 1], file_ref))
        pictures[image_id] = by_ref.setdefault(image.source_ref, _Picture(image))
    return pictures


def _stated_name(row: object) -> str:
    name = row.get("file_name") if isinstance(row, dict) else None
    return name[:_SHOWN_NAME_CHARACTERS] if isinstance(name, str) else ""


def _read_image(row: Row, resolver: ReferenceResolver, base: str, subset: str) -> AnnotatedImage:
    file_name = row.get("file_name")
    if not isinstance(file_name, str):
        raise UnusableRow("ERROR_MISSING_SOURCE_REF", "it has no file_name; add it")
    source_ref = resolver.resolve(file_name, base)
    if source_ref not in resolver.files and subset:
        # COCO's own layout: instances_train2017.json speaks of the files of a folder train2017.
        within = resolver.resolve(f"{subset}/{file_name}", base)
        source_ref = within if within in resolver.files else source_ref
    return AnnotatedImage(
        source_ref,
        stated_width=side_of(row, "width"),
        stated_height=side_of(row, "height"),
        creation_date=canonical_date(row.get("date_captured")),
    )


def _read_annotations(
    rows: list[Any], file_ref: str, labels: dict[Id, str], pictures: dict[Id, _Picture], findings: list[Finding]
) -> None:
    outlines = 0
    for number, row in enumerate(rows, start=1):
        picture = None
        try:
            picture = _picture_of(object_of(row), pictures)
            picture.boxes.append(_read_box(row, labels, picture.image))
            outlines += isinstance(row.get("segmentation"), (list, dict)) and len(row["segmentation"]) > 0
        except UnusableRow as error:
            source_ref = file_ref if picture is None else picture.image.source_ref
            findings.append(_finding(error, source_ref, "annotation", number, row, file_ref))
            if picture is not None:
                picture.left_out += 1
    if outlines:
        message = f"{outlines} annotations of {file_ref} have outlines, of which only the boxes are used"
        findings.append(Finding(code="WARNING_SEGMENTATION_AS_BOXES", source_ref=file_ref, message=message))


def _picture_of(row: Row, pictures: dict[Id, _Picture]) -> _Picture:
    picture = pictures.get(id_of(row, "image_id", "ERROR_UNKNOWN_IMAGE_ID"))
    if picture is None:
        raise UnusableRow("ERROR_UNKNOWN_IMAGE_ID", "no usable image has its image_id; add the image or remove this")
    return picture


def _read_box(row: Row, labels: dict[Id, str], image: AnnotatedImage) -> StatedBox:
    if is_crowd(row):
        raise UnusableRow("WARNING_CROWD_REGION", "it is a crowd, no single object, and gives no box")
    label = labels.get(id_of(row, "category_id", "ERROR_MISSING_CLASS_MAP_ID"))
    if label is None:
        raise UnusableRow("ERROR_MISSING_CLASS_MAP_ID", "no usable category has its category_id; add the category")
    left, top, width, height = _rectangle(row, image)
    if width <= 0 or height <= 0:
        raise UnusableRow("ERROR_INVALID_BOUNDING_BOX", "its box is empty; draw it again")
    return StatedBox(label, left, top, width, height, confidence=confidence_of(row))


def _rectangle(row: Row, image: AnnotatedImage) -> Rectangle:
    bbox = row.get("bbox")
    if bbox is None or bbox == []:
        try:
            return outline_to_box(row.get("segmentation"), image.stated_width, image.stated_height)
        except OutlineError as error:
            raise UnusableRow("ERROR_INVALID_SEGMENTATION", str(error)) from error
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_coordinate, bbox)):
        raise UnusableRow("ERROR_INVALID_BOUNDING_BOX", "its bbox is no list of four numbers; draw it again")
    left, top, width, height = bbox
    return left, top, width, height


def _with_boxes(picture: _Picture, given_split: Split | Literal[""]) -> AnnotatedImage:
    boxes = None if picture.left_out and not picture.boxes else tuple(picture.boxes)
    return replace(picture.image, boxes=boxes, given_split=given_split)


def _finding(
    error: UnusableRow | RefusedReference, source_ref: str, kind: str, number: int, row: object, file_ref: str
) -> Finding:
    stated = row.get("id") if isinstance(row, dict) else None
    shown = f" (id {stated!r:.{_SHOWN_CHARACTERS}})" if isinstance(stated, (int, str)) else ""
    return Finding(code=error.code, source_ref=source_ref, message=f"{kind} {number}{shown} of {file_ref}: {error}")
