"""YOLO data sets, read and written: worked cases, broken files, round trips."""

import contextlib
import hashlib
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.annotations.annotated import AnnotatedImage, StatedBox
from tasks.annotations.names import distinct_names
from tasks.annotations.references import ReferenceResolver, RewriteRule
from tasks.annotations.yolo import find_data_yaml, read_yolo, write_yolo
from tasks.annotations.yolo_layout import Source, label_ref_of, split_by_image
from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.errors import DataError
from tasks.vision.boxes import BoundingBox

DIGEST = "0" * 64
DATA = "train: images/train\nval: images/val\nnames: [crack, dent]\n"
BOX = StatedBox("crack", 0.375, 0.25, 0.25, 0.5, is_relative=True)
LINE = "0 0.5 0.5 0.25 0.5\n"


def lay(root, files):
    """Write files by reference; None makes an image that nobody opens."""
    for ref, text in files.items():
        path = root / ref
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else (text or "").encode())
    return root


def read(root, data_yaml="data.yaml", rules=()):
    files = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    return read_yolo(root / data_yaml, root, files, ReferenceResolver(root, files, rules))


def codes(reading):
    return [finding.code for finding in reading.findings]


def splits(reading):
    return {image.source_ref: image.given_split for image in reading.images}


def entry(ref, *boxes, labels=None, width=100, height=80, **more):
    truth = Truth(tuple(sorted({box.label for box in boxes})) if labels is None else labels, boxes)
    digest = more.pop("digest", hashlib.sha256(ref.encode()).hexdigest())
    return ImageEntry(ref, digest, width, height, more.pop("truth", truth), **more)


def place(entry, target):
    target.write_bytes(entry.source_ref.encode())


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


@pytest.mark.parametrize(
    ("line", "box"),
    [
        pytest.param("1 .5 .5 1 1", StatedBox("dent", 0, 0, 1, 1, True), id="box"),
        pytest.param("1.0\t.5 .5 1 1", StatedBox("dent", 0, 0, 1, 1, True), id="class as a float, tab"),
        pytest.param(
            "0 0 0 .5 .5", StatedBox("crack", -0.25, -0.25, 0.5, 0.5, True), id="off the image, for the check"
        ),
        pytest.param("0 .25 .5 .5 .25 .75 1", StatedBox("crack", 0.25, 0.25, 0.5, 0.75, True), id="triangle"),
        pytest.param("0 0 0 1 0 1 .5 0 .5", StatedBox("crack", 0, 0, 1, 0.5, True), id="four points"),
    ],
)
def test_line_to_box(tmp_path, line, box):
    lay(tmp_path, {"data.yaml": DATA, "images/train/a.jpg": None, "labels/train/a.txt": line})
    reading = read(tmp_path)
    assert reading.images[0].boxes == (box,)
    outlines = [finding for finding in reading.findings if finding.code == "WARNING_SEGMENTATION_AS_BOXES"]
    assert [finding.message[:7] for finding in outlines] == (["1 lines"] if len(line.split()) > 5 else [])


@pytest.mark.parametrize(
    ("line", "code"),
    [
        pytest.param("0 .5 .5 .1", "ERROR_INVALID_BOUNDING_BOX", id="four columns"),
        pytest.param("0 .5 .5 .1 .1 .9", "ERROR_INVALID_BOUNDING_BOX", id="six columns"),
        pytest.param("0 .5 .5 .1 .1 .9 .9 .9", "ERROR_INVALID_BOUNDING_BOX", id="eight columns"),
        pytest.param("0", "ERROR_INVALID_BOUNDING_BOX", id="class alone"),
        pytest.param("0,.5,.5,.1,.1", "ERROR_INVALID_BOUNDING_BOX", id="commas"),
        pytest.param("0 .5 x .1 .1", "ERROR_INVALID_BOUNDING_BOX", id="text"),
        pytest.param("0 .5 nan .1 .1", "ERROR_INVALID_BOUNDING_BOX", id="NaN"),
        pytest.param("0 .5 .5 inf .1", "ERROR_INVALID_BOUNDING_BOX", id="infinity"),
        pytest.param("0 .5 .5 1e300 .1", "ERROR_INVALID_BOUNDING_BOX", id="huge"),
        pytest.param("0 .5 .5 0 .1", "ERROR_INVALID_BOUNDING_BOX", id="no width"),
        pytest.param("0 .5 .5 .1 -.1", "ERROR_INVALID_BOUNDING_BOX", id="negative height"),
        pytest.param("0 .1 .1 .1 .5 .1 .9", "ERROR_INVALID_BOUNDING_BOX", id="outline without width"),
        pytest.param("2 .5 .5 .1 .1", "ERROR_MISSING_CLASS_MAP_ID", id="class beyond"),
        pytest.param("-1 .5 .5 .1 .1", "ERROR_MISSING_CLASS_MAP_ID", id="negative class"),
        pytest.param("0.5 .5 .5 .1 .1", "ERROR_MISSING_CLASS_MAP_ID", id="half a class"),
        pytest.param("crack .5 .5 .1 .1", "ERROR_INVALID_BOUNDING_BOX", id="class in words"),
        pytest.param(b"\xff\xfe\x00\x00", "ERROR_INVALID_BOUNDING_BOX", id="no text"),
        pytest.param("9" * 5000 + " .5 .5 .1 .1", "ERROR_INVALID_BOUNDING_BOX", id="endless class"),
    ],
)
def test_line_without_box_is_a_finding_and_its_image_no_negative(tmp_path, line, code):
    files = {
        "images/train/a.jpg": None,
        "labels/train/a.txt": b"\n" + (line if isinstance(line, bytes) else line.encode()),
    }
    reading = read(lay(tmp_path, {"data.yaml": DATA.replace("val: images/val\n", "")} | files))
    (finding,) = reading.findings
    assert (finding.code, finding.source_ref) == (code, "images/train/a.jpg")
    assert finding.message.startswith("line 2 of labels/train/a.txt: ")
    assert len(finding.message) < 300
    assert reading.images[0].boxes is None
    (tmp_path / "labels/train/a.txt").write_bytes(
        (tmp_path / "labels/train/a.txt").read_bytes() + b"\n" + LINE.encode()
    )
    assert read(tmp_path).images[0].boxes == (BOX,)


def test_label_file_of_too_many_lines_or_bytes_is_one_finding(tmp_path, monkeypatch):
    lay(tmp_path, {"data.yaml": "train: images\nnames: [crack]\n", "images/a.jpg": None, "labels/a.txt": LINE * 10_001})
    reading = read(tmp_path)
    assert codes(reading) == ["ERROR_TOO_MANY_BOUNDING_BOXES"]
    assert reading.images[0].boxes is None
    monkeypatch.setattr("tasks.annotations.yolo.MAX_LABEL_BYTES", 100)
    assert codes(read(tmp_path)) == ["ERROR_UNREADABLE_FILE"]


def test_label_file_that_vanished_is_a_finding(tmp_path):
    lay(tmp_path, {"data.yaml": "train: images\nnames: [crack]\n", "images/a.jpg": None, "labels/a.txt": LINE})
    files = ["data.yaml", "images/a.jpg", "labels/a.txt"]
    (tmp_path / "labels/a.txt").unlink()
    reading = read_yolo(tmp_path / "data.yaml", tmp_path, files, ReferenceResolver(tmp_path, files))
    assert codes(reading) == ["ERROR_UNREADABLE_FILE"]
    assert reading.images[0].boxes is None


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


@pytest.mark.parametrize(
    ("names", "found"),
    [
        pytest.param("[crack]", "crack", id="list"),
        pytest.param("{0: crack}", "crack", id="mapping"),
        pytest.param("[no]", "no", id="no is a name"),
        pytest.param("[1.10]", "1.10", id="digits stay"),
        pytest.param("[007]", "007", id="zeros stay"),
        pytest.param("[2024-13-45]", "2024-13-45", id="no date"),
        pytest.param("['ö 中']", "ö 中", id="other letters"),
    ],
)
def test_names(tmp_path, names, found):
    lay(tmp_path, {"data.yaml": f"train: images\nnames: {names}\n", "images/a.jpg": None, "labels/a.txt": LINE})
    reading = read(tmp_path)
    assert reading.images[0].boxes[0].label == found
    assert reading.findings == ()


@pytest.mark.parametrize(
    ("names", "code"),
    [
        pytest.param("[crack, '']", "ERROR_INVALID_LABEL_NAME", id="empty"),
        pytest.param("[crack, [a]]", "ERROR_INVALID_LABEL_NAME", id="a list"),
        pytest.param(f"[crack, {'x' * 257}]", "ERROR_INVALID_LABEL_NAME", id="long"),
        pytest.param(r'[crack, "a\nb"]', "ERROR_INVALID_LABEL_NAME", id="two lines"),
        pytest.param("{0: crack, one: dent}", "ERROR_INVALID_LABEL_NAME", id="number in words"),
        pytest.param("{0: crack, -1: dent}", "ERROR_INVALID_LABEL_NAME", id="negative number"),
        pytest.param("[crack]\nnc: 3", "WARNING_CLASS_COUNT", id="another count"),
    ],
)
def test_doubtful_names_are_findings(tmp_path, names, code):
    lay(tmp_path, {"data.yaml": f"train: images\nnames: {names}\n", "images/a.jpg": None, "labels/a.txt": LINE})
    reading = read(tmp_path)
    assert codes(reading) == [code]
    assert reading.images[0].boxes == (BOX,)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param("names: [", "no YAML", id="broken"),
        pytest.param(b"\xff\xfe\xff", "no YAML", id="no text"),
        pytest.param("names: " + "[" * 20_000, "no YAML", id="deep"),
        pytest.param("- a\n", "no mapping", id="a list"),
        pytest.param("", "no mapping", id="empty"),
        pytest.param("train: images\n", "names no classes", id="no names"),
        pytest.param("train: images\nnames: crack\n", "names no classes", id="names as text"),
        pytest.param("train: images\nnames: []\n", "names no classes", id="no name"),
        pytest.param("names: [a]\ntrain:\n", "names no images", id="no split"),
        pytest.param("names: [a]\ntrain: images\nkpt_shape: [17, 3]\n", "key points", id="key points"),
        pytest.param(
            "names: [a]\ntrain: images\n", "has a label file, such as labels/a.txt", id="no label file at all"
        ),
        pytest.param("#" * 1_000_001, "larger than 1 MB", id="large"),
        pytest.param("names: !!python/object/apply:os.system ['true']\n", "names no images", id="a tag is a text's"),
    ],
)
def test_no_data_set_is_one_sentence(tmp_path, data, says):
    lay(tmp_path, {"data.yaml": data, "images/a.jpg": None})
    with pytest.raises(DataError, match=says) as caught:
        read(tmp_path)
    assert len(caught.value.message) < 400


def test_yaml_that_multiplies_itself_is_quick(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    lay(tmp_path, {"data.yaml": "\n".join([*lines, "names: *a29", "train: *a29", "path: *a29"])})
    started = time.monotonic()
    with pytest.raises(DataError, match="names no classes"):
        read(tmp_path)
    assert time.monotonic() - started < 30


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


def test_written_data_set(tmp_path):
    divided = {
        "train": [entry("x/a.jpg", BoundingBox("dent", 10, 20, 30, 40)), entry("b.png")],
        "validation": [entry("images/c.jpg", BoundingBox("crack", 0, 0, 100, 80))],
        "test": [],
    }
    assert write_yolo(tmp_path, divided, ["crack", "dent"], place) == []
    written = {
        path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*") if path.is_file()
    }
    assert yaml.safe_load(written.pop("data.yaml")) == {
        "train": "images/train",
        "val": "images/val",
        "nc": 2,
        "names": {0: "crack", 1: "dent"},
    }
    assert written == {
        "images/train/x/a.jpg": "x/a.jpg",
        "labels/train/x/a.txt": "1 0.25000000 0.50000000 0.30000000 0.50000000\n",
        "images/train/b.png": "b.png",
        "labels/train/b.txt": "",
        "images/val/images/c.jpg": "images/c.jpg",
        # Where every reader looks: the last folder `images` is replaced.
        "images/val/labels/c.txt": "0 0.50000000 0.50000000 1.00000000 1.00000000\n",
    }


def test_images_that_would_share_a_label_file_are_renamed(tmp_path):
    refs = ["a.webp", "a.png", "a-2.jpg", "a.jpg", "b\n.jpg"]
    boxes = [BoundingBox("crack", number, 0, 1, 1) for number in range(len(refs))]
    entries = [entry(ref, box) for ref, box in zip(refs, boxes, strict=True)]
    findings = write_yolo(tmp_path, {"train": entries, "test": [entry("a.bmp")]}, ["crack"], place)
    assert [(finding.code, finding.source_ref) for finding in findings] == [
        ("WARNING_RENAMED_FILE", "a.webp"),
        ("WARNING_RENAMED_FILE", "a.png"),
        ("WARNING_RENAMED_FILE", "b\n.jpg"),
    ]
    assert "written as a-4.webp" in findings[0].message
    renamed = {path.name: path.read_text() for path in (tmp_path / "images/train").iterdir()}
    assert renamed == {
        "a.jpg": "a.jpg",
        "a-2.jpg": "a-2.jpg",
        "a-3.png": "a.png",
        "a-4.webp": "a.webp",
        "b_.jpg": "b\n.jpg",
    }
    read_again = {image.source_ref: round(image.boxes[0].left * 100) for image in read(tmp_path).images if image.boxes}
    assert read_again == {f"images/train/{name}": refs.index(ref) for name, ref in renamed.items()}
    assert (tmp_path / "images/test/a.bmp").is_file()


def test_images_that_share_a_path_are_all_written(tmp_path):
    divided = {
        "train": [entry("x/1.png", CRACK, digest="a"), entry("x/1.png", CRACK, digest="b")],
        "validation": [entry("x/1.png", CRACK, digest="c")],
        "test": [entry("x/1.png", CRACK, digest="d")],
    }
    write_yolo(tmp_path, divided, ["crack"], lambda one, path: path.write_text(one.sha256))
    written = {(tmp_path / image.source_ref).read_text(): image.given_split for image in read(tmp_path).images}
    assert written == {one.sha256: split for split, entries in divided.items() for one in entries}


def test_many_images_of_one_stem_are_named_quickly():
    entries = [ImageEntry("a.png", str(number), 1, 1, Truth(())) for number in range(30_000)]
    started = time.monotonic()
    assert len(set(distinct_names(entries).values())) == len(entries)
    assert time.monotonic() - started < 30


CRACK = BoundingBox("crack", 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("lossy", "says"),
    [
        pytest.param(
            entry("a.jpg", BoundingBox("crack", 1, 2, 3, 4, 0.5)), "confidences of their boxes", id="confidence"
        ),
        pytest.param(entry("a.jpg", CRACK, creation_date="2020-07-01T00:00:00"), "date", id="date"),
        pytest.param(entry("a.jpg", CRACK, labels=("crack", "good")), "image-level labels", id="label of no box"),
        pytest.param(
            entry("a.jpg", BoundingBox("rust", 1, 1, 1, 1)), "not among those written", id="label not written"
        ),
        pytest.param(entry("a.jpg", truth=Truth(("good",))), "left out", id="nothing known of boxes"),
        pytest.param(entry("a.jpg", CRACK, group="shift 1"), "group", id="group"),
    ],
)
def test_what_yolo_cannot_hold_is_told_once_with_a_number(tmp_path, lossy, says):
    divided = {"train": [lossy, entry("b.jpg", CRACK, digest=DIGEST, group=DIGEST)], "test": [lossy]}
    (finding,) = write_yolo(tmp_path, divided, ["crack"], place)
    assert finding.code == "WARNING_NOT_IN_FORMAT"
    assert finding.message.startswith("2 images")
    assert says in finding.message
    assert (tmp_path / "images/test/a.jpg").exists() is (lossy.truth.boxes is not None)


@st.composite
def pictures(draw):
    width, height = draw(st.integers(1, 20_000)), draw(st.integers(1, 20_000))
    boxes = []
    for _ in range(draw(st.integers(0, 4))):
        left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        size = draw(st.integers(1, width - left)), draw(st.integers(1, height - top))
        boxes.append(BoundingBox(draw(st.sampled_from(["no", "1.10", "ö: 中 #"])), left, top, *size))
    return width, height, boxes


@settings(max_examples=50, deadline=None)
@given(st.lists(pictures(), min_size=1, max_size=4))
def test_round_trip_to_the_pixel(tmp_path_factory, painted):
    root = tmp_path_factory.mktemp("yolo")
    entries = [
        entry(f"{number}.jpg", *boxes, width=width, height=height)
        for number, (width, height, boxes) in enumerate(painted)
    ]
    assert write_yolo(root, {"train": entries[::2], "test": entries[1::2]}, ["no", "1.10", "ö: 中 #"], place) == []
    reading = read(root)
    assert reading.findings == ()
    again = {image.source_ref: image for image in reading.images}
    assert len(again) == len(entries)
    for number, (width, height, boxes) in enumerate(painted):
        split = "test" if number % 2 else "train"
        image = again[f"images/{split}/{number}.jpg"]
        assert image.given_split == split
        assert [in_pixels(box, width, height) for box in image.boxes] == boxes


def in_pixels(box, width, height):
    left, top = box.left * width, box.top * height
    right, bottom = left + box.width * width, top + box.height * height
    for edge in (left, top, right, bottom):
        assert abs(edge - round(edge)) < 0.001
    return BoundingBox(box.label, round(left), round(top), round(right) - round(left), round(bottom) - round(top))


CELLS = st.one_of(
    st.sampled_from(["0", "1", "2", "0.5", "1", ".25", "nan", "-inf", "1e400", "x", "\x00", "½", "-0"]),
    st.floats(0, 1).map(str),
    st.text(max_size=3),
)
LINES = st.lists(CELLS, max_size=9).map(" ".join)


@settings(max_examples=100, deadline=None)
@given(st.lists(LINES, max_size=6), st.binary(max_size=20))
def test_every_line_is_a_box_or_a_finding(tmp_path_factory, lines, tail):
    root = tmp_path_factory.mktemp("yolo")
    text = "\n".join(lines).encode("utf-8", "surrogatepass") + b"\n" + tail
    lay(root, {"data.yaml": "train: images\nnames: [crack, dent]\n", "images/a.jpg": None, "labels/a.txt": text})
    reading = read(root)
    filled = [line for line in text.split(b"\n") if line.decode("utf-8-sig", "replace").split()]
    (image,) = reading.images
    problems = [finding for finding in reading.findings if finding.code.startswith("ERROR_")]
    assert len(image.boxes or ()) + len(problems) == len(filled)
    assert (image.boxes is None) is (bool(problems) and len(problems) == len(filled))


YAML = st.recursive(
    st.sampled_from(["images", "..", "/", "list.txt", "labels/a.txt", "~", "0", "crack", "data.yaml", "", "a\\b", "é"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["0", "1", "x", "names"]), inner, max_size=3),
    ),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={key: YAML for key in ("names", "train", "val", "test", "path", "nc")} | {"names": st.just(["crack"])},
    ),
    st.one_of(st.just(b""), st.binary(max_size=8)),
)
def test_any_data_yaml_is_read_or_refused_in_a_sentence(tmp_path_factory, document, noise):
    root = tmp_path_factory.mktemp("yolo")
    lay(root, {"images/a.jpg": None, "labels/a.txt": LINE, "list.txt": b"images/a.jpg\n" + noise})
    lay(root, {"data.yaml": yaml.safe_dump(document).encode() + noise})
    # Whatever else is raised fails the test.
    with contextlib.suppress(DataError):
        assert {image.given_split for image in read(root).images} <= {"train", "validation", "test"}
