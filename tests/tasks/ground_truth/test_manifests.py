import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.errors import DataError
from tasks.ground_truth.manifests import CLASSIFICATION_TYPE, manifest_line, read_manifest, write_manifest

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
ENTRIES = st.builds(
    lambda ref, digest, side, labels, mask: ImageEntry(
        ref, digest, side, side + 1, Truth(tuple(sorted(labels))), mask_ref=mask, group=digest
    ),
    TEXTS,
    st.binary(min_size=32, max_size=32).map(bytes.hex),
    st.integers(1, 10**5),
    st.sets(TEXTS, min_size=1, max_size=3),
    st.just("") | TEXTS,
)
ENTRY = ImageEntry("good/001.png", "ab" * 32, 64, 48, Truth(("good",)), group="ab" * 32)


def ids_of(entries: list[ImageEntry]) -> dict[str, int]:
    return {label: i for i, label in enumerate(sorted({name for entry in entries for name in entry.truth.labels}))}


@settings(deadline=None)
@given(st.lists(ENTRIES, max_size=5))
@example([replace(ENTRY, source_ref="\u2028\x85\r\n", truth=Truth(("\u2029",)))])
def test_round_trip(entries: list[ImageEntry]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "train.manifest"
        write_manifest(path, entries, ids_of(entries), "keeneye/x")
        assert list(read_manifest(path)) == entries


def test_line_is_what_the_service_writes() -> None:
    line = json.loads(manifest_line(ENTRY, {"bent": 0, "good": 1}, "keeneye/parts"))
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


def test_mask_is_named_only_where_there_is_one() -> None:
    masked = replace(ENTRY, mask_ref="ground_truth/bent/001_mask.png")
    assert json.loads(manifest_line(masked, {"good": 0}, "j"))["keeneye-metadata"]["mask-ref"] == masked.mask_ref
    assert "mask-ref" not in manifest_line(ENTRY, {"good": 0}, "j")


def test_several_labels_have_an_attribute_each() -> None:
    line = json.loads(manifest_line(replace(ENTRY, truth=Truth(("a", "b"))), {"a": 0, "b": 1}, "j"))
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
        manifest_line(ENTRY, {}, "j")


def without(*keys: str) -> str:
    line: Any = json.loads(manifest_line(ENTRY, {"good": 0}, "j"))
    inner = line
    for key in keys[:-1]:
        inner = inner[key]
    del inner[keys[-1]]
    return json.dumps(line)


def changed(**known: Any) -> str:
    line = json.loads(manifest_line(ENTRY, {"good": 0}, "j"))
    line["keeneye-metadata"].update(known)
    return json.dumps(line)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty line"),
        pytest.param("not json", id="no JSON"),
        pytest.param(manifest_line(ENTRY, {"good": 0}, "j")[:-20], id="cut short"),
        pytest.param("{}", id="empty object"),
        pytest.param("[]", id="list"),
        pytest.param("null", id="null"),
        pytest.param("3", id="number"),
        pytest.param('"text"', id="text"),
        pytest.param(without("source-ref"), id="no reference"),
        pytest.param(without("keeneye-metadata"), id="metadata of another tool"),
        pytest.param(without("keeneye-metadata", "sha256"), id="no digest"),
        pytest.param(without("label-metadata", "class-name"), id="no class name"),
        pytest.param(manifest_line(ENTRY, {"good": 0}, "j").replace('"class-name":"good"', '"class-name":5'), id="5"),
        pytest.param(changed(width="wide"), id="width is text"),
        pytest.param(changed(group=None), id="group is null"),
    ],
)
def test_other_lines_are_named_with_file_and_number(tmp_path: Path, text: str) -> None:
    path = tmp_path / "train.manifest"
    path.write_text(f"{manifest_line(ENTRY, {'good': 0}, 'j')}\n{text}\n", encoding="utf-8")
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
