import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.annotations.dates import UNDATED
from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.errors import DataError
from tasks.ground_truth.lines import parse_line
from tasks.ground_truth.manifests import (
    CLASSIFICATION_TYPE,
    DETECTION_TYPE,
    manifest_line,
    read_manifest,
    write_manifest,
)
from tasks.vision.boxes import BoundingBox
from tasks.vision.masks import MaskClass

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
PROBABILITIES = st.floats(0, 1, allow_nan=False)
BOXES = st.builds(
    BoundingBox,
    TEXTS,
    st.integers(0, 10**5),
    st.integers(0, 10**5),
    st.integers(1, 10**5),
    st.integers(1, 10**5),
    PROBABILITIES,
)
TRUTHS_OF_BOXES = st.lists(BOXES, max_size=4).map(
    lambda boxes: Truth(tuple(sorted({box.label for box in boxes})), tuple(boxes))
)
TRUTHS_OF_LABELS = st.dictionaries(TEXTS, PROBABILITIES, max_size=3).map(
    lambda known: Truth(
        tuple(sorted(known)),
        None,
        tuple(known[label] for label in sorted(known)) if set(known.values()) != {1.0} else (),
    )
)
CLASSES = st.builds(MaskClass, TEXTS, st.sampled_from(["", "#23a436"]), st.integers(-1, 255))
DATES = st.datetimes().map(lambda date: date.isoformat(timespec="microseconds")).filter(lambda text: text != UNDATED)
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)


@st.composite
def entries(draw: st.DrawFn) -> ImageEntry:
    mask_ref = draw(st.just("") | TEXTS)
    return ImageEntry(
        source_ref=draw(TEXTS),
        sha256=draw(DIGESTS),
        width=draw(st.integers(1, 10**5)),
        height=draw(st.integers(1, 10**5)),
        truth=draw(TRUTHS_OF_BOXES | TRUTHS_OF_LABELS),
        mask_ref=mask_ref,
        group=draw(DIGESTS | TEXTS),
        mask_classes=draw(st.lists(CLASSES, max_size=2).map(tuple)) if mask_ref else (),
        mask_sha256=draw(DIGESTS) if mask_ref else "",
        creation_date=draw(st.just("") | DATES),
        job_name=draw(st.just("") | TEXTS),
        is_human=draw(st.booleans()),
    )


ENTRY = ImageEntry("good/001.png", "ab" * 32, 64, 48, Truth(("good",)), group="ab" * 32)
BOXED = replace(
    ENTRY,
    truth=Truth(("bone", "dog"), (BoundingBox("dog", 111, 134, 61, 128), BoundingBox("bone", 0, 1, 2, 3, 0.4))),
)


def ids_of(entries: list[ImageEntry]) -> dict[str, int]:
    return {label: i for i, label in enumerate(sorted({name for entry in entries for name in entry.truth.labels}))}


def line_of(entry: ImageEntry, **options: Any) -> str:
    return manifest_line(entry, ids_of([entry]), "j", entry.source_ref, **options)


@settings(deadline=None, max_examples=100)
@given(st.lists(entries(), max_size=5))
@example([replace(ENTRY, source_ref="\u2028\x85\r\n", truth=Truth(("\u2029",)))])
@example([replace(ENTRY, truth=Truth((), ()))])
@example([replace(ENTRY, job_name="keeneye/x")])
def test_round_trip(entries: list[ImageEntry]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "train.manifest"
        write_manifest(path, entries, ids_of(entries), "keeneye/x")
        assert list(read_manifest(path)) == entries


@settings(deadline=None, max_examples=100)
@given(entries())
def test_line_is_read_as_any_other_manifest_is(entry: ImageEntry) -> None:
    parsed = parse_line(line_of(entry).encode(), "open")
    if parsed.status == "invalid":
        # What open mode refuses: names with control characters, and boxes off their image.
        codes = {"ERROR_INVALID_SOURCE_REF_FORMAT", "ERROR_INVALID_LABEL_NAME", "ERROR_NO_VALID_ANNOTATIONS"}
        assert codes & {problem.code for problem in parsed.problems}
    else:
        assert (parsed.source_ref, parsed.given_group) == (entry.source_ref, entry.group)
        assert (parsed.job_name, parsed.is_human) == (entry.job_name or "j", entry.is_human)
        assert parsed.creation_date == entry.creation_date


def test_line_is_what_the_service_writes() -> None:
    line = json.loads(manifest_line(ENTRY, {"bent": 0, "good": 1}, "keeneye/parts", ENTRY.source_ref))
    assert line == {
        "source-ref": "good/001.png",
        "label": 1,
        "label-metadata": {
            "class-name": "good",
            "confidence": 1.0,
            "type": CLASSIFICATION_TYPE,
            "job-name": "keeneye/parts",
            "human-annotated": "yes",
            "creation-date": "1970-01-01T00:00:00.000000",
        },
        "keeneye-metadata": {"sha256": "ab" * 32, "width": 64, "height": 48, "group": "ab" * 32},
    }
    assert next(iter(line)) == "source-ref"


def test_no_label_is_what_the_service_writes() -> None:
    line = json.loads(line_of(replace(ENTRY, truth=Truth(()))))
    assert (line["label"], line["label-metadata"]["class-map"]) == ([], {})
    assert line["label-metadata"]["type"] == "groundtruth/image-classification-multilabel"
    parsed = parse_line(json.dumps(line).encode(), "open")
    assert (parsed.status, parsed.labels, parsed.boxes, parsed.segmentation) == ("valid", (), None, None)


def test_boxes_are_what_the_service_writes() -> None:
    # The reference, 1.5: image_size is an array of one object, ids need not be contiguous, the class map is the line's.
    dated = replace(BOXED, creation_date="2018-10-18T22:18:13.527256", job_name="labeling-job/dogs", is_human=False)
    line = json.loads(manifest_line(dated, {"bone": 5, "cat": 1, "dog": 0}, "keeneye/parts", "s3://b/k.jpg"))
    known = line.pop("keeneye-metadata")
    assert line == {
        "source-ref": "s3://b/k.jpg",
        "boxes": {
            "image_size": [{"width": 64, "height": 48, "depth": 3}],
            "annotations": [
                {"class_id": 0, "left": 111, "top": 134, "width": 61, "height": 128},
                {"class_id": 5, "left": 0, "top": 1, "width": 2, "height": 3},
            ],
        },
        "boxes-metadata": {
            "objects": [{"confidence": 1.0}, {"confidence": 0.4}],
            "class-map": {"0": "dog", "5": "bone"},
            "type": DETECTION_TYPE,
            "job-name": "labeling-job/dogs",
            "human-annotated": "no",
            "creation-date": "2018-10-18T22:18:13.527256",
        },
    }
    assert known == {
        "sha256": "ab" * 32,
        "width": 64,
        "height": 48,
        "group": "ab" * 32,
        "job-name": "labeling-job/dogs",
    }


def test_image_without_boxes_says_so() -> None:
    line = json.loads(line_of(replace(ENTRY, truth=Truth((), ()))))
    assert line["boxes"]["annotations"] == line["boxes-metadata"]["objects"] == []
    assert line["boxes-metadata"]["class-map"] == {}
    assert "label" not in line


@pytest.mark.parametrize("entry", [ENTRY, BOXED], ids=["labels", "boxes"])
def test_without_service_key_the_line_is_the_formats_own(entry: ImageEntry) -> None:
    full, plain = json.loads(line_of(entry)), json.loads(line_of(entry, with_service_key=False))
    del full["keeneye-metadata"]
    assert plain == full


@pytest.mark.parametrize("entry", [ENTRY, BOXED], ids=["labels", "boxes"])
def test_managed_service_accepts_the_line(entry: ImageEntry) -> None:
    fitting = replace(entry, width=640, height=480)
    text = manifest_line(fitting, ids_of([entry]), "j", "s3://bucket/a.png", with_service_key=False)
    parsed = parse_line(text.encode(), "aws")
    assert (parsed.status, parsed.problems) == ("valid", ())


def test_confidences_of_labels_are_kept(tmp_path: Path) -> None:
    unsure = replace(ENTRY, truth=Truth(("bent", "good"), None, (0.25, 1.0)))
    line = json.loads(line_of(unsure))
    assert (line["label-0-metadata"]["confidence"], line["label-1-metadata"]["confidence"]) == (0.25, 1.0)
    write_manifest(tmp_path / "m", [unsure], ids_of([unsure]), "j")
    assert list(read_manifest(tmp_path / "m")) == [unsure]


def test_mask_is_named_only_where_there_is_one() -> None:
    masked = replace(ENTRY, mask_ref="ground_truth/bent/001_mask.png")
    assert json.loads(line_of(masked))["keeneye-metadata"]["mask-ref"] == masked.mask_ref
    assert "mask-ref" not in line_of(ENTRY)


def test_several_labels_have_an_attribute_each() -> None:
    line = json.loads(line_of(replace(ENTRY, truth=Truth(("a", "b")))))
    assert (line["label-0"], line["label-1"]) == (0, 1)
    assert line["label-1-metadata"]["class-name"] == "b"


def test_bytes_are_utf8_with_plain_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "train.manifest"
    write_manifest(path, [replace(ENTRY, truth=Truth(("größe",)))] * 2, {"größe": 0}, "j")
    data = path.read_bytes()
    assert "größe".encode() in data
    assert data.count(b"\n") == 2
    assert data.endswith(b"}\n")
    assert b"\r" not in data


def test_label_without_index_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        manifest_line(ENTRY, {}, "j", ENTRY.source_ref)


def without(*keys: str) -> str:
    line: Any = json.loads(line_of(ENTRY))
    inner = line
    for key in keys[:-1]:
        inner = inner[key]
    del inner[keys[-1]]
    return json.dumps(line)


def boxes_without(key: str) -> str:
    line = json.loads(line_of(BOXED))
    line["boxes-metadata"][key] = type(line["boxes-metadata"][key])()
    return json.dumps(line)


def changed(**known: Any) -> str:
    line = json.loads(line_of(ENTRY))
    line["keeneye-metadata"].update(known)
    return json.dumps(line)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty line"),
        pytest.param("not json", id="no JSON"),
        pytest.param(line_of(ENTRY)[:-20], id="cut short"),
        pytest.param("{}", id="empty object"),
        pytest.param("[]", id="list"),
        pytest.param("null", id="null"),
        pytest.param("3", id="number"),
        pytest.param('"text"', id="text"),
        pytest.param(without("source-ref"), id="no reference"),
        pytest.param(without("keeneye-metadata"), id="metadata of another tool"),
        pytest.param(without("keeneye-metadata", "sha256"), id="no digest"),
        pytest.param(without("label-metadata", "class-name"), id="no class name"),
        pytest.param(line_of(ENTRY).replace('"class-name":"good"', '"class-name":5'), id="5"),
        pytest.param(changed(width="wide"), id="width is text"),
        pytest.param(changed(group=None), id="group is null"),
        pytest.param(without("label-metadata"), id="no metadata"),
        pytest.param(without("label-metadata", "creation-date"), id="no date"),
        pytest.param(boxes_without("class-map"), id="no class map"),
        pytest.param(boxes_without("objects"), id="no confidences"),
        pytest.param(line_of(BOXED).replace('"left":111', '"left":-1'), id="box off the image"),
    ],
)
def test_other_lines_are_named_with_file_and_number(tmp_path: Path, text: str) -> None:
    path = tmp_path / "train.manifest"
    path.write_text(f"{line_of(ENTRY)}\n{text}\n", encoding="utf-8")
    rows = read_manifest(path)
    assert next(rows) == ENTRY
    with pytest.raises(DataError, match="line 2") as caught:
        next(rows)
    assert str(path) in str(caught.value)


def test_bytes_that_are_no_text_are_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "train.manifest"
    path.write_bytes(b"\xff\xfe\x00\x01\n")
    with pytest.raises(DataError, match="line 1"):
        list(read_manifest(path))


def test_empty_manifest_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "validation.manifest"
    write_manifest(path, [], {}, "j")
    assert path.read_bytes() == b""
    assert list(read_manifest(path)) == []
