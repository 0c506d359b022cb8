import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.annotations.annotated import StatedBox
from tasks.annotations.voc import write_voc
from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.vision.boxes import BoundingBox
from tests.tasks.annotations.voc_folders import read


def entry(ref, boxes=(), labels=None, digest="", **other):
    names = sorted({box.label for box in boxes or ()} | set(labels or ()))
    return ImageEntry(
        ref,
        digest or hashlib.sha256(ref.encode()).hexdigest(),
        640,
        480,
        Truth(tuple(names), boxes, other.pop("confidences", ())),
        **other,
    )


def placed(image, target):
    assert target.parent.is_dir()
    target.write_text(image.source_ref)


DIVIDED = {
    "train": [
        entry("good/1.jpg", (BoundingBox("a & <b>", 0, 0, 640, 480), BoundingBox("é", 3, 0, 1, 1))),
        entry("cut/1.jpg"),
    ],
    "test": [entry("2.png", (BoundingBox("dog", 10, 20, 30, 40),))],
}


def test_what_was_written_is_read_again(tmp_path):
    assert write_voc(tmp_path, DIVIDED, placed) == []
    reading = read(tmp_path, {})
    assert reading.findings == ()
    found = {image.source_ref: image for image in reading.images}
    for split, entries in DIVIDED.items():
        for one in entries:
            image = found.pop(f"JPEGImages/{one.source_ref}")
            boxes = one.truth.boxes
            assert image.boxes == tuple(StatedBox(b.label, b.left, b.top, b.width, b.height) for b in boxes)
            assert (image.given_split, image.stated_width, image.stated_height) == (split, 640, 480)
            assert (tmp_path / image.source_ref).read_text() == one.source_ref
    assert not found


def test_written_file_is_as_the_development_kit_has_it(tmp_path):
    write_voc(tmp_path, DIVIDED, placed)
    assert (
        (tmp_path / "Annotations/2.xml").read_text()
        == """<annotation>
  <folder>JPEGImages</folder>
  <filename>2.png</filename>
  <source>
    <database>Unknown</database>
  </source>
  <size>
    <width>640</width>
    <height>480</height>
    <depth>3</depth>
  </size>
  <segmented>0</segmented>
  <object>
    <name>dog</name>
    <pose>Unspecified</pose>
    <truncated>0</truncated>
    <difficult>0</difficult>
    <bndbox>
      <xmin>11</xmin>
      <ymin>21</ymin>
      <xmax>40</xmax>
      <ymax>60</ymax>
    </bndbox>
  </object>
</annotation>
"""
    )
    assert sorted(path.name for path in (tmp_path / "ImageSets/Main").iterdir()) == ["test.txt", "train.txt"]
    assert (tmp_path / "ImageSets/Main/train.txt").read_text() == "good/1\ncut/1\n"


def test_equal_inputs_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_voc(tmp_path / name, DIVIDED if name == "a" else dict(reversed(DIVIDED.items())), placed)
    files = [path for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(files) == 8
    for path in files:
        assert (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes() == path.read_bytes()


def test_images_that_share_a_stem_are_renamed(tmp_path):
    boxes = {
        ref: (BoundingBox(ref[:1], place, 0, 5, 5),)
        for place, ref in enumerate(("a.png", "a.jpg", "a_png.jpg", "b\n.jpg"))
    }
    divided = {"train": [entry("a.png", boxes["a.png"]), entry("a_png.jpg", boxes["a_png.jpg"])]}
    divided["validation"] = [entry("a.jpg", boxes["a.jpg"]), entry("b\n.jpg", boxes["b\n.jpg"])]
    findings = write_voc(tmp_path, divided, placed)
    assert {(finding.code, finding.source_ref) for finding in findings} == {
        ("WARNING_RENAMED_FILE", "a.png"),
        ("WARNING_RENAMED_FILE", "b\n.jpg"),
    }
    names = {"a.jpg": "a.jpg", "a.png": "a-2.png", "a_png.jpg": "a_png.jpg", "b\n.jpg": "b_.jpg"}
    found = {image.source_ref: image for image in read(tmp_path, {}).images}
    for ref, name in names.items():
        assert (tmp_path / "JPEGImages" / name).read_text() == ref
        assert found[f"JPEGImages/{name}"].boxes[0].left == boxes[ref][0].left
        assert found[f"JPEGImages/{name}"].given_split == ("train" if "png" in ref else "validation")


def test_images_of_two_roots_that_share_a_path_are_all_written(tmp_path):
    refs = ("x/1.png", "x/2.png", "x/1-2.png")
    divided = {
        split: [entry(ref, (BoundingBox(split, place, 0, 5, 5),), digest=f"{split}{ref}") for ref in refs]
        for place, split in enumerate(("train", "test"))
    }
    findings = write_voc(tmp_path, divided, lambda one, path: path.write_text(one.sha256))
    assert [finding.code for finding in findings] == ["WARNING_RENAMED_FILE"] * 3
    found = {(tmp_path / image.source_ref).read_text(): image for image in read(tmp_path, {}).images}
    assert {digest: (image.given_split, image.boxes[0].label) for digest, image in found.items()} == {
        f"{split}{ref}": (split, split) for split in divided for ref in refs
    }
    assert "x/1\n" in (tmp_path / "ImageSets/Main/train.txt").read_text()


BOX = BoundingBox("a", 1, 1, 2, 2)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        pytest.param(entry("1.jpg", (BOX,), ["b"]), "image-level labels", id="label of no box"),
        pytest.param(entry("1.jpg", (BOX,), confidences=(0.5,)), "confidences of their image-level", id="confidence"),
        pytest.param(entry("1.jpg", (BoundingBox("a", 1, 1, 2, 2, 0.5),)), "confidences of their boxes", id="of a box"),
        pytest.param(entry("1.jpg", (BOX,), group="g"), "group", id="group"),
        pytest.param(entry("1.jpg", (BOX,), mask_ref="m.png"), "mask", id="mask"),
        pytest.param(entry("1.jpg", (BOX,), creation_date="2026-01-01T00:00:00"), "date", id="date"),
        pytest.param(entry("1.jpg", (BOX,), job_name="j"), "job", id="job"),
        pytest.param(entry("1.jpg", (BOX,), is_human=False), "no person", id="machine"),
        pytest.param(entry("1.jpg", (BoundingBox(" a", 1, 1, 2, 2),)), "spaces", id="spaces"),
        pytest.param(entry("1.jpg", None, ["b"]), "left out", id="boxes unknown"),
    ],
)
def test_what_the_format_cannot_hold_is_told(tmp_path, one, words):
    findings = write_voc(tmp_path, {"train": [one, entry("0.jpg", (BOX,))]}, placed)
    assert [finding.code for finding in findings] == ["WARNING_NOT_IN_FORMAT"]
    assert words in findings[0].message
    assert findings[0].message.startswith("1 images ")
    listed = (tmp_path / "ImageSets/Main/train.txt").read_text().split()
    assert listed == (["0"] if one.truth.boxes is None else ["1", "0"])


@given(
    boxes=st.lists(
        st.builds(
            BoundingBox,
            st.sampled_from(["dog", "<&>\"'", "a b", "ü"]),
            st.integers(0, 50),
            st.integers(0, 50),
            st.integers(1, 60),
            st.integers(1, 60),
        ),
        max_size=4,
    )
)
@settings(max_examples=50, deadline=None)
def test_any_boxes_survive(tmp_path_factory, boxes):
    root = tmp_path_factory.mktemp("round")
    write_voc(root, {"train": [entry("1.jpg", tuple(boxes))]}, placed)
    (image,) = read(root, {}).images
    assert image.boxes == tuple(StatedBox(b.label, b.left, b.top, b.width, b.height) for b in boxes)
