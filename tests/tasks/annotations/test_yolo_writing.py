"""YOLO data sets are written: worked cases, names that would meet, round trips."""

import hashlib
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.annotations.names import distinct_names
from tasks.annotations.yolo import write_yolo
from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.vision.boxes import BoundingBox
from tests.tasks.annotations.yolo_folders import read

DIGEST = "0" * 64
CRACK = BoundingBox("crack", 1, 2, 3, 4)


def entry(ref, *boxes, labels=None, width=100, height=80, **more):
    truth = Truth(tuple(sorted({box.label for box in boxes})) if labels is None else labels, boxes)
    digest = more.pop("digest", hashlib.sha256(ref.encode()).hexdigest())
    return ImageEntry(ref, digest, width, height, more.pop("truth", truth), **more)


def place(entry, target):
    target.write_bytes(entry.source_ref.encode())


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
