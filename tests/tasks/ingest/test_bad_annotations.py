"""Bad annotations through the whole of ingest: each is a finding, and nothing outside the source is read."""

import hashlib
import json
import os
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.stores.home import Home
from tests.makers import paint_with_boxes, png_bytes
from tests.sources import (
    LABEL,
    SIDE,
    box_line,
    coco_document,
    voc_xml,
    write_lines,
    write_table,
)
from tests.tasks.ingest.annotated_parts import (
    BOXES,
    GOOD,
    OFF,
    REFS,
    findings_of,
    good_lines,
    in_table,
    in_voc,
    in_yolo,
    index_of,
    ingest,
    packed_as_zip,
)

# What leads out of the source


CANARY = b"canary in a coal mine"


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A picture outside the source, whose bytes must never be known."""
    path = tmp_path / "outside" / "canary.png"
    path.parent.mkdir()
    path.write_bytes(png_bytes(paint_with_boxes([(5, 5, 9, 9)], SIDE, (99,))) + CANARY)
    return path


def stored_bytes(home: Home) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(home.store.root.rglob("*")) if path.is_file())


def reached_through(way: str, root: Path, canary: Path) -> str:
    """Return a reference to the canary."""
    if way == "absolute":
        return str(canary)
    if way == "file address":
        return canary.as_uri()
    if way == "upwards":
        return os.path.relpath(canary, root)
    if way == "linked file":
        (root / "images" / "link.png").symlink_to(canary)
        return "images/link.png"
    (root / "linked").symlink_to(canary.parent)
    return "linked/canary.png"


WAYS = ["absolute", "file address", "upwards", "linked file", "linked folder"]


@pytest.mark.parametrize("kind", ["image", "mask"])
@pytest.mark.parametrize("way", WAYS)
def test_nothing_outside_the_source_is_read(home: Home, root: Path, canary: Path, way: str, kind: str) -> None:
    reference = reached_through(way, root, canary)
    bad = box_line(reference, [(5, 5, 9, 9)])
    if kind == "mask":
        bad = {
            "source-ref": REFS[0],
            "mask-ref": reference,
            "mask-ref-metadata": {
                "internal-color-map": {"0": {"class-name": "cut", "hex-color": "#ffffff", "confidence": 1}},
                "type": "groundtruth/semantic-segmentation",
            },
        }
    write_lines(root / "a.manifest", bad, *good_lines())
    # A link is a bad file of its own, beside the line that names it.
    record = ingest(home, root, max_invalid_fraction=0.3)
    assert set(GOOD) <= set(index_of(record)) <= set(REFS)
    assert any(finding.severity == "error" for finding in findings_of(record))
    digest = hashlib.sha256(canary.read_bytes()).hexdigest().encode()
    stored = stored_bytes(home)
    assert CANARY not in stored
    assert digest not in stored
    canary.write_bytes(b"other bytes")
    assert ingest(home, root, max_invalid_fraction=0.3).content_digest == record.content_digest


def test_pipe_named_by_a_manifest_is_not_waited_for(home: Home, root: Path) -> None:
    os.mkfifo(root / "images" / "pipe.png")
    write_lines(root / "a.manifest", box_line("images/pipe.png", []), *good_lines())
    record = ingest(home, root)
    assert sorted(index_of(record)) == GOOD
    assert record.findings == {"ERROR_INVALID_IMAGE": 1, "WARNING_UNANNOTATED_FILE": 1}


def test_archive_that_writes_outside_its_folder(home: Home, root: Path, tmp_path: Path) -> None:
    in_table(root)
    archive = packed_as_zip(root, "")
    with zipfile.ZipFile(archive, "a") as stream:
        stream.writestr("../../escaped.png", b"x")
        stream.writestr("/escaped.png", b"x")
    record = ingest(home, archive, max_invalid_fraction=0.25)
    assert sorted(index_of(record)) == REFS
    assert record.findings == {"ERROR_OUTSIDE_SOURCE": 2}
    assert list(tmp_path.rglob("escaped*")) == []
    assert (record.listed, record.invalid) == (8, 2)


# Bad input: each a finding, and the good rows next to it are used


def line(**changes: object) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        write_lines(root / "a.manifest", box_line(REFS[0], BOXES[REFS[0]], **changes), *good_lines())

    return spoil


def boxes_line(text: str) -> Callable[[Path], None]:
    """Put a text in place of the first line's box."""

    def spoil(root: Path) -> None:
        first = json.dumps(box_line(REFS[0], [(1, 2, 3, 4)])).replace(
            '"left": 1, "top": 2, "width": 3, "height": 4', text
        )
        write_lines(root / "a.manifest", first, *good_lines())

    return spoil


def raw_line(text: str | bytes) -> Callable[[Path], None]:
    return lambda root: write_lines(root / "a.manifest", *good_lines(), text) and None


def coco(change: Callable[[dict[str, list[dict[str, object]]]], object]) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        document = coco_document(BOXES)
        change(document)
        (root / "a.json").write_text(json.dumps(document))

    return spoil


def table_row(row: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        path = write_table(root / "a.csv", {ref: BOXES[ref] for ref in GOOD})
        with path.open("a") as stream:
            stream.write(row + "\n")

    return spoil


def yolo_labels(text: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        in_yolo(root)
        (root / "labels" / "val" / "0.txt").write_text(text)

    return spoil


def voc_file(text: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        in_voc(root)
        (root / "Annotations" / "0.xml").write_text(text)

    return spoil


BOMB = (
    '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "' + "&b;" * 50 + '">]><annotation><filename>&c;</filename></annotation>'
)
BAD_ROWS = {
    "line is not JSON": (raw_line("{'source-ref': 1"), "ERROR_INVALID_JSON_LINE"),
    "line is no object": (raw_line("[1, 2]"), "ERROR_INVALID_JSON_LINE"),
    "line of bytes": (raw_line(b"\xff\xfe\x00"), "ERROR_INVALID_JSON_LINE"),
    "line nested too deeply": (raw_line('{"a":' * 100_000), "ERROR_INVALID_JSON_LINE"),
    "line without image": (raw_line('{"x": 1}'), "ERROR_MISSING_SOURCE_REF"),
    "box off the image in a manifest": (
        boxes_line('"left": 60, "top": 2, "width": 30, "height": 4'),
        "ERROR_INVALID_BOUNDING_BOX",
    ),
    "NaN in a manifest": (boxes_line('"left": NaN, "top": 2, "width": 3, "height": 4'), "ERROR_INVALID_JSON_LINE"),
    "infinite in a manifest": (
        boxes_line('"left": 1e999, "top": 2, "width": 3, "height": 4'),
        "ERROR_INVALID_JSON_LINE",
    ),
    "negative in a manifest": (
        boxes_line('"left": -9, "top": 2, "width": 30, "height": 4'),
        "ERROR_INVALID_BOUNDING_BOX",
    ),
    "boolean in a manifest": (
        boxes_line('"left": true, "top": 2, "width": 3, "height": 4'),
        "ERROR_INVALID_LABEL_ATTRIBUTE_FORMAT",
    ),
    "class id missing from the map": (line(**{"class-map": {"7": "other"}}), "ERROR_MISSING_CLASS_MAP_ID"),
    "label of 10,000 characters": (line(**{"class-map": {"0": "x" * 10_000}}), ""),
    "label with control characters": (line(**{"class-map": {"0": "a\x07b"}}), ""),
    "manifest of another picture size": (
        line(image_size=[{"width": 640, "height": 480, "depth": 3}]),
        "ERROR_IMAGE_SIZE_DIFFERS",
    ),
    "box off the image in COCO": (
        coco(lambda document: document["annotations"][0].update(bbox=list(OFF))),
        "ERROR_INVALID_BOUNDING_BOX",
    ),
    "NaN in COCO": (
        coco(lambda document: document["annotations"][0].update(bbox=[float("nan"), 1, 2, 3])),
        "ERROR_INVALID_BOUNDING_BOX",
    ),
    "boolean in COCO": (
        coco(lambda document: document["annotations"][0].update(bbox=[True, 1, 2, 3])),
        "ERROR_INVALID_BOUNDING_BOX",
    ),
    "category missing in COCO": (
        coco(lambda document: document["annotations"][0].update(category_id=9)),
        "ERROR_MISSING_CLASS_MAP_ID",
    ),
    "image missing in COCO": (
        coco(lambda document: document["images"][0].update(file_name="images/gone.png")),
        "ERROR_INVALID_IMAGE",
    ),
    "COCO of another picture size": (
        coco(lambda document: document["images"][0].update(width=640)),
        "ERROR_IMAGE_SIZE_DIFFERS",
    ),
    "box off the image in CSV": (
        table_row(f"{REFS[0]},{LABEL},60,5,20,20"),
        "ERROR_INVALID_BOUNDING_BOX",
    ),
    "NaN in CSV": (table_row(f"{REFS[0]},{LABEL},nan,5,20,20"), ""),
    "label of 10,000 characters in CSV": (table_row(f"{REFS[0]},{'x' * 10_000},1,5,20,20"), "ERROR_INVALID_LABEL_NAME"),
    "label with control characters in CSV": (table_row(f"{REFS[0]},a\x07b,1,5,20,20"), "ERROR_INVALID_LABEL_NAME"),
    "too few cells in CSV": (table_row(f"{REFS[0]},{LABEL},1"), ""),
    "image missing in CSV": (table_row(f"images/gone.png,{LABEL},1,5,20,20"), "ERROR_INVALID_IMAGE"),
    "four columns in YOLO": (yolo_labels("0 0.5 0.5 0.1\n"), "ERROR_INVALID_BOUNDING_BOX"),
    "six columns in YOLO": (yolo_labels("0 0.5 0.5 0.1 0.1 0.9\n"), "ERROR_INVALID_BOUNDING_BOX"),
    "words in YOLO": (yolo_labels("0 a b c d\n"), "ERROR_INVALID_BOUNDING_BOX"),
    "NaN in YOLO": (yolo_labels("0 nan 0.5 0.1 0.1\n"), "ERROR_INVALID_BOUNDING_BOX"),
    "class missing in YOLO": (yolo_labels("4 0.5 0.5 0.1 0.1\n"), "ERROR_MISSING_CLASS_MAP_ID"),
    "box off the image in YOLO": (yolo_labels("0 0.9 0.5 0.9 0.1\n"), "ERROR_INVALID_BOUNDING_BOX"),
    "pixels in YOLO": (yolo_labels("0 30 30 20 20\n"), "ERROR_INVALID_BOUNDING_BOX"),
    "XML bomb": (voc_file(BOMB), "ERROR_INVALID_ANNOTATION_FILE"),
    "cut XML": (voc_file(voc_xml("0.png", [(1, 1, 9, 9)])[:-20]), "ERROR_INVALID_ANNOTATION_FILE"),
    "box off the image in XML": (voc_file(voc_xml("0.png", [OFF])), "ERROR_INVALID_BOUNDING_BOX"),
    "NaN in XML": (
        voc_file(voc_xml("0.png", [(1, 1, 9, 9)]).replace("<xmin>2<", "<xmin>nan<")),
        "ERROR_NO_VALID_ANNOTATIONS",
    ),
    "XML of another picture size": (
        voc_file(voc_xml("0.png", [(1, 1, 9, 9)]).replace("<width>64<", "<width>640<")),
        "ERROR_IMAGE_SIZE_DIFFERS",
    ),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_row_is_a_finding_and_the_good_ones_are_used(home: Home, root: Path, name: str) -> None:
    spoil, code = BAD_ROWS[name]
    spoil(root)
    record = ingest(home, root, max_invalid_fraction=0.3)
    used = [Path(ref).name for ref in index_of(record)]
    assert used == [Path(ref).name for ref in GOOD]
    errors = [finding for finding in findings_of(record) if finding.severity == "error"]
    assert errors
    assert code in {*(finding.code for finding in errors), ""}
    assert all(len(finding.message) < 800 and "\n" not in finding.message for finding in errors)
    assert record.invalid == record.listed - record.usable
    assert record.invalid == 1


@pytest.mark.parametrize("place", ["first", "last"])
def test_line_of_100_megabytes_is_passed_over_in_little_memory(home: Home, root: Path, place: str) -> None:
    path, good = root / "a.manifest", b"".join(json.dumps(one).encode() + b"\n" for one in good_lines())
    begin = b'{"source-ref": "images/0.png", "x": "'
    with path.open("wb") as stream:
        stream.write(good if place == "last" else b"")
        stream.write(begin)
        # Holes in the file: bytes of zero that take no room on the disk.
        stream.truncate(stream.tell() + 100_000_000)
        stream.seek(0, os.SEEK_END)
        stream.write(b'"}\n')
        stream.write(good if place == "first" else b"")
    tracemalloc.start()
    try:
        record = ingest(home, root)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sorted(index_of(record)) == GOOD
    assert record.findings["ERROR_LINE_TOO_LONG"] == 1
    assert peak < 60_000_000
