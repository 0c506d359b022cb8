"""Which files of a folder are its annotations, in which format, and which split their names tell."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.errors import DataError
from tasks.ingest.annotation_files import (
    AnnotationFiles,
    find_annotation_files,
    recognise_annotation_file,
    split_named_by,
)
from tasks.ingest.walk import walk_files
from tests.sources import (
    coco_document,
    paint_boxed,
    some_boxes,
    write_coco,
    write_lines,
    write_manifest,
    write_table,
    write_voc,
    write_yolo,
)

IN_IMAGES = some_boxes("images/train/1.png", "images/val/2.png")
IN_JPEGIMAGES = some_boxes("JPEGImages/1.png", "JPEGImages/2.png")
LABELLED = some_boxes("a/1.png", "b/2.png")


def found_in(folder: Path) -> AnnotationFiles | None:
    return find_annotation_files(folder, walk_files(folder)[0])


def manifests(*names: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        paint_boxed(root, LABELLED)
        for name in names:
            write_manifest(root / name, LABELLED)

    return make


def coco(*names: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        for name in names:
            write_coco(root / name, LABELLED)

    return make


def table(name: str) -> Callable[[Path], None]:
    return lambda root: write_table(root / name, LABELLED)


def text(name: str, content: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)

    return make


def yolo(root: Path) -> None:
    write_yolo(paint_boxed(root, IN_IMAGES), IN_IMAGES)


def voc(root: Path) -> None:
    write_voc(paint_boxed(root, IN_JPEGIMAGES), IN_JPEGIMAGES)


def class_folders(root: Path) -> None:
    paint_boxed(root, LABELLED)


JOB = "job/manifests"

RECOGNISED = {
    "one manifest": ([manifests("train.manifest")], AnnotationFiles("Ground Truth", ("train.manifest",))),
    "manifests of all splits": (
        [manifests("train.manifest", "validation.manifest", "test.manifest")],
        AnnotationFiles("Ground Truth", ("test.manifest", "train.manifest", "validation.manifest")),
    ),
    "manifest named json": ([manifests("lines.JSON")], AnnotationFiles("Ground Truth", ("lines.JSON",))),
    "outcome of a labelling job": (
        [manifests(f"{JOB}/intermediate/1/inference.manifest", f"{JOB}/output/output.manifest", "input.manifest")],
        AnnotationFiles("Ground Truth", (f"{JOB}/output/output.manifest",)),
    ),
    "outcomes of two labelling jobs": (
        [manifests("a/output/output.manifest", "b/output/output.manifest", "b/input.manifest")],
        AnnotationFiles("Ground Truth", ("a/output/output.manifest", "b/output/output.manifest")),
    ),
    "annotated copies beside manifests": (
        [
            manifests(
                "train.manifest", "training_manifest_with_validation.json", "TrainingManifestWithValidation-p-1.json"
            )
        ],
        AnnotationFiles("Ground Truth", ("train.manifest",)),
    ),
    "annotated copies alone": (
        [manifests("testing_manifest_with_validation.json", "training_manifest_with_validation.json")],
        AnnotationFiles(
            "Ground Truth", ("testing_manifest_with_validation.json", "training_manifest_with_validation.json")
        ),
    ),
    "manifest in a folder named like an annotated copy": (
        [manifests("run_with_validation/a.manifest", "b.manifest")],
        AnnotationFiles("Ground Truth", ("b.manifest", "run_with_validation/a.manifest")),
    ),
    "COCO of Roboflow": (
        [coco("train/_annotations.coco.json", "valid/_annotations.coco.json")],
        AnnotationFiles("COCO", ("train/_annotations.coco.json", "valid/_annotations.coco.json")),
    ),
    "COCO of COCO": (
        [coco("annotations/instances_train2017.json"), text("annotations/captions_train2017.json", '{"images": []}')],
        AnnotationFiles("COCO", ("annotations/instances_train2017.json",)),
    ),
    "YOLO": ([yolo], AnnotationFiles("YOLO", ("data.yaml",))),
    "Pascal VOC": ([voc], AnnotationFiles("Pascal VOC", ("Annotations/1.xml", "Annotations/2.xml"))),
    "CSV": ([class_folders, table("boxes.csv")], AnnotationFiles("CSV", ("boxes.csv",))),
    "two tables": ([table("a.csv"), table("b.csv")], AnnotationFiles("CSV", ("a.csv", "b.csv"))),
    # The order in which they win
    "Ground Truth before COCO": (
        [coco("a.json"), manifests("z.manifest")],
        AnnotationFiles("Ground Truth", ("z.manifest",)),
    ),
    "COCO before YOLO": ([yolo, coco("z.json")], AnnotationFiles("COCO", ("z.json",))),
    "YOLO before Pascal VOC": ([voc, yolo], AnnotationFiles("YOLO", ("data.yaml",))),
    "Pascal VOC before CSV": (
        [voc, table("a.csv")],
        AnnotationFiles("Pascal VOC", ("Annotations/1.xml", "Annotations/2.xml")),
    ),
    # None of them
    "class folders": ([class_folders], None),
    "nothing": ([], None),
    "stray JSON": ([class_folders, text("a/info.json", '{"images": 3, "by": "me"}'), text("b.json", "[]")], None),
    "stray JSON Lines": ([class_folders, text("log.jsonl", '{"event": "shot"}\n')], None),
    "stray text in JSON": ([class_folders, text("a/broken.json", '{"images": ')], None),
    "stray CSV": ([class_folders, text("exposure.csv", "time,aperture\n1,2\n")], None),
    "CSV below the root": ([class_folders, table("a/boxes.csv")], None),
    "stray YAML": ([class_folders, text("camera.yaml", "names: [a]\n")], None),
    "stray XML": ([class_folders, text("a/camera.xml", "<camera/>")], None),
    "other manifest": ([class_folders, text("app.manifest", "<assembly/>")], None),
    "empty manifest": ([class_folders, text("train.manifest", "")], None),
}


@pytest.mark.parametrize("name", RECOGNISED)
def test_recognised(tmp_path: Path, name: str) -> None:
    makers, expected = RECOGNISED[name]
    for make in makers:
        make(tmp_path)
    assert found_in(tmp_path) == expected


@pytest.mark.parametrize(
    ("name", "make", "expected"),
    [
        pytest.param("x.manifest", write_manifest, "Ground Truth", id="manifest"),
        pytest.param("x.jsonl", write_manifest, "Ground Truth", id="manifest named jsonl"),
        pytest.param("training_manifest_with_validation.json", write_manifest, "Ground Truth", id="annotated copy"),
        pytest.param("x.json", write_coco, "COCO", id="COCO"),
        pytest.param("x.csv", write_table, "CSV", id="CSV"),
        pytest.param("data.yaml", lambda path, boxes: write_yolo(path.parent, boxes), "YOLO", id="YOLO"),
        pytest.param("x.json", lambda path, boxes: path.write_text(json.dumps({"images": []})), "", id="other JSON"),
        pytest.param("x.manifest", lambda path, boxes: write_lines(path, "not JSON"), "", id="no manifest"),
        pytest.param("x.csv", lambda path, boxes: path.write_text("a,b\n1,2\n"), "", id="other table"),
        pytest.param("x.yaml", lambda path, boxes: path.write_text("a: 1\n"), "", id="other YAML"),
    ],
)
def test_single_file(tmp_path: Path, name: str, make: Callable[..., object], expected: str) -> None:
    write_manifest(tmp_path / "other.manifest", LABELLED)
    make(tmp_path / name, IN_IMAGES)
    found = recognise_annotation_file(tmp_path / name, tmp_path)
    assert found == (AnnotationFiles(expected, (name,)) if expected else None)  # type: ignore[arg-type]


@pytest.mark.parametrize("content", ["", " \n\n"])
def test_manifest_of_nothing_is_told_where_it_was_named(tmp_path: Path, content: str) -> None:
    write_table(tmp_path / "labels.csv", LABELLED)
    (tmp_path / "a.manifest").write_text(content)
    with pytest.raises(DataError, match=r"The manifest file is empty \(ERROR_EMPTY_MANIFEST\): .*a\.manifest"):
        recognise_annotation_file(tmp_path / "a.manifest", tmp_path)
    assert found_in(tmp_path) == AnnotationFiles("CSV", ("labels.csv",))


def test_annotated_copies_count_only_where_nothing_else_does(tmp_path: Path) -> None:
    paint_boxed(tmp_path, LABELLED)
    write_manifest(tmp_path / "training_manifest_with_validation.json", LABELLED)
    alone = found_in(tmp_path)
    assert alone == AnnotationFiles("Ground Truth", ("training_manifest_with_validation.json",))
    write_table(tmp_path / "labels.csv", LABELLED)
    assert found_in(tmp_path) == AnnotationFiles("CSV", ("labels.csv",))


def test_manifest_that_begins_with_garbage_is_one(tmp_path: Path) -> None:
    paint_boxed(tmp_path, LABELLED)
    write_manifest(tmp_path / "a.manifest", LABELLED)
    lines = (tmp_path / "a.manifest").read_bytes()
    (tmp_path / "a.manifest").write_bytes(b"x" * ((1 << 20) - 20) + b"\n" + lines)
    assert found_in(tmp_path) == AnnotationFiles("Ground Truth", ("a.manifest",))


def test_keys_of_a_large_coco_file_may_stand_last(tmp_path: Path) -> None:
    document = {"info": "x" * 3_000_000} | coco_document(LABELLED)
    (tmp_path / "large.json").write_text(json.dumps(document))
    assert found_in(tmp_path) == AnnotationFiles("COCO", ("large.json",))


@pytest.mark.parametrize(
    ("ref", "split"),
    [
        ("train.manifest", "train"),
        ("annotations/instances_train2017.json", "train"),
        ("annotations/instances_val2017.json", "validation"),
        ("instances-Test.json", "test"),
        ("valid/_annotations.coco.json", "validation"),
        ("training_manifest_with_validation.json", "train"),
        ("train/test.manifest", "test"),
        ("TESTING/lines.manifest", "test"),
        ("output.manifest", ""),
        ("job/output/output.manifest", ""),
        ("retrained.json", ""),
        ("test/deeper/lines.manifest", ""),
        ("latest.csv", ""),
    ],
)
def test_split_named_by(ref: str, split: str) -> None:
    assert split_named_by(ref) == split
