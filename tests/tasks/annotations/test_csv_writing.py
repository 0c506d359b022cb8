import pytest

from tasks.annotations.annotated import AnnotatedImage, StatedBox
from tasks.annotations.csv_table import read_csv, write_csv
from tasks.annotations.references import ReferenceResolver
from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.errors import RequestError
from tasks.vision.boxes import BoundingBox

FILES = ("a.png", "b.png", "c.png", "sub/d.png", "m.png", "n.png")


def entry(ref, labels=(), boxes=None, confidences=(), digest="0" * 64, **other):
    names = sorted({box.label for box in boxes or ()} | set(labels))
    return ImageEntry(ref, digest, 640, 480, Truth(tuple(names), boxes, confidences), **other)


DIVIDED = {
    "test": [entry("c.png", ("dog",), (BoundingBox("dog", 1, 2, 3, 4, 0.1),), (0.75,), group="0" * 64)],
    "train": [
        entry("a.png", ('cat, "small"', "wild"), group="g;1"),
        entry("b.png", ("cat",), (BoundingBox("dog", 0, 0, 640, 480), BoundingBox("cow", 5, 6, 7, 8))),
        entry("m.png", (), ()),
        entry("n.png", ("good",), (), (0.5,)),
    ],
}


def test_what_was_written_is_read_again(tmp_path):
    path = tmp_path / "new/t.csv"
    assert write_csv(path, DIVIDED, lambda one: one.source_ref) == []
    reading = read_csv(path, ReferenceResolver(tmp_path, FILES), base="")
    assert reading.findings == ()
    dog = StatedBox("dog", 1, 2, 3, 4, confidence=0.1)
    assert reading.images == (
        AnnotatedImage("a.png", ('cat, "small"', "wild"), None, "train", "g;1"),
        AnnotatedImage("b.png", ("cat",), (StatedBox("dog", 0, 0, 640, 480), StatedBox("cow", 5, 6, 7, 8)), "train"),
        AnnotatedImage("m.png", (), (), "train"),
        AnnotatedImage("n.png", ("good",), (), "train", confidences=(0.5,)),
        AnnotatedImage("c.png", ("dog",), (dog,), "test", confidences=(0.75,)),
    )


def test_written_table(tmp_path):
    write_csv(tmp_path / "t.csv", DIVIDED, lambda one: f"images/{one.source_ref}")
    assert (tmp_path / "t.csv").read_bytes().decode() == (
        "image,label,split,group,left,top,width,height,confidence\n"
        'images/a.png,"cat, ""small""",train,g;1,,,,,1.0\n'
        "images/a.png,wild,train,g;1,,,,,1.0\n"
        "images/b.png,dog,train,,0,0,640,480,1.0\n"
        "images/b.png,cow,train,,5,6,7,8,1.0\n"
        "images/b.png,cat,train,,,,,,1.0\n"
        "images/m.png,,train,,,,,,\n"
        "images/n.png,good,train,,,,,,0.5\n"
        "images/n.png,,train,,,,,,\n"
        "images/c.png,dog,test,,1,2,3,4,0.1\n"
        "images/c.png,dog,test,,,,,,0.75\n"
    )


@pytest.mark.parametrize(
    ("one", "words"),
    [
        pytest.param(entry("a.png", ("x",), mask_ref="m.png"), "mask", id="mask"),
        pytest.param(entry("a.png", ("x",), creation_date="2026-01-01T00:00:00"), "date", id="date"),
        pytest.param(entry("a.png", ("x",), job_name="j"), "labelling job", id="job"),
        pytest.param(entry("a.png", ("x",), is_human=False), "no person", id="machine"),
        pytest.param(entry("a.png", (" x",)), "spaces", id="spaces"),
        pytest.param(entry("a.png", mask_ref="m.png"), "left out", id="nothing known"),
    ],
)
def test_what_the_table_cannot_hold_is_told(tmp_path, one, words):
    findings = write_csv(tmp_path / "t.csv", {"train": [one, entry("b.png", ("x",))]}, lambda one: one.source_ref)
    assert [finding.code for finding in findings] == ["WARNING_NOT_IN_FORMAT"]
    assert words in findings[0].message
    assert (tmp_path / "t.csv").read_text().count("\n") == (2 if words == "left out" else 3)


def test_images_of_one_reference_are_refused(tmp_path):
    divided = {"train": [entry("a.png", ("x",), digest="1")], "test": [entry("a.png", ("x",), digest="2")]}
    with pytest.raises(RequestError, match=r"source and test source both have s3://b/a\.png, and a table") as refused:
        write_csv(tmp_path / "t.csv", divided, lambda one: f"s3://b/{one.source_ref}")
    assert "\n" not in refused.value.message
    assert not (tmp_path / "t.csv").exists()
    assert write_csv(tmp_path / "t.csv", divided, lambda one: f"{one.sha256}/{one.source_ref}") == []
