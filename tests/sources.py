"""Sources as the tests of ingest use them: listed, and written in each format of annotations.

Writers of boxes take those (left, top, width, height in pixels) of one label by image reference, of images that
`paint_boxed` has painted or will paint, `SIDE` pixels on each side; writers of labels those that `paint_marked` paints.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import numpy as np

from tasks.annotations.annotated import AnnotatedImage
from tasks.annotations.references import RewriteRule
from tasks.ingest.annotation_files import ReadingRules
from tasks.ingest.checks import CheckedFiles, ImageLimits
from tasks.ingest.layouts import Listing
from tasks.ingest.listing import list_source as list_opened
from tasks.ingest.read import Report, check_sources, hash_sources
from tasks.ingest.sources import OpenedSource
from tasks.stores.content import ContentStore
from tests.makers import paint_marks, paint_with_boxes, save

OPEN = ReadingRules(mode="open")
SIDE = 64
LABEL = "part"

MARKS = ("cross", "ring", "round")
"""Labels of images that carry any number of them, and the shapes that show it."""

LabelSets = Mapping[str, tuple[str, ...]]
Box = tuple[int, int, int, int]
Boxes = Mapping[str, Sequence[Box]]


def list_source(
    root: Path, annotation_file: Path | None = None, folder: Path | None = None, rewrite: tuple[str, ...] = ()
) -> Listing:
    """List a folder, or the annotation file that is named, whose references are relative to `root`."""
    source = OpenedSource(folder or (annotation_file.parent if annotation_file else root), root, annotation_file)
    return list_opened(source, [RewriteRule.parse(rule) for rule in rewrite], OPEN)


def check_files(
    root: Path, files: Sequence[AnnotatedImage], limits: ImageLimits, report: Report = lambda done, total: None
) -> CheckedFiles:
    """Hash and check files, their shards kept nowhere."""
    with TemporaryDirectory() as store:
        listings = [Listing("class folders", tuple(files))]
        (checked,) = check_sources(
            ContentStore(Path(store)), hash_sources([root], listings, lambda done, total: None), limits, report
        )
    return checked


def some_boxes(*refs: str) -> dict[str, list[Box]]:
    """Return one box for each reference, no two alike."""
    return {ref: [(2 + 3 * (place % 10), 5, 20, 9 + place)] for place, ref in enumerate(refs)}


def paint_boxed(root: Path, boxes: Boxes) -> Path:
    """Paint the images with their boxes, no two alike."""
    for place, (ref, placed) in enumerate(boxes.items()):
        save(root / ref, paint_with_boxes(placed, SIDE, (place, *ref.encode())))
    return root


def box_line(ref: str, boxes: Sequence[Box], **changes: object) -> dict[str, object]:
    """Return a line of a Ground Truth manifest; `changes` replace keys of the boxes' attribute or its metadata."""
    annotations = [
        {"class_id": 0, "left": left, "top": top, "width": width, "height": height}
        for left, top, width, height in boxes
    ]
    attribute = {"image_size": [{"width": SIDE, "height": SIDE, "depth": 3}], "annotations": annotations}
    metadata = {
        "objects": [{"confidence": 1}] * len(boxes),
        "class-map": {"0": LABEL},
        "type": "groundtruth/object-detection",
        "human-annotated": "yes",
        "creation-date": "2024-05-06T07:08:09",
        "job-name": "labeling-job/parts",
    }
    for about in (attribute, metadata):
        about |= {key: value for key, value in changes.items() if key in about}
    return {"source-ref": ref, "boxes": attribute, "boxes-metadata": metadata}


def write_lines(path: Path, *lines: object) -> Path:
    """Write JSON Lines; bytes and texts are written as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        for line in lines:
            text = line if isinstance(line, (str, bytes)) else json.dumps(line)
            stream.write((text.encode() if isinstance(text, str) else text) + b"\n")
    return path


def write_manifest(path: Path, boxes: Boxes) -> Path:
    """Write a Ground Truth manifest."""
    return write_lines(path, *(box_line(ref, placed) for ref, placed in boxes.items()))


def coco_document(boxes: Boxes) -> dict[str, list[dict[str, object]]]:
    """Return a COCO file's content; images and annotations are numbered from 1, the category is 7."""
    pairs = [(number, box) for number, placed in enumerate(boxes.values(), start=1) for box in placed]
    return {
        "images": [
            {"id": number, "file_name": ref, "width": SIDE, "height": SIDE} for number, ref in enumerate(boxes, start=1)
        ],
        "annotations": [
            {"id": number, "image_id": image, "category_id": 7, "bbox": list(box)}
            for number, (image, box) in enumerate(pairs, start=1)
        ],
        "categories": [{"id": 7, "name": LABEL}],
    }


def write_coco(path: Path, boxes: Boxes) -> Path:
    """Write a COCO file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(coco_document(boxes)))
    return path


def write_yolo(root: Path, boxes: Boxes, splits: Sequence[str] = ("train", "val")) -> Path:
    """Write data.yaml and the label files of images in `images/SPLIT/`; returns data.yaml."""
    for ref, placed in boxes.items():
        path = (root / ref.replace("images/", "labels/")).with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            f"0 {(left + width / 2) / SIDE} {(top + height / 2) / SIDE} {width / SIDE} {height / SIDE}\n"
            for left, top, width, height in placed
        ]
        path.write_text("".join(rows))
    described = root / "data.yaml"
    described.write_text("".join(f"{split}: images/{split}\n" for split in splits) + f"names: [{LABEL}]\n")
    return described


def voc_xml(name: str, boxes: Sequence[Box]) -> str:
    """Return one Pascal VOC file, its corners counted from 1."""
    objects = "".join(
        f"<object><name>{LABEL}</name><bndbox><xmin>{left + 1}</xmin><ymin>{top + 1}</ymin>"
        f"<xmax>{left + width}</xmax><ymax>{top + height}</ymax></bndbox></object>"
        for left, top, width, height in boxes
    )
    size = f"<size><width>{SIDE}</width><height>{SIDE}</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}</filename>{size}{objects}</annotation>"


def write_voc(root: Path, boxes: Boxes) -> Path:
    """Write `Annotations/STEM.xml` of images in `JPEGImages/`."""
    (root / "Annotations").mkdir(parents=True, exist_ok=True)
    for ref, placed in boxes.items():
        path = PurePosixPath(ref)
        (root / "Annotations" / f"{path.stem}.xml").write_text(voc_xml(path.name, placed))
    return root


def write_table(path: Path, boxes: Boxes) -> Path:
    """Write a CSV table of boxes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "label", "left", "top", "width", "height"])
        writer.writerows((ref, LABEL, *box) for ref, placed in boxes.items() for box in placed)
        writer.writerows((ref, "", "", "", "", "") for ref, placed in boxes.items() if not placed)
    return path


def some_label_sets(count: int, seed: int = 0) -> dict[str, tuple[str, ...]]:
    """Return labels of images by reference: each of MARKS by chance, frequent and rarer ones; some images have none."""
    carried = np.random.default_rng(seed).random((count, len(MARKS))) < (0.5, 0.45, 0.35)
    return {
        f"images/{number:03}.png": tuple(label for label, is_there in zip(MARKS, row, strict=True) if is_there)
        for number, row in enumerate(carried)
    }


def paint_marked(root: Path, label_sets: LabelSets, seed: int = 0) -> Path:
    """Paint the images with the shapes of their labels, no two alike."""
    for number, (ref, labels) in enumerate(label_sets.items()):
        save(root / ref, paint_marks(labels, SIDE, (seed, number)))
    return root


def label_list_line(ref: str, labels: Sequence[str]) -> dict[str, object]:
    """Return a line of Ground Truth's multi-label image classification."""
    ids = {label: MARKS.index(label) for label in labels}
    metadata = {
        "class-map": {str(place): label for label, place in ids.items()},
        "confidence-map": {str(place): 0.9 for place in ids.values()},
        "type": "groundtruth/image-classification-multilabel",
        "human-annotated": "yes",
        "creation-date": "2024-05-06T07:08:09",
        "job-name": "labeling-job/marks",
    }
    return {"source-ref": ref, "marks": list(ids.values()), "marks-metadata": metadata}


def write_label_lists(path: Path, label_sets: LabelSets) -> Path:
    """Write a manifest of Ground Truth's multi-label image classification."""
    return write_lines(path, *(label_list_line(ref, labels) for ref, labels in label_sets.items()))


def write_label_table(path: Path, label_sets: LabelSets) -> Path:
    """Write a CSV table with a row for each label of an image, and one without a label for an image that has none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "label"])
        writer.writerows((ref, label) for ref, labels in label_sets.items() for label in labels or ("",))
    return path
