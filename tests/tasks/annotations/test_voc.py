import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.annotations.annotated import AnnotatedImage, StatedBox
from tasks.annotations.references import ReferenceResolver
from tasks.annotations.voc import find_voc, read_image_sets, read_voc
from tasks.errors import DataError
from tests.tasks.annotations.voc_folders import put, read

# As the development kit prints it for 2007_000027.
DEVKIT = """<annotation>
  <folder>VOC2012</folder>
  <filename>2007_000027.jpg</filename>
  <source><database>The VOC2007 Database</database><image>flickr</image></source>
  <size><width>486</width><height>500</height><depth>3</depth></size>
  <segmented>0</segmented>
  <object>
    <name>person</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>
    <bndbox><xmin>174</xmin><ymin>101</ymin><xmax>349</xmax><ymax>351</ymax></bndbox>
    <part><name>head</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></part>
  </object>
</annotation>"""


def thing(name="dog", corners=(1, 1, 10, 20), extra=""):
    names = ("xmin", "ymin", "xmax", "ymax")
    box = "".join(f"<{key}>{value}</{key}>" for key, value in zip(names, corners, strict=True))
    return f"<object><name>{name}</name>{extra}<bndbox>{box}</bndbox></object>"


def xml(*objects, filename="1.jpg", size=""):
    return f"<annotation><filename>{filename}</filename>{size}{''.join(objects)}</annotation>"


def read_one(root, text):
    return read(root, {"Annotations/1.xml": text, "JPEGImages/1.jpg": ""})


def codes(reading):
    return [(finding.code, finding.source_ref) for finding in reading.findings]


def test_file_of_the_development_kit_is_read(tmp_path):
    base = "VOCdevkit/VOC2012"
    files = {
        f"{base}/Annotations/2007_000027.xml": DEVKIT,
        f"{base}/JPEGImages/2007_000027.jpg": "",
        f"{base}/ImageSets/Main/train.txt": "2007_000027\n",
        f"{base}/ImageSets/Main/person_train.txt": "2007_000027 1\n",
    }
    reading = read(tmp_path, files)
    assert reading.images == (
        AnnotatedImage(
            source_ref=f"{base}/JPEGImages/2007_000027.jpg",
            boxes=(StatedBox("person", 173, 100, 176, 251),),
            given_split="train",
            stated_width=486,
            stated_height=500,
        ),
    )
    assert reading.findings == ()


def test_no_objects_are_a_true_negative(tmp_path):
    reading = read_one(tmp_path, xml())
    assert [image.boxes for image in reading.images] == [()]
    assert reading.findings == ()


@pytest.mark.parametrize(
    ("corners", "other", "box", "zero_based"),
    [
        pytest.param((1, 1, 10, 20), (5, 5, 9, 9), (0, 0, 10, 20), False, id="from 1"),
        pytest.param((5, 5, 5, 5), (5, 5, 9, 9), (4, 4, 1, 1), False, id="one pixel"),
        pytest.param((1, 1, 10, 20), (0, 5, 9, 9), (1, 1, 9, 19), True, id="xmin 0 in another file"),
        pytest.param((1, 1, 10, 20), (5, 0, 9, 9), (1, 1, 9, 19), True, id="ymin 0 in another file"),
        pytest.param((1, 1, 10, 20), (0.5, 5, 9, 9), (1, 1, 9, 19), True, id="before pixel 1"),
        pytest.param((1.5, 2, 10, 20), (5, 5, 9, 9), (0.5, 1, 9.5, 19), False, id="fractions"),
        pytest.param((-3, 1, 10, 20), (5, 5, 9, 9), (-4, 0, 14, 20), False, id="off the image"),
    ],
)
def test_one_convention_holds_for_the_whole_set(tmp_path, corners, other, box, zero_based):
    files = {
        "Annotations/1.xml": xml(thing("dog", corners)),
        "Annotations/2.xml": xml(thing("cat", other), filename="2.jpg"),
        "JPEGImages/1.jpg": "",
        "JPEGImages/2.jpg": "",
    }
    reading = read(tmp_path, files)
    assert reading.images[0].boxes == (StatedBox("dog", *box),)
    assert codes(reading) == ([("WARNING_ZERO_BASED_BOXES", "Annotations/2.xml")] if zero_based else [])


def test_flags_are_told_once_and_their_boxes_kept(tmp_path):
    objects = [
        thing(extra="<difficult>1</difficult>"),
        thing(extra="<truncated>1</truncated><difficult>1</difficult>"),
        thing(extra="<occluded>1</occluded>"),
        thing(extra="<pose>Left</pose>"),
        thing(extra="<pose>unspecified</pose><difficult>0</difficult>"),
    ]
    files = {"Annotations/1.xml": xml(*objects), "Annotations/2.xml": xml(*objects, filename="2.jpg")}
    reading = read(tmp_path, files | {"JPEGImages/1.jpg": "", "JPEGImages/2.jpg": ""})
    assert [len(image.boxes) for image in reading.images] == [5, 5]
    assert codes(reading) == [("WARNING_NOT_IN_FORMAT", "Annotations/1.xml")]
    assert reading.findings[0].message.startswith("8 objects of 2 files")


@pytest.mark.parametrize(
    ("element", "words"),
    [
        pytest.param("<object><name>dog</name></object>", "has no bndbox", id="no box"),
        pytest.param(thing(""), "has no name", id="no name"),
        pytest.param(thing("  "), "has no name", id="blank name"),
        pytest.param(thing("d\u0085g"), "cannot be printed", id="control character"),
        pytest.param(thing("d" * 257), "257 characters", id="long name"),
        pytest.param(thing(corners=("a", 1, 2, 3)), "'a' for xmin", id="word"),
        pytest.param(thing(corners=(1, "nan", 2, 3)), "'nan' for ymin", id="NaN"),
        pytest.param(thing(corners=(1, 1, "inf", 3)), "'inf' for xmax", id="infinity"),
        pytest.param(thing(corners=(1, 1, 2, "")), "'' for ymax", id="empty"),
        pytest.param(thing(corners=(5, 5, 4, 9)), "no box of a size (0 x 5 pixels)", id="no width"),
        pytest.param(thing(corners=(5, 5, 9, 2)), "no box of a size (5 x -2 pixels)", id="height below 0"),
        pytest.param(thing(corners=("-1e308", 1, "1e308", 3)), "no box of a size (inf", id="too wide for a number"),
    ],
)
def test_bad_object_is_a_finding_and_the_rest_is_read(tmp_path, element, words):
    reading = read_one(tmp_path, xml(thing("cat", (2, 2, 3, 3)), element, thing("cow", (4, 4, 5, 5))))
    assert [box.label for box in reading.images[0].boxes] == ["cat", "cow"]
    assert codes(reading) == [("ERROR_INVALID_ANNOTATION", "JPEGImages/1.jpg")]
    assert "Annotations/1.xml: object 2 " in reading.findings[0].message
    assert words in reading.findings[0].message


def test_empty_box_of_a_zero_based_set_is_a_finding(tmp_path):
    reading = read_one(tmp_path, xml(thing("cat", (0, 2, 3, 3)), thing("dog", (3, 3, 3, 9))))
    assert [box.label for box in reading.images[0].boxes] == ["cat"]
    assert "object 2 has no box of a size (0 x 6 pixels)" in reading.findings[0].message


def test_image_without_a_usable_object_is_no_negative(tmp_path):
    reading = read_one(tmp_path, xml(thing(corners=("a", 1, 2, 3))))
    assert reading.images == ()
    assert codes(reading)[1:] == [("ERROR_NO_VALID_ANNOTATIONS", "JPEGImages/1.jpg")]


BILLION_LAUGHS = (
    '<!DOCTYPE a [<!ENTITY l0 "ha">'
    + "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    + "]><annotation><filename>&l9;</filename></annotation>"
)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(BILLION_LAUGHS, "declares a document type or entities", id="billion laughs"),
        pytest.param(
            '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>',
            "declares a document type",
            id="external entity",
        ),
        pytest.param('<!DOCTYPE annotation SYSTEM "http://x/y.dtd"><annotation/>', "declares", id="external DTD"),
        pytest.param("<annotation>", "is no XML", id="not closed"),
        pytest.param("", "is no XML", id="empty"),
        pytest.param(b"\xff\xfe\x00", "is no XML", id="bytes"),
        pytest.param('<?xml version="1.0" encoding="none"?><annotation/>', "is no XML", id="unknown encoding"),
        pytest.param('<?xml version="1.0" encoding="utf-7"?><annotation/>', "is no XML", id="wide encoding"),
        pytest.param("<annotations/>", "begins with <annotations>", id="another format"),
        pytest.param("<annotation>" + " " * 5_000_000 + "</annotation>", "larger than 5 MB", id="large"),
        pytest.param("<annotation>" + "<a/>" * 100_000 + "</annotation>", "more than 100,000 elements", id="many"),
        pytest.param("<annotation>" + "<a>" * 100_001, "more than 100,000 elements", id="deep"),
    ],
)
def test_bad_file_is_a_finding_and_the_rest_is_read(tmp_path, data, words):
    files = {"Annotations/0.xml": data, "Annotations/1.xml": xml(), "JPEGImages/1.jpg": "", "JPEGImages/0.jpg": ""}
    reading = read(tmp_path, files)
    assert [image.source_ref for image in reading.images] == ["JPEGImages/1.jpg"]
    assert codes(reading) == [("ERROR_INVALID_ANNOTATION_FILE", "Annotations/0.xml")]
    assert words in reading.findings[0].message


def test_deep_file_is_read(tmp_path):
    reading = read_one(tmp_path, "<annotation>" + "<a>" * 90_000 + "</a>" * 90_000 + "</annotation>")
    assert [image.boxes for image in reading.images] == [()]


def test_missing_file_is_a_finding(tmp_path):
    reading = read_voc(["Annotations/1.xml"], tmp_path, ReferenceResolver(tmp_path, []))
    assert codes(reading) == [("ERROR_INVALID_ANNOTATION_FILE", "Annotations/1.xml")]


@pytest.mark.parametrize(
    ("xml_ref", "filename", "images", "expected"),
    [
        pytest.param("a/1.xml", "1.jpg", ["a/1.jpg", "1.jpg"], "a/1.jpg", id="beside"),
        pytest.param(
            "s/Annotations/1.xml", "x.jpg", ["s/JPEGImages/x.jpg", "x.jpg"], "s/JPEGImages/x.jpg", id="folder"
        ),
        pytest.param("annotations/1.xml", "1.jpg", ["images/1.jpg", "other/1.jpg"], "images/1.jpg", id="images"),
        pytest.param(
            "Annotations/a/1.xml",
            "1.jpg",
            ["JPEGImages/a/1.jpg", "JPEGImages/1.jpg"],
            "JPEGImages/a/1.jpg",
            id="mirror",
        ),
        pytest.param("Annotations/1.xml", "x.jpg", ["far/away/x.jpg"], "far/away/x.jpg", id="end of one path"),
        pytest.param("Annotations/1.xml", "1", ["JPEGImages/1.png"], "JPEGImages/1.png", id="no suffix"),
        pytest.param("Annotations/1.xml", "", ["JPEGImages/1.PNG"], "JPEGImages/1.PNG", id="no name"),
        pytest.param("Annotations/1.xml", "0.jpg", ["far/1.tif"], "far/1.tif", id="stem far away"),
        pytest.param(
            "Annotations/1.xml", "/home/me/1.jpg", ["JPEGImages/1.jpg"], "JPEGImages/1.jpg", id="path of home"
        ),
        pytest.param("Annotations/1.xml", "gone.jpg", ["x/1.jpg", "y/1.jpg"], "Annotations/gone.jpg", id="nowhere"),
    ],
)
def test_image_is_found(tmp_path, xml_ref, filename, images, expected):
    files = {xml_ref: xml(filename=filename)} | dict.fromkeys(images, "")
    reading = read(tmp_path, files)
    assert [image.source_ref for image in reading.images] == [expected]
    assert reading.findings == ()


@pytest.mark.parametrize(
    ("filename", "code"),
    [
        ("/etc/passwd", "ERROR_OUTSIDE_SOURCE"),
        ("../../x.jpg", "ERROR_OUTSIDE_SOURCE"),
        ("", "ERROR_INVALID_SOURCE_REF_FORMAT"),
        ("http://a/b.jpg", "ERROR_INVALID_SOURCE_REF_FORMAT"),
    ],
)
def test_image_outside_is_a_finding(tmp_path, filename, code):
    reading = read(tmp_path, {"Annotations/1.xml": xml(filename=filename)})
    assert reading.images == ()
    assert codes(reading) == [(code, "Annotations/1.xml")]


def test_files_of_the_format_are_found():
    files = [
        "Annotations/a.xml",
        "x/annotations/y/b.XML",
        "p/c.xml",
        "p/c.jpg",
        "p/d.xml",
        "q/c.xml",
        "Annotations/e.txt",
    ]
    assert find_voc(files) == ["Annotations/a.xml", "p/c.xml", "x/annotations/y/b.XML"]


def test_image_sets_are_read(tmp_path):
    sets = {
        "train": "\ufeffa\r\nb\n\n c \n",
        "val": "d\nb.jpg\n",
        "test": "e\nd\nsub/f",
        "trainval": "a\ng\ne\n",
        "cat_train": "z 1\n",
    }
    put(tmp_path, {f"V/ImageSets/Main/{name}.txt": text for name, text in sets.items()} | {"ImageSets/train.txt": "y"})
    files = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.txt")]
    assert read_image_sets(tmp_path, files) == {
        "a": "train", "b": "validation", "c": "train", "d": "test", "e": "test", "sub/f": "test", "g": "train",
    }  # fmt: skip


def test_image_set_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"train\.txt cannot be read"):
        read_image_sets(tmp_path, ["ImageSets/Main/train.txt"])


PIECES = st.sampled_from(
    ["<annotation>", "</annotation>", "<object>", "</object>", "<name>", "</name>", "dog", "<bndbox>", "</bndbox>",
     "<xmin>", "</xmin>", "1", "-1", "nan", "<filename>1.jpg</filename>", "<size>", "<!DOCTYPE x>", "&amp;", "&x;",
     thing(), thing(corners=(0, 0, 0, 0)), "<?xml version='1.0' encoding='latin-1'?>", "]]>", "<![CDATA[", "\0"]
)  # fmt: skip


@given(data=st.one_of(st.lists(PIECES, max_size=12).map("".join), st.binary(max_size=60), st.text(max_size=60)))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_is_an_image_or_a_finding(tmp_path_factory, data):
    root = tmp_path_factory.mktemp("fuzz")
    text = data if isinstance(data, bytes) else data.encode("utf-8", "replace")
    reading = read_one(root, text)
    shutil.rmtree(root)
    assert reading.images or reading.findings


def test_root_need_not_be_the_images_folder(tmp_path):
    put(tmp_path / "labels", {"Annotations/1.xml": xml(thing(), filename="1.jpg")})
    images = Path("/elsewhere/images")
    reading = read_voc(["Annotations/1.xml"], tmp_path / "labels", ReferenceResolver(images, ["photos/1.jpg"]))
    assert [image.source_ref for image in reading.images] == ["photos/1.jpg"]
