"""Annotated sources of every format through the whole of ingest: what they say is kept, and what changes is seen."""

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.stores.home import Home
from tests.makers import paint_with_boxes, save
from tests.sources import SIDE, box_line, paint_boxed, some_boxes, write_coco, write_lines, write_manifest, write_table
from tests.tasks.ingest.annotated_parts import (
    BOXES,
    FORMATS,
    GOOD,
    REFS,
    in_table,
    index_of,
    ingest,
    packed_as_zip,
    placed,
)

# Every format, as a folder, as a single file and in an archive


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


@pytest.mark.parametrize("kind", FORMATS)
def test_equal_inputs_give_equal_bytes(home: Home, root: Path, tmp_path: Path, kind: str) -> None:
    FORMATS[kind](root)
    (root / "bad.png").write_bytes(b"")
    first = Path(ingest(home, root).entry_path)
    second = Path(ingest(Home(tmp_path / "other", "sqlite:///x", "sqlite:///x"), root).entry_path)
    for name in ("images.jsonl", "findings.jsonl", "thumbnails.npy"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
