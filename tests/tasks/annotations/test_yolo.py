"""What a YOLO data set says of its images: lines of boxes, names, and files that are broken."""

import contextlib
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.annotations.annotated import StatedBox
from tasks.annotations.references import ReferenceResolver
from tasks.annotations.yolo import read_yolo
from tasks.errors import DataError
from tests.tasks.annotations.yolo_folders import BOX, DATA, LINE, codes, lay, read


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
