from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.dataset.entries import SPLITS, ImageEntry, read_index, write_index
from tasks.dataset.truth import Truth
from tasks.vision.boxes import BoundingBox

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
BOXES = st.builds(
    BoundingBox,
    label=st.just("crack"),
    left=st.integers(0, 99),
    top=st.integers(0, 99),
    width=st.integers(1, 99),
    height=st.integers(1, 99),
)
TRUTHS = st.builds(
    lambda labels, boxes: Truth(tuple(sorted({*labels, "crack"})), tuple(boxes)),
    st.sets(TEXTS, max_size=3),
    st.lists(BOXES, max_size=3),
)
ENTRIES = st.builds(
    ImageEntry,
    source_ref=TEXTS,
    sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
    width=st.integers(1, 10**6),
    height=st.integers(1, 10**6),
    truth=TRUTHS,
    mask_ref=st.just("") | TEXTS,
    given_split=st.sampled_from(("", *SPLITS)),
    group=TEXTS,
)
ODD = ImageEntry("a/\u2028\x85\r\n.png", "0" * 64, 1, 1, Truth(("ü",)))


@settings(deadline=None)
@given(st.lists(ENTRIES, max_size=5))
@example([])
@example([ODD])
def test_round_trip(entries: list[ImageEntry]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "images.jsonl"
        write_index(path, entries)
        assert list(read_index(path)) == entries
        assert path.read_bytes().count(b"\n") == len(entries)


def test_index_is_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "images.jsonl"
    write_index(path, [ODD, ODD])
    with path.open("ab") as stream:
        stream.write(b"no entry\n")
    rows = read_index(path)
    assert [next(rows), next(rows)] == [ODD, ODD]
    with pytest.raises(ValidationError):
        next(rows)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(('"given_split":""', '"given_split":"holdout"'), id="unknown split"),
        pytest.param(('"width":1', '"width":"wide"'), id="width is text"),
        pytest.param(('"labels":["ü"]', '"labels":["ü","a"]'), id="labels unsorted"),
    ],
)
def test_wrong_lines_are_refused(tmp_path: Path, change: tuple[str, str]) -> None:
    path = tmp_path / "images.jsonl"
    write_index(path, [ODD])
    text = path.read_text(encoding="utf-8")
    assert change[0] in text
    path.write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(ValidationError):
        list(read_index(path))
