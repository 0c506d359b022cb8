"""Where a YOLO data set says its images are: folders, lists, splits, and what leads nowhere."""

import time

import pytest

from tasks.annotations.annotated import AnnotatedImage, StatedBox
from tasks.annotations.references import ReferenceResolver, RewriteRule
from tasks.annotations.yolo import find_data_yaml, read_yolo
from tasks.annotations.yolo_layout import Source, label_ref_of, split_by_image
from tests.tasks.annotations.yolo_folders import BOX, DATA, LINE, codes, lay, read


def splits(reading):
    return {image.source_ref: image.given_split for image in reading.images}


def test_folders_boxes_and_negatives(tmp_path):
    lay(
        tmp_path,
        {
            "data.yaml": "path: .\ntrain: images/train\nval: images/val\ntest:\nnc: 2\nnames:\n  0: crack\n  7: dent\n",
            "images/train/a.jpg": None,
            "images/train/deep/b.PNG": None,
            "images/val/c.jpg": None,
            "images/val/d.jpg": None,
            "images/val/notes.md": None,
            "labels/train/a.txt": LINE + "\n7 0.5 0.5 1 1\r\n",
            "labels/train/deep/b.txt": "",
            "labels/val/c.txt": "\ufeff" + LINE,
        },
    )
    reading = read(tmp_path)
    assert reading.images == (
        AnnotatedImage("images/train/a.jpg", boxes=(BOX, StatedBox("dent", 0, 0, 1, 1, True)), given_split="train"),
        AnnotatedImage("images/train/deep/b.PNG", boxes=(), given_split="train"),
        AnnotatedImage("images/val/c.jpg", boxes=(BOX,), given_split="validation"),
        AnnotatedImage("images/val/d.jpg", boxes=(), given_split="validation"),
    )
    assert reading.findings == ()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param("train: images/train", {"images/train/a.jpg": "train"}, id="folder"),
        pytest.param("path: sub\ntrain: more", {"sub/more/e.jpg": "train"}, id="below path"),
        pytest.param(
            "path: /content/set\ntrain: images/train", {"images/train/a.jpg": "train"}, id="path of elsewhere"
        ),
        pytest.param("train: ../images/train", {"images/train/a.jpg": "train"}, id="one folder too high"),
        pytest.param("train: ./images/train/", {"images/train/a.jpg": "train"}, id="dot and slash"),
        pytest.param(
            "train: [images/train, images/val]",
            {"images/train/a.jpg": "train", "images/val/c.jpg": "train"},
            id="list of folders",
        ),
        pytest.param("valid: images/val", {"images/val/c.jpg": "validation"}, id="valid for val"),
        pytest.param("val: ~\ntest: images/val", {"images/val/c.jpg": "test"}, id="null split"),
        pytest.param(
            "train: list.txt\nval: images/val",
            {"images/train/a.jpg": "train", "sub/more/e.jpg": "train", "images/val/c.jpg": "validation"},
            id="list of images",
        ),
        pytest.param(
            "train: .",
            {"images/train/a.jpg": "train", "images/val/c.jpg": "train", "sub/more/e.jpg": "train"},
            id="all",
        ),
        pytest.param("train: s3://bucket/images/train", {"images/train/a.jpg": "train"}, id="rewritten"),
    ],
)
def test_places_of_images(tmp_path, data, expected):
    lay(
        tmp_path,
        {
            "data.yaml": data + "\nnames: [crack]\n",
            "list.txt": "./images/train/a.jpg\n\nsub/more/e.jpg\r\n",
            "images/train/a.jpg": None,
            "images/val/c.jpg": None,
            "sub/more/e.jpg": None,
            "labels/train/a.txt": LINE,
            "labels/val/c.txt": LINE,
            "sub/more/e.txt": LINE,
        },
    )
    reading = read(tmp_path, rules=[RewriteRule.parse("s3://bucket/=")])
    assert splits(reading) == expected
    assert {image.boxes for image in reading.images} == {(BOX,)}
    assert reading.findings == ()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param("train: images/none", "ERROR_MISSING_SPLIT", id="no such folder"),
        pytest.param("train: data.yaml", "ERROR_MISSING_SPLIT", id="no list"),
        pytest.param("train: {a: b}", "ERROR_MISSING_SPLIT", id="a mapping"),
        pytest.param("train: [[images/train]]", "ERROR_MISSING_SPLIT", id="a list in a list"),
        pytest.param("train: ../../etc", "ERROR_OUTSIDE_SOURCE", id="outside"),
        pytest.param("path: /etc\ntrain: ssl", "ERROR_OUTSIDE_SOURCE", id="absolute, outside"),
        pytest.param("train: http://x/y", "ERROR_INVALID_SOURCE_REF_FORMAT", id="elsewhere"),
    ],
)
def test_place_that_leads_nowhere_is_a_finding(tmp_path, data, code):
    lay(tmp_path, {"data.yaml": f"{data}\nnames: [crack]\n", "images/train/a.jpg": None})
    reading = read(tmp_path)
    assert reading.images == ()
    (finding,) = reading.findings
    assert (finding.code, finding.source_ref) == (code, "data.yaml")


def test_bad_line_of_an_image_list_is_a_finding(tmp_path):
    lay(
        tmp_path,
        {
            "sets/data.yaml": "train: train.txt\nnames: [crack]\n",
            "sets/train.txt": "images/a.jpg\n../../etc/passwd\n",
            "sets/images/a.jpg": None,
            "sets/labels/a.txt": LINE,
        },
    )
    reading = read(tmp_path, "sets/data.yaml")
    assert splits(reading) == {"sets/images/a.jpg": "train"}
    (finding,) = reading.findings
    assert (finding.code, finding.source_ref) == ("ERROR_OUTSIDE_SOURCE", "sets/train.txt")
    assert finding.message.startswith("line 2 of sets/train.txt: ")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param("train: [images/a, images/b]\ntest: images/b", {"a": "train", "b": "test"}, id="test wins"),
        pytest.param("train: images\nval: images/a\ntest: images/b", {"a": "validation", "b": "test"}, id="all three"),
        pytest.param("train: images\nval: images", {"a": "train", "b": "train"}, id="the same folder twice"),
    ],
)
def test_image_of_several_splits_is_in_one(tmp_path, data, expected):
    lay(
        tmp_path,
        {
            "data.yaml": f"{data}\nnames: [crack]\n",
            "images/a/a.jpg": None,
            "images/b/b.jpg": None,
            "labels/a/a.txt": LINE,
        },
    )
    reading = read(tmp_path)
    assert splits(reading) == {f"images/{name}/{name}.jpg": split for name, split in expected.items()}
    assert set(codes(reading)) == {"WARNING_DUPLICATE_IMAGE"}


def test_only_listed_files_are_opened(tmp_path):
    outside = lay(tmp_path / "outside", {"a.txt": LINE})
    root = lay(tmp_path / "root", {"data.yaml": "train: images\nnames: [crack]\n", "images/a.jpg": None})
    lay(root, {"images/b.jpg": None, "labels/b.txt": LINE})
    (root / "labels/a.txt").symlink_to(outside / "a.txt")
    files = ["data.yaml", "images/a.jpg", "images/b.jpg", "labels/b.txt"]
    reading = read_yolo(root / "data.yaml", root, files, ReferenceResolver(root, files))
    assert [image.boxes for image in reading.images] == [(), (BOX,)]


def test_labels_without_image_are_told(tmp_path):
    lay(tmp_path, {"data.yaml": "train: images\nnames: [crack]\n", "images/a.jpg": None, "README.txt": "read me"})
    lay(tmp_path, {"labels/a.txt": LINE, "labels/b.txt": LINE, "labels/classes.txt": "crack"})
    (finding,) = read(tmp_path).findings
    assert (finding.code, finding.source_ref) == ("WARNING_LABELS_WITHOUT_IMAGE", "labels/b.txt")


def test_long_climbs_and_many_spellings_are_quick(tmp_path):
    spellings = ["./" * number + "images" for number in range(400)]
    document = {"train": spellings, "val": "../" * 100_000 + "x"}
    refs = sorted(f"images/{number}.jpg" for number in range(100_000))
    source = Source(tmp_path, refs, frozenset(refs), ReferenceResolver(tmp_path, refs))
    started = time.monotonic()
    splits = split_by_image(document, "data.yaml", source, [])
    assert time.monotonic() - started < 30
    assert splits == dict.fromkeys(refs, "train")


@pytest.mark.parametrize(
    ("files", "found"),
    [
        pytest.param({"data.yaml": DATA}, "data.yaml", id="data.yaml"),
        pytest.param({"set.yml": DATA, "config.yaml": "names: [a]"}, "set.yml", id="another name"),
        pytest.param({"a.yaml": DATA, "data.yml": DATA}, "data.yml", id="the usual name first"),
        pytest.param({"a/data.yaml": DATA, "b.yaml": DATA}, "b.yaml", id="nearest to the root"),
        pytest.param({"data.yaml": "train: a\n"}, "", id="no names"),
        pytest.param({"data.yaml": "names: [a]\n"}, "", id="no split"),
        pytest.param({"data.yaml": "x:\n  names: [a]\n  train: b\n"}, "", id="deeper keys"),
        pytest.param({"data.yaml": DATA + "#" * 1_000_000}, "", id="large"),
        pytest.param({"data.txt": DATA}, "", id="another suffix"),
    ],
)
def test_find_data_yaml(tmp_path, files, found):
    assert find_data_yaml(lay(tmp_path, files), [*files, "gone.yaml"]) == found


def test_images_folder_of_its_own(tmp_path):
    lay(tmp_path, {"set/data.yaml": "train: images\nnames: [crack]\n"})
    root = lay(tmp_path / "photos", {"images/a.jpg": None, "labels/a.txt": LINE})
    files = ["images/a.jpg", "labels/a.txt"]
    reading = read_yolo(tmp_path / "set/data.yaml", root, files, ReferenceResolver(root, files))
    assert [image.boxes for image in reading.images] == [(BOX,)]


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/a.jpg", "labels/a.txt"),
        ("images/images/x/a.b.jpg", "images/labels/x/a.b.txt"),
        ("train/images/a.jpg", "train/labels/a.txt"),
        ("a.jpg", "a.txt"),
        ("myimages/a.jpg", "myimages/a.txt"),
        ("images.jpg", "images.txt"),
    ],
)
def test_label_ref(image, label):
    assert label_ref_of(image) == label
