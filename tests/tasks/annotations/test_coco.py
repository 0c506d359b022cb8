"""COCO files, read: worked cases and broken files."""

import json
import math
import tracemalloc

import pytest

from tasks.annotations.annotated import AnnotatedImage, StatedBox
from tasks.annotations.coco import is_coco, read_coco
from tasks.annotations.references import ReferenceResolver
from tasks.errors import DataError
from tests.tasks.annotations.coco_documents import FILES, annotation, codes, document, image, read


def test_example_of_the_managed_service(tmp_path):
    # Custom Labels guide, "COCO format"; with the outlines, which are cut short there, made whole.
    example = {
        "info": {"description": "COCO 2017 Dataset", "year": 2017, "date_created": "2017/09/01"},
        "licenses": [{"url": "http://creativecommons.org/licenses/by/2.0/", "id": 4, "name": "Attribution License"}],
        "images": [
            {
                "id": 242287,
                "license": 4,
                "coco_url": "http://images.cocodataset.org/val2017/xxxxxxxxxxxx.jpg",
                "width": 426,
                "height": 640,
                "file_name": "xxxxxxxxx.jpg",
                "date_captured": "2013-11-15 02:41:42",
            },
            {
                "id": 245915,
                "width": 640,
                "height": 480,
                "file_name": "nnnnnnnnnn.jpg",
                "date_captured": "2013-11-18 02:53:27",
            },
        ],
        "annotations": [
            {
                "id": 125686,
                "category_id": 0,
                "iscrowd": 0,
                "segmentation": [[164.81, 417.51, 170.0, 400.5, 167.55, 410.64]],
                "image_id": 242287,
                "area": 42061.80340000001,
                "bbox": [19.23, 383.18, 314.5, 244.46],
            },
            {"id": 1409619, "category_id": 0, "iscrowd": 0, "image_id": 245915, "bbox": [399, 251, 155, 101]},
            {"id": 1410165, "category_id": 1, "iscrowd": 0, "image_id": 245915, "bbox": [86, 65, 220, 334]},
        ],
        "categories": [
            {"supercategory": "speaker", "id": 0, "name": "echo"},
            {"supercategory": "speaker", "id": 1, "name": "echo dot"},
        ],
    }
    reading = read(tmp_path, example, base="val", given_split="test")
    assert reading.images == (
        AnnotatedImage(
            "val/xxxxxxxxx.jpg",
            boxes=(StatedBox("echo", 19.23, 383.18, 314.5, 244.46),),
            given_split="test",
            stated_width=426,
            stated_height=640,
            creation_date="2013-11-15T02:41:42.000000",
        ),
        AnnotatedImage(
            "val/nnnnnnnnnn.jpg",
            boxes=(StatedBox("echo", 399, 251, 155, 101), StatedBox("echo dot", 86, 65, 220, 334)),
            given_split="test",
            stated_width=640,
            stated_height=480,
            creation_date="2013-11-18T02:53:27.000000",
        ),
    )
    (finding,) = reading.findings
    assert (finding.code, finding.source_ref) == ("WARNING_SEGMENTATION_AS_BOXES", "val/train.json")
    assert finding.message.startswith("1 annotations")


def test_image_without_annotations_is_a_negative(tmp_path):
    reading = read(tmp_path, document([annotation()]))
    assert [picture.boxes for picture in reading.images] == [(StatedBox("crack", 10, 20, 30, 40),), ()]
    assert not reading.findings


@pytest.mark.parametrize(
    ("changes", "box"),
    [
        pytest.param({"category_id": 90}, StatedBox("dent", 10, 20, 30, 40), id="gap in the ids"),
        pytest.param({"category_id": 90.0}, StatedBox("dent", 10, 20, 30, 40), id="id written as a float"),
        pytest.param({"bbox": [0.5, 0, 1.25, 2]}, StatedBox("crack", 0.5, 0, 1.25, 2), id="fractions"),
        pytest.param({"bbox": [-0.4, 0, 5, 5]}, StatedBox("crack", -0.4, 0, 5, 5), id="off the image, for the check"),
        pytest.param({"score": 0.25}, StatedBox("crack", 10, 20, 30, 40, confidence=0.25), id="score"),
        pytest.param({"score": None, "iscrowd": ...}, StatedBox("crack", 10, 20, 30, 40), id="no score, no iscrowd"),
        pytest.param(
            {"bbox": ..., "segmentation": [[1, 2, 5, 2, 5, 9], [0, 20, 1, 20, 1, 22.5]]},
            StatedBox("crack", 0, 2, 5, 20.5),
            id="polygons",
        ),
        pytest.param(
            {"bbox": None, "segmentation": {"size": [80, 100], "counts": [81, 2, 78, 3, 7836]}},
            StatedBox("crack", 1, 1, 2, 3),
            id="run lengths",
        ),
        pytest.param(
            {"bbox": [], "segmentation": {"size": [80, 100], "counts": "a22^21^b7"}},
            StatedBox("crack", 1, 1, 2, 3),
            id="compressed run lengths",
        ),
    ],
)
def test_annotation_to_box(tmp_path, changes, box):
    reading = read(tmp_path, document([annotation(**changes)]))
    assert reading.images[0].boxes == (box,)
    assert set(codes(reading)) <= {"WARNING_SEGMENTATION_AS_BOXES"}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"bbox": ...}, "ERROR_INVALID_SEGMENTATION", id="neither bbox nor outline"),
        pytest.param({"bbox": [10, 20, 0, 40]}, "ERROR_INVALID_BOUNDING_BOX", id="no width"),
        pytest.param({"bbox": [10, 20, 30, 0.0]}, "ERROR_INVALID_BOUNDING_BOX", id="no height"),
        pytest.param({"bbox": [10, 20, -30, 40]}, "ERROR_INVALID_BOUNDING_BOX", id="negative width"),
        pytest.param({"bbox": [math.nan, 20, 30, 40]}, "ERROR_INVALID_BOUNDING_BOX", id="NaN"),
        pytest.param({"bbox": [10, math.inf, 30, 40]}, "ERROR_INVALID_BOUNDING_BOX", id="infinity"),
        pytest.param({"bbox": [10, 20, 30, True]}, "ERROR_INVALID_BOUNDING_BOX", id="true"),
        pytest.param({"bbox": [10, 20, 30, "40"]}, "ERROR_INVALID_BOUNDING_BOX", id="text"),
        pytest.param({"bbox": [10, 20, 30, 10**40]}, "ERROR_INVALID_BOUNDING_BOX", id="huge"),
        pytest.param({"bbox": [10, 20, 30]}, "ERROR_INVALID_BOUNDING_BOX", id="three numbers"),
        pytest.param({"bbox": {"x": 1}}, "ERROR_INVALID_BOUNDING_BOX", id="an object"),
        pytest.param({"bbox": None, "segmentation": [[1, 2, 3, 4]]}, "ERROR_INVALID_SEGMENTATION", id="two points"),
        pytest.param(
            {"bbox": None, "segmentation": {"size": [80, 100], "counts": [1]}},
            "ERROR_INVALID_SEGMENTATION",
            id="short run lengths",
        ),
        pytest.param(
            {"bbox": None, "segmentation": {"size": [100, 80], "counts": [0, 8000]}},
            "ERROR_INVALID_SEGMENTATION",
            id="mask of another size",
        ),
        pytest.param({"category_id": 4}, "ERROR_MISSING_CLASS_MAP_ID", id="unknown category"),
        pytest.param({"category_id": ...}, "ERROR_MISSING_CLASS_MAP_ID", id="no category"),
        pytest.param({"category_id": [3]}, "ERROR_MISSING_CLASS_MAP_ID", id="list of categories"),
        pytest.param({"category_id": 3.5}, "ERROR_MISSING_CLASS_MAP_ID", id="half an id"),
        pytest.param({"score": 1.5}, "ERROR_INVALID_CONFIDENCE", id="score above 1"),
        pytest.param({"score": "high"}, "ERROR_INVALID_CONFIDENCE", id="score in words"),
        pytest.param({"iscrowd": "no"}, "ERROR_INVALID_ANNOTATION", id="iscrowd in words"),
        pytest.param({"iscrowd": 1}, "WARNING_CROWD_REGION", id="crowd"),
    ],
)
def test_annotation_without_box_is_a_finding_and_its_image_no_negative(tmp_path, changes, code):
    rows = [annotation(id=1, image_id=2), annotation(**changes)]
    reading = read(tmp_path, document(rows), base="sets")
    (finding,) = reading.findings
    assert (finding.code, finding.source_ref) == (code, "images/a.jpg")
    assert finding.message.startswith("annotation 2 (id 4711) of sets/train.json: ")
    assert [picture.boxes for picture in reading.images] == [None, (StatedBox("crack", 10, 20, 30, 40),)]


def test_good_boxes_stay_beside_a_bad_one(tmp_path):
    reading = read(tmp_path, document([annotation(), annotation(bbox=[1, 2, 0, 4])]))
    assert reading.images[0].boxes == (StatedBox("crack", 10, 20, 30, 40),)
    assert codes(reading) == ["ERROR_INVALID_BOUNDING_BOX"]


@pytest.mark.parametrize(
    ("row", "code", "shown"),
    [
        pytest.param(annotation(image_id=9), "ERROR_UNKNOWN_IMAGE_ID", "annotation 1 (id 4711) of", id="unknown image"),
        pytest.param(annotation(image_id=True), "ERROR_UNKNOWN_IMAGE_ID", "annotation 1 (id 4711) of", id="true as id"),
        pytest.param(
            annotation(image_id=None, id="x"), "ERROR_UNKNOWN_IMAGE_ID", "annotation 1 (id 'x') of", id="none"
        ),
        pytest.param(annotation(image_id=math.nan, id=...), "ERROR_UNKNOWN_IMAGE_ID", "annotation 1 of", id="NaN"),
        pytest.param([1, 2], "ERROR_INVALID_ANNOTATION", "annotation 1 of", id="a list"),
        pytest.param(None, "ERROR_INVALID_ANNOTATION", "annotation 1 of", id="null"),
    ],
)
def test_annotation_of_no_image(tmp_path, row, code, shown):
    reading = read(tmp_path, document([row]))
    (finding,) = reading.findings
    assert (finding.code, finding.source_ref) == (code, "train.json")
    assert finding.message.startswith(shown)
    assert [picture.boxes for picture in reading.images] == [(), ()]


@pytest.mark.parametrize(
    ("row", "code"),
    [
        pytest.param({"id": 2}, "ERROR_MISSING_SOURCE_REF", id="no file_name"),
        pytest.param(image(2, 7), "ERROR_MISSING_SOURCE_REF", id="number as file_name"),
        pytest.param(image(2, ""), "ERROR_INVALID_SOURCE_REF_FORMAT", id="empty file_name"),
        pytest.param(image(2, "../../etc/passwd"), "ERROR_OUTSIDE_SOURCE", id="outside"),
        pytest.param(image(2, "/etc/passwd"), "ERROR_OUTSIDE_SOURCE", id="absolute, outside"),
        pytest.param(image(2, "http://x/y.jpg"), "ERROR_INVALID_SOURCE_REF_FORMAT", id="elsewhere"),
        pytest.param(image(None, "images/b.jpg"), "ERROR_INVALID_IMAGE_ID", id="no id"),
        pytest.param(image(2, "images/b.jpg", width="100"), "ERROR_INVALID_IMAGE_DIMENSION", id="text as width"),
        pytest.param(image(2, "images/b.jpg", height=-1), "ERROR_INVALID_IMAGE_DIMENSION", id="negative height"),
        pytest.param(image(2, "images/b.jpg", height=1.5), "ERROR_INVALID_IMAGE_DIMENSION", id="half a pixel"),
        pytest.param("images/b.jpg", "ERROR_INVALID_ANNOTATION", id="text instead of an object"),
    ],
)
def test_unusable_image_is_a_finding_and_so_are_its_annotations(tmp_path, row, code):
    reading = read(tmp_path, document([annotation(image_id=2)], images=[image(1, "images/a.jpg"), row]))
    assert codes(reading) == [code, "ERROR_UNKNOWN_IMAGE_ID"]
    assert reading.findings[0].message.startswith("image 2")
    assert [picture.source_ref for picture in reading.images] == ["images/a.jpg"]


def test_images_that_share_an_id_are_left_out(tmp_path):
    images = [image(1, "images/a.jpg"), image(1, "images/b.jpg"), image(2, "images/c.png")]
    reading = read(tmp_path, document([annotation()], images=images))
    assert [picture.source_ref for picture in reading.images] == ["images/c.png"]
    assert codes(reading) == ["ERROR_DUPLICATE_IMAGE_ID"] * 2 + ["ERROR_UNKNOWN_IMAGE_ID"]
    assert [finding.source_ref for finding in reading.findings[:2]] == ["images/a.jpg", "images/b.jpg"]


@pytest.mark.parametrize("second_id", [1, 2])
def test_image_listed_twice_has_the_boxes_of_both(tmp_path, second_id):
    images = [image(1, "images/a.jpg"), image(second_id, "./images/a.jpg")]
    reading = read(tmp_path, document([annotation(), annotation(image_id=second_id, category_id=90)], images=images))
    (picture,) = reading.images
    assert [box.label for box in picture.boxes] == ["crack", "dent"]
    assert codes(reading) == ["WARNING_DUPLICATE_IMAGE"]


@pytest.mark.parametrize(
    ("categories", "wrong"),
    [
        pytest.param([{"id": 3}], 1, id="no name"),
        pytest.param([{"id": 3, "name": "  "}], 1, id="blank name"),
        pytest.param([{"id": 3, "name": 5}], 1, id="number as name"),
        pytest.param([{"id": 3, "name": "x" * 257}], 1, id="long name"),
        pytest.param([{"id": 3, "name": "a\nb"}], 1, id="name of two lines"),
        pytest.param([{"name": "crack"}], 1, id="no id"),
        pytest.param(["crack"], 1, id="text instead of an object"),
        pytest.param([{"id": 3, "name": "crack"}, {"id": 3, "name": "dent"}], 1, id="two names, one id"),
    ],
)
def test_unusable_category_is_a_finding_and_so_are_its_annotations(tmp_path, categories, wrong):
    reading = read(tmp_path, document([annotation()], categories=categories))
    assert len(reading.findings) == wrong + 1
    assert codes(reading)[-1] == "ERROR_MISSING_CLASS_MAP_ID"
    assert reading.images[0].boxes is None


def test_two_ids_may_have_one_name(tmp_path):
    categories = [{"id": 3, "name": "crack"}, {"id": 4, "name": "crack"}, {"id": 4, "name": "crack"}]
    reading = read(tmp_path, document([annotation(), annotation(category_id=4)], categories=categories))
    assert [box.label for box in reading.images[0].boxes] == ["crack", "crack"]
    assert not reading.findings


@pytest.mark.parametrize(
    ("stated", "date"),
    [
        pytest.param("2013-11-14 17:02:52", "2013-11-14T17:02:52.000000", id="as COCO writes it"),
        pytest.param("2013-11-14T17:02:52.75+02:00", "2013-11-14T15:02:52.750000", id="with offset and fraction"),
        pytest.param("2020/07/01", "2020-07-01T00:00:00.000000", id="a day"),
        pytest.param("2013", "", id="a year"),
        pytest.param("Tuesday", "", id="a weekday"),
        pytest.param("17:02", "", id="a time"),
        pytest.param("0001-01-01T00:00:00+14:00", "", id="before the first year"),
        pytest.param("soon", "", id="no date"),
        pytest.param("1" * 65, "", id="long"),
        pytest.param(1384448572, "", id="a number"),
        pytest.param("", "", id="empty"),
    ],
)
def test_dates(tmp_path, stated, date):
    reading = read(tmp_path, document(images=[image(1, "images/a.jpg", date_captured=stated)]))
    assert [picture.creation_date for picture in reading.images] == [date]
    assert not reading.findings


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"", "no JSON", id="empty"),
        pytest.param(b"{", "no JSON", id="cut"),
        pytest.param(b"\xff\xfe\x00", "no JSON", id="no text"),
        pytest.param(b"[" * 100_000, "no JSON", id="deep"),
        pytest.param(b'{"a":NaN,"b":' + b"[" * 100_000, "no JSON", id="deep, after NaN"),
        pytest.param(b'{"a":' + b"1" * 5000 + b"}", "no JSON", id="endless number"),
        pytest.param([], "no list images", id="a list"),
        pytest.param({"images": [], "annotations": []}, "no list categories", id="a list is missing"),
        pytest.param({"images": {}, "annotations": 1, "categories": []}, "images and no list annotations", id="types"),
    ],
)
def test_no_coco_file_is_one_sentence(tmp_path, content, says):
    with pytest.raises(DataError, match=says) as caught:
        read(tmp_path, content)
    assert caught.value.message.startswith("train.json ")
    assert len(caught.value.message) < 400


def test_missing_and_too_large_files_are_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="cannot be read"):
        read_coco(tmp_path / "x.json", ReferenceResolver(tmp_path, FILES), base="")
    monkeypatch.setattr("tasks.annotations.coco.MAX_FILE_MEGABYTES", 0)
    with pytest.raises(DataError, match="larger than 0 MB"):
        read(tmp_path, document())


def test_byte_order_mark_and_nan_are_read(tmp_path):
    content = b"\xef\xbb\xbf" + json.dumps(document([annotation(score=math.nan)])).encode()
    assert codes(read(tmp_path, content)) == ["ERROR_INVALID_CONFIDENCE"]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        pytest.param("a.json", json.dumps(document()), True, id="COCO"),
        pytest.param("a.JSON", "\ufeff\n  " + json.dumps(document()), True, id="mark, blanks, upper case"),
        pytest.param("a.json", json.dumps(document(info="x" * 3_000_000)), True, id="large"),
        pytest.param("a.json", '{"images": [], "annotations": []}', False, id="no categories"),
        pytest.param("a.json", json.dumps([document()]), False, id="a list"),
        pytest.param("a.txt", json.dumps(document()), False, id="another suffix"),
        pytest.param("a.json", "", False, id="empty"),
    ],
)
def test_is_coco(tmp_path, name, content, expected):
    (tmp_path / name).write_text(content)
    assert is_coco(tmp_path / name) is expected


@pytest.mark.parametrize("shift", range(0, 16, 3))
def test_is_coco_sees_a_key_across_the_seam_of_two_reads(tmp_path, shift):
    text = '{"images":[],"annotations":[],"info":"'
    text += "x" * ((1 << 20) - shift - len(text) - 2) + '","categories":[]}'
    (tmp_path / "a.json").write_text(text)
    assert is_coco(tmp_path / "a.json")


def test_is_coco_looks_in_bounded_memory_and_at_files_only(tmp_path):
    with (tmp_path / "a.json").open("wb") as stream:
        stream.write(b'{"images":[],"annotations":[],"x":"')
        stream.truncate(60_000_000)
    tracemalloc.start()
    assert not is_coco(tmp_path / "a.json")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6_000_000
    (tmp_path / "folder.json").mkdir()
    assert not is_coco(tmp_path / "folder.json")
    assert not is_coco(tmp_path / "missing.json")


def test_refused_images_are_told_of_each(tmp_path):
    reading = read(tmp_path, document(images=[image(1, "s3://b/1.jpg"), image(2, "s3://b/2.jpg")]))
    assert [finding.source_ref for finding in reading.findings] == ["s3://b/1.jpg", "s3://b/2.jpg"]


def test_files_of_one_name_are_those_of_the_subset_that_the_annotation_file_names(tmp_path):
    for subset in ("train2017", "val2017"):
        path = tmp_path / "annotations" / f"instances_{subset}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(document(images=[image(1, "000001.jpg")])), encoding="utf-8")
        resolver = ReferenceResolver(tmp_path, ["train2017/000001.jpg", "val2017/000001.jpg"])
        assert read_coco(path, resolver, base="annotations").images[0].source_ref == f"{subset}/000001.jpg"
