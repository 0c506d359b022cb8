"""COCO files, written, and read again."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.annotations.coco import read_coco, write_coco
from tasks.annotations.references import ReferenceResolver
from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.vision.boxes import BoundingBox
from tasks.vision.masks import MaskClass
from tests.tasks.annotations.coco_documents import FILES

DIGEST = "0" * 64


def entry(ref, *boxes, labels=None, width=100, height=80, **more):
    truth = Truth(tuple(sorted({box.label for box in boxes})) if labels is None else labels, boxes)
    return ImageEntry(ref, DIGEST, width, height, more.pop("truth", truth), **more)


def test_written_file(tmp_path):
    entries = [
        entry("a.jpg", BoundingBox("dent", 1, 2, 30, 40, confidence=0.5), creation_date="2020-07-01T00:00:00"),
        entry("b.jpg"),
    ]
    path = tmp_path / "train.json"
    assert write_coco(path, entries, ["crack", "dent"], lambda entry: f"images/{entry.source_ref}") == []
    assert json.loads(path.read_bytes()) == {
        "info": {"description": "Object detection dataset"},
        "images": [
            {
                "id": 1,
                "file_name": "images/a.jpg",
                "width": 100,
                "height": 80,
                "date_captured": "2020-07-01T00:00:00",
            },
            {"id": 2, "file_name": "images/b.jpg", "width": 100, "height": 80},
        ],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 2,
                "bbox": [1, 2, 30, 40],
                "area": 1200,
                "iscrowd": 0,
                "score": 0.5,
            }
        ],
        "categories": [{"id": 1, "name": "crack"}, {"id": 2, "name": "dent"}],
    }


BOX = BoundingBox("crack", 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("lossy", "says"),
    [
        pytest.param(entry("a", BOX, labels=("crack", "good")), "image-level labels", id="label of no box"),
        pytest.param(entry("a", labels=("good",)), "image-level labels", id="label of a negative"),
        pytest.param(entry("a", truth=Truth(("crack",), (BOX,), (0.5,))), "confidences", id="confidence of a label"),
        pytest.param(entry("a", BoundingBox("rust", 1, 1, 1, 1)), "not among those written", id="label not written"),
        pytest.param(entry("a", truth=Truth(("good",))), "left out", id="nothing known of boxes"),
        pytest.param(entry("a", BOX, group="shift 1"), "group", id="group"),
        pytest.param(entry("a", BOX, job_name="job"), "job", id="job"),
        pytest.param(entry("a", BOX, is_human=False), "no person", id="by a machine"),
        pytest.param(entry("a", BOX, mask_ref="a.png", mask_classes=(MaskClass("crack"),)), "mask", id="mask"),
    ],
)
def test_what_coco_cannot_hold_is_told_once_with_a_number(tmp_path, lossy, says):
    whole = entry("b", BOX, group=DIGEST)
    (finding,) = write_coco(tmp_path / "x.json", [lossy, whole, lossy], ["crack"], lambda entry: entry.source_ref)
    assert (finding.code, finding.source_ref) == ("WARNING_NOT_IN_FORMAT", "x.json")
    assert finding.message.startswith("2 images")
    assert says in finding.message


def test_image_of_unknown_boxes_is_not_written_as_a_negative(tmp_path):
    write_coco(
        tmp_path / "x.json", [entry("a", truth=Truth(("good",))), entry("b")], [], lambda entry: entry.source_ref
    )
    written = json.loads((tmp_path / "x.json").read_bytes())
    assert [row["file_name"] for row in written["images"]] == ["b"]


BOXES = st.builds(
    BoundingBox,
    st.sampled_from(["crack", "dent", "ö 中"]),
    *[st.integers(0, 20_000)] * 2,
    *[st.integers(1, 20_000)] * 2,
    confidence=st.sampled_from([1.0, 0.5, 0.0]),
)


@settings(max_examples=50, deadline=None)
@given(truths=st.lists(st.lists(BOXES, max_size=4), min_size=1, max_size=3))
def test_round_trip(tmp_path_factory, truths):
    folder = tmp_path_factory.mktemp("coco")
    entries = [entry(ref, *boxes) for ref, boxes in zip(FILES, truths, strict=False)]
    for name in ("one.json", "two.json"):
        findings = write_coco(folder / name, entries, ["dent", "crack", "ö 中"], lambda entry: entry.source_ref)
        assert findings == []
    assert (folder / "one.json").read_bytes() == (folder / "two.json").read_bytes()
    reading = read_coco(folder / "one.json", ReferenceResolver(folder, FILES), base="")
    assert reading.findings == ()
    assert [picture.source_ref for picture in reading.images] == [written.source_ref for written in entries]
    ids = [row["id"] for row in json.loads((folder / "one.json").read_bytes())["annotations"]]
    assert ids == list(range(1, len(ids) + 1))
    assert [
        [BoundingBox(box.label, box.left, box.top, box.width, box.height, box.confidence) for box in picture.boxes]
        for picture in reading.images
    ] == truths
