"""Six images of parts, annotated in every format, and ingest run on them."""

import zipfile
from pathlib import Path

from flows.config import DataConfig
from tasks.dataset.entries import ImageEntry, read_index
from tasks.dataset.findings import Finding, read_findings
from tasks.ingest.records import IngestedImages
from tasks.ingest.task import ingest_images
from tasks.stores.home import Home
from tasks.vision.boxes import BoundingBox
from tests.sources import LABEL, box_line, some_boxes, write_coco, write_manifest, write_table, write_voc, write_yolo

BOXES = some_boxes(*(f"images/{number}.png" for number in range(6)))
REFS = list(BOXES)
GOOD = REFS[1:]
"""What stays when the first image's annotation is spoiled."""
OFF = (60, 5, 20, 20)
"""A box that reaches beyond its image."""


# What a test asks of ingest, and of its record


def ingest(home: Home, source: Path, **options: object) -> IngestedImages:
    return ingest_images.fn(home, DataConfig(source=str(source), **options))  # type: ignore[arg-type]


def index_of(record: IngestedImages, name: str = "images.jsonl") -> dict[str, ImageEntry]:
    return {entry.source_ref: entry for entry in read_index(Path(record.entry_path) / name)}


def findings_of(record: IngestedImages) -> list[Finding]:
    return read_findings(Path(record.entry_path) / "findings.jsonl")


def placed(box: tuple[int, int, int, int]) -> tuple[BoundingBox, ...]:
    return (BoundingBox(LABEL, *box),)


# The annotations; each function of a format returns the box of each image


def good_lines() -> list[dict[str, object]]:
    return [box_line(ref, BOXES[ref]) for ref in GOOD]


def in_manifests(root: Path) -> dict[str, tuple[int, int, int, int]]:
    for name, refs in (("train", REFS[:3]), ("validation", REFS[3:4]), ("test", REFS[4:])):
        write_manifest(root / f"{name}.manifest", {ref: BOXES[ref] for ref in refs})
    return {ref: BOXES[ref][0] for ref in REFS}


def in_coco(root: Path) -> dict[str, tuple[int, int, int, int]]:
    write_coco(root / "annotations" / "instances_train2017.json", BOXES)
    return {ref: BOXES[ref][0] for ref in REFS}


def in_yolo(root: Path) -> dict[str, tuple[int, int, int, int]]:
    (root / "images").rename(root / "all")
    boxes = {f"images/{'train' if number else 'val'}/{number}.png": BOXES[ref] for number, ref in enumerate(REFS)}
    for number, ref in enumerate(boxes):
        (root / ref).parent.mkdir(parents=True, exist_ok=True)
        (root / "all" / f"{number}.png").rename(root / ref)
    (root / "all").rmdir()
    write_yolo(root, boxes)
    return {ref: box[0] for ref, box in boxes.items()}


def in_voc(root: Path) -> dict[str, tuple[int, int, int, int]]:
    (root / "images").rename(root / "JPEGImages")
    boxes = {ref.replace("images", "JPEGImages"): box for ref, box in BOXES.items()}
    write_voc(root, boxes)
    return {ref: box[0] for ref, box in boxes.items()}


def in_table(root: Path) -> dict[str, tuple[int, int, int, int]]:
    write_table(root / "boxes.csv", BOXES)
    return {ref: BOXES[ref][0] for ref in REFS}


FORMATS = {"Ground Truth": in_manifests, "COCO": in_coco, "YOLO": in_yolo, "Pascal VOC": in_voc, "CSV": in_table}


def packed_as_zip(root: Path, inside: str) -> Path:
    archive = root.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as stream:
        for path in sorted(root.rglob("*")):
            stream.write(path, Path(inside) / path.relative_to(root))
        if inside:
            stream.writestr(f"__MACOSX/{inside}/._boxes.csv", "how it looked")
    return archive
