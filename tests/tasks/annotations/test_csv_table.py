import csv
import io
import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.annotations.annotated import AnnotatedImage, StatedBox
from tasks.annotations.csv_table import is_table, read_csv, write_csv
from tasks.annotations.references import ReferenceResolver
from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.errors import DataError
from tasks.vision.masks import MaskClass

FILES = ("a.png", "b.png", "c.png", "sub/d.png", "m.png", "n.png")


def read(tmp_path, text, base="", group_column=""):
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_csv(path, ReferenceResolver(tmp_path, FILES), base=base, group_column=group_column)


def read_images(tmp_path, text, **options):
    reading = read(tmp_path, text, **options)
    assert reading.findings == ()
    return reading.images


def one_problem(reading, code="ERROR_INVALID_ANNOTATION"):
    (finding,) = reading.findings
    # A row that names an image is told of the image, else of the table.
    assert (finding.code, finding.source_ref if " of t.csv" not in finding.message else "t.csv") == (code, "t.csv")
    return finding.message


@pytest.mark.parametrize("image", ["image", "Filename", " FILE ", "path", "image_path", "source-ref", "source_ref"])
@pytest.mark.parametrize("label", ["label", "Class", "class_name", "category"])
def test_label_of_each_image(tmp_path, image, label):
    text = f"{label},{image}\ncat,a.png\ndog,sub/d.png\n"
    assert is_table(tmp_path / "t.csv") is False
    assert read_images(tmp_path, text) == (AnnotatedImage("a.png", ("cat",)), AnnotatedImage("sub/d.png", ("dog",)))
    assert is_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("image;label\na.png;cat, small\n", id="semicolon"),
        pytest.param("image\tlabel\r\na.png\tcat, small\r\n", id="tab and CRLF"),
        pytest.param('image,label\n"a.png", "cat, small" \n', id="quotes"),
        pytest.param('\ufeff"image","label"\na.png,"cat, small"', id="byte order mark, no last line break"),
        pytest.param('image,label\n\n , \na.png,"cat, small"\n,\n', id="rows without text"),
    ],
)
def test_dialects(tmp_path, text):
    text = text.replace(', "cat, small" ', ',"cat, small"')
    assert read_images(tmp_path, text) == (AnnotatedImage("a.png", ("cat, small",)),)


def test_rows_of_one_image_add_labels(tmp_path):
    text = "image,label,confidence\na.png,dog,0.5\nb.png,cat,\na.png,cat,1\na.png,dog,0.5\n"
    assert read_images(tmp_path, text) == (
        AnnotatedImage("a.png", ("cat", "dog"), confidences=(1.0, 0.5)),
        AnnotatedImage("b.png", ("cat",)),
    )


@pytest.mark.parametrize(
    ("heading", "cells"),
    [
        ("left,top,width,height", "1,2,30,40.5"),
        ("xmin,ymin,xmax,ymax", "1,2,31,42.5"),
        ("x,y,w,h", "1,2,30,40.5"),
        ("HEIGHT,Width,TOP,Left", "40.5,30,2,1"),
    ],
)
def test_box_forms(tmp_path, heading, cells):
    images = read_images(tmp_path, f"image,label,{heading},confidence\na.png,dog,{cells},0.25\na.png,cat,{cells},\n")
    boxes = (StatedBox("dog", 1, 2, 30, 40.5, confidence=0.25), StatedBox("cat", 1, 2, 30, 40.5))
    assert images == (AnnotatedImage("a.png", boxes=boxes),)


def test_width_and_height_beside_corners_are_the_images(tmp_path):
    text = "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,640,480,dog,-1,2,31,42\n"
    (image,) = read_images(tmp_path, text)
    assert (image.stated_width, image.stated_height) == (640, 480)
    assert image.boxes == (StatedBox("dog", -1, 2, 32, 40),)


def test_label_alone_and_nothing_at_all_in_a_table_of_boxes(tmp_path):
    text = (
        "image,label,x,y,w,h\na.png,good,,,,\nb.png,,,,,\nc.png,dog,1,2,3,4\nc.png,good,,,,\nm.png,ok,,,,\nm.png,,,,,\n"
    )
    assert read_images(tmp_path, text) == (
        AnnotatedImage("a.png", ("good",), boxes=None),
        AnnotatedImage("b.png", (), boxes=()),
        AnnotatedImage("c.png", ("good",), boxes=(StatedBox("dog", 1, 2, 3, 4),)),
        AnnotatedImage("m.png", ("ok",), boxes=()),
    )


def test_no_label_in_a_table_of_labels_says_that_none_fits(tmp_path):
    assert read_images(tmp_path, "image,label\na.png,\nb.png,x\nb.png,y\nc.png,\nc.png,x\n") == (
        AnnotatedImage("a.png", (), boxes=None, is_negative=True),
        AnnotatedImage("b.png", ("x", "y")),
        AnnotatedImage("c.png", ("x",)),
    )
    assert not any(image.is_negative for image in read_images(tmp_path, "image,split\na.png,train\n"))
    spoiled = read(tmp_path, "image,label,confidence\na.png,,\na.png,x,2\n")
    assert [image.is_negative for image in spoiled.images] == [False]


@pytest.mark.parametrize(
    ("cell", "labels"),
    [("x", ("x",)), ("y| x ", ("x", "y")), ("x;y", ("x", "y")), ("x|x||", ("x",)), ("|", ()), ("", ())],
)
@pytest.mark.parametrize("heading", ["labels", "Tags", "classes"])
def test_column_of_several_labels(tmp_path, heading, cell, labels):
    (image,) = read_images(tmp_path, f'image,{heading}\na.png,"{cell}"\n')
    assert (image.labels, image.is_negative) == (labels, not labels)


def test_column_of_one_label_is_not_divided(tmp_path):
    assert read_images(tmp_path, "image,label\na.png,x|y\n")[0].labels == ("x|y",)


def test_bad_label_among_several_spoils_the_row(tmp_path):
    reading = read(tmp_path, f"image,labels\na.png,x|{'y' * 300}\nb.png,x\n")
    assert [image.source_ref for image in reading.images] == ["b.png"]
    assert "has a label of 300 characters" in one_problem(reading, "ERROR_INVALID_LABEL_NAME")


def test_image_that_no_label_fits_comes_back(tmp_path):
    nothing = ImageEntry("a.png", "ab" * 32, 64, 48, Truth(()))
    masked = replace(nothing, source_ref="b.png", mask_ref="m.png")
    findings = write_csv(tmp_path / "t.csv", {"train": [nothing, masked]}, lambda entry: entry.source_ref)
    assert [finding.message for finding in findings if "nothing is known" in finding.message]
    (image,) = read_csv(tmp_path / "t.csv", ReferenceResolver(tmp_path, FILES), base="").images
    assert (image.source_ref, image.labels, image.boxes) == ("a.png", (), ())


def test_image_with_an_unusable_row_is_no_negative(tmp_path):
    reading = read(tmp_path, "image,label,x,y,w,h\na.png,,,,,\na.png,dog,1,2,0,4\n")
    assert reading.images == (AnnotatedImage("a.png", boxes=None),)
    one_problem(reading)


def test_split_and_group(tmp_path):
    text = "image,label,Subset,group\na.png,x,Train,g 1\nb.png,x,VAL,\nc.png,x,testing,g2\na.png,y,,\n"
    images = read_images(tmp_path, text)
    assert [image.given_split for image in images] == ["train", "validation", "test"]
    assert [image.group for image in images] == ["g 1", "", "g2"]


def test_named_group_column(tmp_path):
    text = "image,label,group,Patient\na.png,x,1,p7\n"
    reading = read(tmp_path, text, group_column="patient")
    assert reading.images[0].group == "p7"
    assert one_problem(reading, "WARNING_NOT_IN_FORMAT").startswith("columns group are not read")


def test_masks(tmp_path):
    images = read_images(tmp_path, "image,label,mask\na.png,scratch,m.png\nb.png,good,\n")
    assert images == (
        AnnotatedImage("a.png", ("scratch",), mask_ref="m.png", mask_classes=(MaskClass("scratch"),)),
        AnnotatedImage("b.png", ("good",)),
    )


def test_references_are_resolved_from_the_tables_folder(tmp_path):
    assert [image.source_ref for image in read_images(tmp_path, "image,label\nd.png,x\n", base="sub")] == ["sub/d.png"]


@pytest.mark.parametrize(
    ("row", "words", "code"),
    [
        pytest.param("b.png,dog,1,2,3", "5 cells where the heading has 8", "", id="too few cells"),
        pytest.param("b.png,dog,1,2,3,4,1,train,9", "9 cells where the heading has 8", "", id="too many cells"),
        pytest.param("b.png,dog,one,2,3,4,1,train", "'one' in place of a number", "", id="word"),
        pytest.param("b.png,dog,nan,2,3,4,1,train", "'nan' in place of a number", "", id="NaN"),
        pytest.param("b.png,dog,1,inf,3,4,1,train", "'inf' in place of a number", "", id="infinity"),
        pytest.param("b.png,dog,1,,3,4,1,train", "'' in place of a number", "", id="empty cell"),
        pytest.param("b.png,dog,1,2,-3,4,1,train", "-3 x 4 pixels", "", id="width below 0"),
        pytest.param("b.png,dog,1,2,3,0,1,train", "3 x 0 pixels", "", id="no height"),
        pytest.param("b.png,,1,2,3,4,1,train", "a box and no label", "", id="box without a label"),
        pytest.param("b.png,dog,,,,,1.5,train", "confidence of 1.5", "", id="confidence"),
        pytest.param("b.png,dog,,,,,1,holdout", "split 'holdout'", "", id="split"),
        pytest.param("b.png,d\0g,,,,,1,train", "cannot be printed", "ERROR_INVALID_LABEL_NAME", id="control character"),
        pytest.param(f"b.png,{'d' * 257},,,,,1,", "257 characters", "ERROR_INVALID_LABEL_NAME", id="long label"),
        pytest.param(",dog,,,,,1,train", "no path", "ERROR_INVALID_SOURCE_REF_FORMAT", id="no image"),
        pytest.param("/etc/passwd,dog,,,,,1,train", "leads out", "ERROR_OUTSIDE_SOURCE", id="outside"),
        pytest.param("../../x,dog,,,,,1,train", "leads out", "ERROR_OUTSIDE_SOURCE", id="up"),
        pytest.param("s3://b/a.png,dog,,,,,1,train", "data.rewrite", "ERROR_INVALID_SOURCE_REF_FORMAT", id="elsewhere"),
    ],
)
def test_bad_row_is_a_finding_and_the_rest_is_read(tmp_path, row, words, code):
    reading = read(tmp_path, f"image,label,x,y,w,h,confidence,split\na.png,cat,,,,,,\n{row}\nc.png,cow,,,,,,\n")
    assert [image.source_ref for image in reading.images] == ["a.png", "c.png"]
    message = one_problem(reading, code or "ERROR_INVALID_ANNOTATION")
    assert message.startswith("row 3")
    assert words in message


def test_row_that_is_not_utf8_is_a_finding(tmp_path):
    reading = read(tmp_path, b"image,label\na.png,cat\nb.png,K\xe4fer\nc.png,cow\n")
    assert [image.source_ref for image in reading.images] == ["a.png", "c.png"]
    assert one_problem(reading).startswith("row 3 is not UTF-8")


@pytest.mark.parametrize(
    ("heading", "rows", "words"),
    [
        ("split", ("train", "test"), "row 4 gives its image the split 'test', row 2 gives 'train'"),
        ("group", ("g1", "g2"), "the group 'g2', row 2 gives 'g1'"),
        ("mask", ("m.png", "n.png"), "the mask 'n.png', row 2 gives 'm.png'"),
        ("confidence", ("0.5", "0.25"), "the confidence '0.25', row 2 gives '0.5'"),
    ],
)
def test_first_of_contradictory_rows_wins(tmp_path, heading, rows, words):
    reading = read(tmp_path, f"image,label,{heading}\na.png,x,{rows[0]}\nb.png,x,\na.png,x,{rows[1]}\n")
    image = reading.images[0]
    values = (image.given_split, image.group, image.mask_ref, *map(str, image.confidences))
    assert rows[0] in values
    assert rows[1] not in values
    assert words in one_problem(reading)


def test_mask_of_two_classes_is_a_contradiction(tmp_path):
    reading = read(tmp_path, "image,label,mask\na.png,cut,m.png\na.png,hole,m.png\n")
    assert reading.images[0].mask_classes == (MaskClass("cut"),)
    assert "the mask's label 'hole'" in one_problem(reading)


def test_boxes_win_over_a_row_that_says_there_are_none(tmp_path):
    reading = read(tmp_path, "image,label,x,y,w,h\na.png,,,,,\na.png,dog,1,2,3,4\n")
    assert reading.images[0].boxes == (StatedBox("dog", 1, 2, 3, 4),)
    assert one_problem(reading).startswith("row 2 says that its image has no objects")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        pytest.param("b.png,dog,m.png,-640,480", "'-640' in place of a number of pixels", id="width below 0"),
        pytest.param("b.png,dog,m.png,640.5,480", "'640.5' in place of a number of pixels", id="half a pixel"),
        pytest.param("b.png,,m.png,640,480", "a mask and no label", id="mask without a label"),
    ],
)
def test_bad_mask_or_size_is_a_finding(tmp_path, row, words):
    reading = read(tmp_path, f"image,label,mask,width,height\na.png,x,,640,480\n{row}\n")
    assert reading.images == (AnnotatedImage("a.png", ("x",), stated_width=640, stated_height=480),)
    assert words in one_problem(reading)


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        pytest.param("", {}, "heading", id="empty file"),
        pytest.param("\n\n", {}, "heading", id="empty lines"),
        pytest.param("image,label\n", {}, "no rows", id="no rows"),
        pytest.param("image,label\n,\n", {}, "no rows", id="no rows with text"),
        pytest.param("picture,label\na.png,x\n", {}, "no column of images", id="no image column"),
        pytest.param("image,label,label\na.png,x,y\n", {}, "more than one column 'label'", id="label twice"),
        pytest.param("image,label,xmin,ymin,xmax\na.png,x,1,2,3\n", {}, "not all four of one form", id="three corners"),
        pytest.param("image,label,x,y,width,height\na.png,x,1,2,3,4\n", {}, "not all four of one form", id="mixed"),
        pytest.param("image,label\na.png,x\n", {"group_column": "site"}, "no column 'site'", id="no group column"),
        pytest.param("image,label\na.png,x\n".encode("utf-16"), {}, "save the table as CSV UTF-8", id="UTF-16"),
        pytest.param("image,label\na.png,x\n".encode("utf-16-le"), {}, "no column of images", id="UTF-16, no mark"),
        pytest.param(b"image,l\xe4bel\na.png,x\n", {}, "is not UTF-8", id="heading is no UTF-8"),
        pytest.param("image,label\ra.png,x\r", {}, "cannot be read", id="old line ends"),
        pytest.param("image" + "x" * 2_000_000, {}, "more than 1 MB", id="long heading"),
    ],
)
def test_table_that_cannot_be_used_is_refused(tmp_path, text, options, words):
    with pytest.raises(DataError) as caught:
        read(tmp_path, text, **options)
    assert words in caught.value.message
    assert str(tmp_path / "t.csv") in caught.value.message


def test_table_that_is_gone_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"gone\.csv cannot be read"):
        read_csv(tmp_path / "gone.csv", ReferenceResolver(tmp_path, FILES), base="")


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.csv", b"image\n", True),
        ("a.CSV", b"\xef\xbb\xbfid;Path\n", True),
        ("a.csv", "image,label\n".encode("utf-16"), True),
        ("a.csv", b"epoch,loss\n", False),
        ("a.csv", b"", False),
        ("a.csv", b"\xff\xfe", False),
        ("a.csv", b"\x89PNG\r\n\x1a\n", False),
        ("a.txt", b"image\n", False),
    ],
)
def test_table_is_told_by_its_heading(tmp_path, name, data, expected):
    (tmp_path / name).write_bytes(data)
    assert is_table(tmp_path / name) is expected


def test_no_file_is_no_table(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    assert not is_table(tmp_path / "folder.csv")
    assert not is_table(tmp_path / "gone.csv")


def test_columns_that_are_not_read_are_told(tmp_path):
    reading = read(tmp_path, ",image,lable,label\n0,a.png,x,y\n")
    assert reading.images == (AnnotatedImage("a.png", ("y",)),)
    assert one_problem(reading, "WARNING_NOT_IN_FORMAT").startswith("columns lable are not read")


@pytest.mark.parametrize(
    "long",
    [
        pytest.param("x" * 30_000_000, id="a line"),
        pytest.param('"' + ("x" * 9999 + "\n") * 300, id="a quotation that is not closed"),
        pytest.param(('"' + "x" * 97 + '\n",') * 10_400 + "x", id="a row of many lines"),
    ],
)
def test_endless_row_takes_no_memory(tmp_path, long):
    path = tmp_path / "t.csv"
    path.write_text(f"image,label\na.png,x\nb.png,{long}\nc.png,y\n")
    resolver = ReferenceResolver(tmp_path, FILES)
    tracemalloc.start()
    try:
        reading = read_csv(path, resolver, base="")
        # A million bytes of the smallest cells take fifty times as much.
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()
    assert reading.images[0].source_ref == "a.png"
    assert reading.findings[0].message.startswith("row 3 cannot be read")


def test_table_of_unusable_rows_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.annotations.csv_table.MAX_UNUSABLE_ROWS", 100)
    assert len(read(tmp_path, "image,label\n" + "x\n" * 100).findings) == 100
    with pytest.raises(DataError, match="more than 100 rows that cannot be used, the first: row 2 has 1 cells"):
        read(tmp_path, "image,label\n" + "x\n" * 101)


CELLS = st.one_of(
    st.sampled_from(
        ["a.png", "b.png", "dog", "", "1", "-1", "nan", "train", "../x", "m.png", "0.5", "1e400", "/etc/x"]
    ),
    st.text(max_size=8),
)


@given(rows=st.lists(st.lists(CELLS, min_size=9, max_size=9), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_row_is_part_of_an_image_or_a_finding(tmp_path, rows):
    stream = io.StringIO()
    writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
    writer.writerow(["image", "label", "x", "y", "w", "h", "split", "mask", "confidence"])
    rows = [[cell.encode("utf-8", "replace").decode() for cell in row] for row in rows]
    writer.writerows(rows)
    references = {row[0].strip() for row in rows if any(cell.strip() for cell in row)}
    if not references:
        with pytest.raises(DataError, match="no rows"):
            read(tmp_path, stream.getvalue())
        return
    reading = read(tmp_path, stream.getvalue())
    told = [f for f in reading.findings if "make them agree" not in f.message and "no objects" not in f.message]
    assert len(reading.images) + len(told) >= len(references)
    assert bool(reading.images) or bool(told)


@given(data=st.one_of(st.binary(max_size=80), st.text(max_size=80).map(lambda text: text.encode("utf-8", "replace"))))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_images_findings_or_one_sentence(tmp_path, data):
    for head in (b"", b"image,label\n", b"image;label;x;y;w;h\n"):
        try:
            reading = read(tmp_path, head + data)
        except DataError:
            continue
        assert reading.images or reading.findings
        is_table(tmp_path / "t.csv")


def test_rows_are_told_of_the_images_they_name(tmp_path):
    reading = read(tmp_path, "image,label,x,y,w,h\na.png,dog,1,2,0,4\nb.png,dog\nc.png,cow,1,2,3,4\n")
    assert [(finding.source_ref, finding.message.partition(" has ")[0]) for finding in reading.findings] == [
        ("a.png", "row 2 of t.csv"),
        ("t.csv", "row 3"),
    ]
