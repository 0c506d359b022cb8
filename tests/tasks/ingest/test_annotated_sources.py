"""Annotated sources through the whole of ingest: good rows are used, bad ones findings, nothing outside is read."""

import hashlib
import json
import os
import shutil
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from flows.config import DataConfig, MaskConfig
from tasks.dataset.entries import ImageEntry, read_index
from tasks.dataset.findings import Finding, read_findings
from tasks.errors import DataError, RequestError
from tasks.ingest.records import IngestedImages
from tasks.ingest.task import ingest_images
from tasks.manifest.task import build_manifest
from tasks.stores.home import Home
from tasks.vision.boxes import BoundingBox
from tests.makers import jpeg_bytes, paint_with_boxes, png_bytes, save
from tests.sources import (
    LABEL,
    SIDE,
    box_line,
    coco_document,
    paint_boxed,
    some_boxes,
    voc_xml,
    write_coco,
    write_lines,
    write_manifest,
    write_table,
    write_voc,
    write_yolo,
)

BOXES = some_boxes(*(f"images/{number}.png" for number in range(6)))
REFS = list(BOXES)
GOOD = REFS[1:]
"""What stays when the first image's annotation is spoiled."""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", "sqlite:///unused.db", "sqlite:///unused.db")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return paint_boxed((tmp_path / "parts").resolve(), BOXES)


def ingest(home: Home, source: Path, **options: object) -> IngestedImages:
    return ingest_images.fn(home, DataConfig(source=str(source), **options))  # type: ignore[arg-type]


def index_of(record: IngestedImages, name: str = "images.jsonl") -> dict[str, ImageEntry]:
    return {entry.source_ref: entry for entry in read_index(Path(record.entry_path) / name)}


def findings_of(record: IngestedImages) -> list[Finding]:
    return read_findings(Path(record.entry_path) / "findings.jsonl")


def placed(box: tuple[int, int, int, int]) -> tuple[BoundingBox, ...]:
    return (BoundingBox(LABEL, *box),)


# Every format, as a folder, as a single file and in an archive


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


def packed_as_tar(root: Path) -> Path:
    archive = root.with_suffix(".tar.gz")
    with tarfile.open(archive, "w:gz") as stream:
        stream.add(root, "parts")
    return archive


@pytest.mark.parametrize("kind", FORMATS)
def test_formats_as_folder_and_archives(home: Home, root: Path, kind: str) -> None:
    expected = {ref: placed(box) for ref, box in FORMATS[kind](root).items()}
    record = ingest(home, root)
    assert (record.layout, record.has_boxes, record.usable, record.findings) == (kind, True, len(REFS), {})
    assert {ref: entry.truth.boxes for ref, entry in index_of(record).items()} == expected
    by_a_mac = packed_as_zip(root, "parts").rename(root.with_name("packed by a mac.zip"))
    for archive in (packed_as_tar(root), by_a_mac):
        unpacked = ingest(home, archive)
        assert index_of(unpacked) == index_of(record)
        assert unpacked.layout == kind
    assert unpacked.dataset_name == "packed-by-a-mac"


def test_table_and_images_in_one_packed_folder(home: Home, root: Path) -> None:
    write_table(root / "images" / "boxes.csv", some_boxes(*(f"{number}.png" for number in range(6))))
    archive = packed_as_zip(root / "images", "images")
    record = ingest(home, archive)
    assert (record.layout, sorted(index_of(record))) == ("CSV", [f"{number}.png" for number in range(6)])


def test_packed_folder_of_one_label_stays_a_label(home: Home, root: Path) -> None:
    (root / "images" / "exposure.csv").write_text("time\n3\n")
    record = ingest(home, packed_as_zip(root / "images", "good"))
    assert (record.layout, record.findings) == ("class folders", {"WARNING_IGNORED_FILE": 1})
    assert {entry.truth.labels for entry in index_of(record).values()} == {("good",)}


def test_equal_archives_keep_their_own_names(home: Home, root: Path) -> None:
    in_table(root)
    first = packed_as_zip(root, "")
    second = Path(shutil.copyfile(first, root.with_name("other.zip")))
    assert [ingest(home, archive).dataset_name for archive in (first, second)] == ["parts", "other"]


@pytest.mark.parametrize(
    ("name", "write"),
    [
        pytest.param("any.manifest", write_manifest, id="manifest"),
        pytest.param("any.json", write_coco, id="COCO"),
        pytest.param("any.csv", write_table, id="CSV"),
    ],
)
def test_single_file_with_its_images_elsewhere(
    home: Home, root: Path, tmp_path: Path, name: str, write: Callable[..., Path]
) -> None:
    named = write(tmp_path / "lists" / name, BOXES)
    record = ingest(home, named, image_root=str(root))
    assert (record.root, record.dataset_name, record.findings) == (str(root), "any", {})
    assert {ref: entry.truth.boxes for ref, entry in index_of(record).items()} == {
        ref: placed(box[0]) for ref, box in BOXES.items()
    }


def test_what_a_manifest_says_of_its_lines_is_kept(home: Home, root: Path) -> None:
    write_lines(
        root / "a.manifest",
        *(box_line(f"s3://photos/{ref}", BOXES[ref], **{"human-annotated": "no"}) for ref in REFS),
    )
    record = ingest(home, root, rewrite=("s3://photos/=",))
    entry = index_of(record)[REFS[0]]
    assert (entry.creation_date, entry.job_name) == ("2024-05-06T07:08:09.000000", "labeling-job/parts")
    assert not entry.is_human
    assert record.annotation_files == (str(root / "a.manifest"),)
    stated = json.loads((Path(record.entry_path) / "stated_references.json").read_text())
    assert stated == {ref: f"s3://photos/{ref}" for ref in REFS}


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


def good_lines() -> list[dict[str, object]]:
    return [box_line(ref, BOXES[ref]) for ref in GOOD]


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
OFF = (60, 5, 20, 20)

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


# Masks


def with_masks(root: Path, masks: dict[str, bytes]) -> Path:
    rows = ["image,label,mask"]
    for number, (ref, data) in enumerate(masks.items()):
        (root / "masks").mkdir(exist_ok=True)
        (root / "masks" / f"{number}.png").write_bytes(data)
        rows.append(f"{ref},cut,masks/{number}.png")
    (root / "a.csv").write_text("\n".join(rows) + "\n")
    return root


def mask_bytes(side: int = SIDE, left: int = 10) -> bytes:
    mask = np.zeros((side, side), np.uint8)
    mask[10:30, left : left + 20] = 255
    return png_bytes(mask)


def test_masks_become_boxes_and_bad_ones_findings(home: Home, root: Path) -> None:
    photograph = png_bytes(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
    good = {ref: mask_bytes() for ref in REFS[2:]}
    record = ingest(home, with_masks(root, {REFS[0]: photograph, REFS[1]: mask_bytes(SIDE + 1), **good}))
    assert (record.usable, record.invalid, record.has_boxes) == (6, 0, True)
    data = DataConfig(source=str(root), max_invalid_fraction=0.5, near_duplicates=False)
    manifest = build_manifest.fn(home, record, data, MaskConfig(), "detection")
    findings = {one.source_ref: one.code for one in read_findings(Path(manifest.entry_path) / "findings.jsonl")}
    assert findings == {REFS[0]: "ERROR_INVALID_MASK", REFS[1]: "ERROR_MASK_SIZE"}
    assert sum(boxes.get("cut", 0) for boxes in manifest.boxes.values()) == 4


@pytest.mark.parametrize("gone", ["mask", "image"])
def test_mask_or_image_that_is_missing(home: Home, root: Path, gone: str) -> None:
    with_masks(root, dict.fromkeys(REFS, mask_bytes()))
    (root / ("masks/0.png" if gone == "mask" else REFS[0])).unlink()
    record = ingest(home, root)
    assert sorted(index_of(record)) == GOOD
    told = [(one.code, one.source_ref) for one in findings_of(record)]
    assert told == [("ERROR_INVALID_MASK" if gone == "mask" else "ERROR_INVALID_IMAGE", REFS[0])]
    assert (record.listed, record.invalid) == (6, 1)


@pytest.mark.parametrize("same", [True, False], ids=["equal masks", "different masks"])
def test_same_picture_with_two_masks(home: Home, root: Path, same: bool) -> None:
    shutil.copyfile(root / REFS[0], root / REFS[1])
    masks = dict.fromkeys(REFS, mask_bytes())
    if not same:
        masks[REFS[1]] = mask_bytes(left=20)
    record = ingest(home, with_masks(root, masks))
    assert record.findings == ({"WARNING_DUPLICATE_IMAGE": 1} if same else {"WARNING_CONFLICTING_LABELS": 2})
    assert record.usable == (5 if same else 4)


# Negatives, limits, duplicates


def test_boxes_none_and_unknown_are_three_things(home: Home, root: Path) -> None:
    write_lines(
        root / "a.manifest",
        *(box_line(ref, BOXES[ref]) for ref in REFS[:3]),
        box_line(REFS[3], []),
        {"source-ref": REFS[4]},
    )
    record = ingest(home, root, max_invalid_fraction=0.0)
    assert {ref: entry.truth.boxes for ref, entry in index_of(record).items()} == {
        **{ref: placed(BOXES[ref][0]) for ref in REFS[:3]},
        REFS[3]: (),
    }
    assert {one.source_ref: one.code for one in findings_of(record)} == {
        REFS[4]: "WARNING_UNANNOTATED_RECORD",
        REFS[5]: "WARNING_UNANNOTATED_FILE",
    }
    assert (record.usable, record.invalid) == (4, 0)


def test_source_of_negatives_has_no_boxes(home: Home, root: Path) -> None:
    write_coco(root / "a.json", dict.fromkeys(REFS, ()))
    record = ingest(home, root)
    assert (record.usable, record.has_boxes) == (6, False)
    assert {entry.truth.boxes for entry in index_of(record).values()} == {()}


def test_table_of_labels_has_no_boxes(home: Home, root: Path) -> None:
    (root / "a.csv").write_text("image,label\n" + "".join(f"{ref},a\n" for ref in REFS))
    record = ingest(home, root)
    assert not record.has_boxes
    assert {(entry.truth.labels, entry.truth.boxes) for entry in index_of(record).values()} == {(("a",), None)}


def test_lost_boxes_are_no_lost_images(home: Home, root: Path) -> None:
    write_manifest(root / "a.manifest", {ref: [*BOXES[ref], OFF] for ref in REFS})
    record = ingest(home, root, max_invalid_fraction=0.0)
    assert (record.usable, record.invalid) == (6, 0)
    assert record.findings["ERROR_INVALID_BOUNDING_BOX"] == 6


def test_lost_lines_are_lost_images(home: Home, root: Path) -> None:
    write_lines(root / "a.manifest", *good_lines(), "no JSON", "nor this", "{}")
    with pytest.raises(DataError, match="3 of 8 images are bad"):
        ingest(home, root)
    record = ingest(home, root, max_invalid_fraction=0.4)
    assert (record.listed, record.usable, record.invalid) == (8, 5, 3)


def test_missing_images_beyond_the_limit_stop_the_run(home: Home, root: Path) -> None:
    in_coco(root)
    (root / REFS[0]).unlink()
    assert ingest(home, root).invalid == 1
    (root / REFS[1]).unlink()
    with pytest.raises(DataError, match="2 of 6 images are bad"):
        ingest(home, root)


@pytest.mark.parametrize("same", [True, False], ids=["equal boxes", "different boxes"])
def test_same_picture_twice(home: Home, root: Path, same: bool) -> None:
    shutil.copyfile(root / REFS[0], root / REFS[1])
    write_manifest(root / "a.manifest", BOXES | {REFS[0]: [(1, 1, 9, 9)], REFS[1]: [(1, 1, 9, 9 if same else 8)]})
    record = ingest(home, root)
    assert record.findings == ({"WARNING_DUPLICATE_IMAGE": 1} if same else {"WARNING_CONFLICTING_LABELS": 2})
    assert (record.usable, record.invalid) == (5 if same else 4, 0)
    assert "boxed or masked otherwise" in findings_of(record)[0].message or same


# Test source, groups


def test_test_source_is_an_annotation_file_of_its_own(home: Home, root: Path, tmp_path: Path) -> None:
    write_manifest(root / "a.manifest", BOXES)
    tested = paint_boxed((tmp_path / "tested").resolve(), some_boxes("x/1.png", "x/2.png"))
    shutil.copyfile(root / REFS[0], tested / "x" / "same.png")
    named = write_coco(tested / "golden.json", some_boxes("x/1.png", "x/2.png", "x/same.png"))
    write_table(tested / "other.csv", {})
    record = ingest(home, root / "a.manifest", test_source=str(named))
    assert (record.root, record.test_root, record.layout) == (str(root), str(tested), "Ground Truth")
    assert sorted(index_of(record)) == GOOD
    assert sorted(index_of(record, "test_images.jsonl")) == ["x/1.png", "x/2.png", "x/same.png"]
    assert record.findings == {"WARNING_IMAGE_IN_TEST_SOURCE": 1}


@pytest.mark.parametrize(("column", "group_by"), [("group", ""), ("lot", "lot")], ids=["usual", "named"])
def test_groups_of_a_table(home: Home, root: Path, column: str, group_by: str) -> None:
    (root / "a.csv").write_text(
        f"image,label,{column}\n" + "".join(f"{ref},a,g{n % 2}\n" for n, ref in enumerate(REFS))
    )
    record = ingest(home, root, group_by=group_by)
    assert {ref: entry.group for ref, entry in index_of(record).items()} == {
        ref: f"g{number % 2}" for number, ref in enumerate(REFS)
    }


# What makes another entry


CHANGES: dict[str, Callable[[Path], object]] = {
    "a box moves": lambda root: write_manifest(root / "a.manifest", BOXES | {REFS[0]: [(3, 3, 20, 9)]}),
    "the manifest's bytes": lambda root: (root / "a.manifest").write_text(
        (root / "a.manifest").read_text().replace("}\n", "} \n", 1)
    ),
    "the manifest's name": lambda root: (root / "a.manifest").rename(root / "b.manifest"),
    "a picture": lambda root: save(root / REFS[0], paint_with_boxes([(3, 3, 9, 9)], SIDE, (77,))),
}


@pytest.mark.parametrize("name", CHANGES)
def test_change_of_a_manifest_source_is_seen(home: Home, root: Path, name: str) -> None:
    write_manifest(root / "a.manifest", BOXES)
    before = ingest(home, root)
    assert ingest(home, root).reused
    CHANGES[name](root)
    after = ingest(home, root)
    assert not after.reused
    assert after.content_digest != before.content_digest


@pytest.mark.parametrize("kind", ["COCO", "YOLO", "Pascal VOC", "CSV"])
def test_box_that_moves_is_seen_in_every_format(home: Home, root: Path, kind: str) -> None:
    FORMATS[kind](root)
    before = ingest(home, root)
    texts = [path for path in sorted(root.rglob("*")) if path.suffix in (".json", ".csv", ".xml", ".txt")]
    before_bytes = [path.read_bytes() for path in texts]
    assert before_bytes
    changed = {
        "COCO": ("[2, 5, 20, 9]", "[2, 5, 20, 8]"),
        "YOLO": ("0 ", "0 0.5 0.5 0.1 0.1\n0 "),
        "CSV": (",9\n", ",8\n"),
    }
    old, new = changed.get(kind, ("<ymax>14<", "<ymax>13<"))
    for path in texts:
        path.write_text(path.read_text().replace("\r\n", "\n").replace(old, new, 1))
    after = ingest(home, root)
    assert after.content_digest != before.content_digest
    assert index_of(after) != index_of(before)


def test_mask_that_changes_is_seen(home: Home, root: Path) -> None:
    with_masks(root, dict.fromkeys(REFS, mask_bytes()))
    before = ingest(home, root)
    (root / "masks" / "0.png").write_bytes(mask_bytes(left=11))
    after = ingest(home, root)
    assert after.content_digest != before.content_digest
    assert index_of(after)[REFS[0]].mask_sha256 != index_of(before)[REFS[0]].mask_sha256


@pytest.mark.parametrize("kind", FORMATS)
def test_equal_inputs_give_equal_bytes(home: Home, root: Path, tmp_path: Path, kind: str) -> None:
    FORMATS[kind](root)
    (root / "bad.png").write_bytes(b"")
    first = Path(ingest(home, root).entry_path)
    second = Path(ingest(Home(tmp_path / "other", "sqlite:///x", "sqlite:///x"), root).entry_path)
    for name in ("images.jsonl", "findings.jsonl", "thumbnails.npy"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


# The managed service's limits


def test_rules_of_the_managed_service_on_pictures(home: Home, tmp_path: Path) -> None:
    root = (tmp_path / "parts").resolve()
    labels = ("a", "b")
    sizes = {"63.png": (63, 64), "64.png": (64, 64), "tall.png": (1281, 64), "longest.png": (1280, 64)}
    for label in labels:
        for place, (name, (height, width)) in enumerate(sizes.items()):
            pixels = np.random.default_rng([place, *label.encode()]).integers(
                0, 256, (height, width, 3), dtype=np.uint8
            )
            save(root / label / name, pixels)
        save(root / label / "plain.bmp", paint_with_boxes([], SIDE, label.encode()))
        (root / label / "named.bmp").write_bytes(jpeg_bytes(paint_with_boxes([], SIDE, (5, *label.encode()))))
    assert ingest(home, root).usable == 12
    record = ingest(home, root, rules="aws", max_invalid_fraction=0.6)
    assert sorted(index_of(record)) == [
        f"{label}/{name}" for label in labels for name in ("64.png", "longest.png", "named.bmp")
    ]
    assert record.findings == {
        "ERROR_INVALID_IMAGE": 2,
        "ERROR_INVALID_IMAGE_DIMENSION": 4,
        "WARNING_WRONG_SUFFIX": 2,
    }


def test_rules_of_the_managed_service_on_lines(home: Home, root: Path) -> None:
    write_lines(
        root / "a.manifest",
        *(box_line(f"s3://photos/{ref}", BOXES[ref]) for ref in REFS[:4]),
        box_line(f"s3://photos/{REFS[4]}", []),
        box_line(REFS[5], BOXES[REFS[5]]),
    )
    record = ingest(home, root, rules="aws", rewrite=("s3://photos/=",))
    assert sorted(index_of(record)) == REFS[:4]
    assert record.findings["ERROR_INVALID_SOURCE_REF_FORMAT"] == 1
    assert record.findings["WARNING_NO_ANNOTATIONS"] == 1


@pytest.mark.parametrize("rule", ["s3://photos/", "=images/"])
def test_rule_that_is_none_is_the_requests_fault(home: Home, root: Path, rule: str) -> None:
    write_manifest(root / "a.manifest", BOXES)
    with pytest.raises(ValidationError, match="rewrite"):
        ingest(home, root, rewrite=(rule,))


def test_images_folder_that_is_a_file_is_the_requests_fault(home: Home, root: Path) -> None:
    manifest = write_manifest(root / "a.manifest", BOXES)
    with pytest.raises(RequestError, match=r"data\.image_root .* is a file"):
        ingest(home, manifest, image_root=str(manifest))
