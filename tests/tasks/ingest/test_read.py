from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.dataset.entries import ImageEntry
from tasks.dataset.findings import Finding
from tasks.dataset.truth import Truth
from tasks.errors import DataError
from tasks.ingest.layouts import list_source
from tasks.ingest.read import CheckedSource, content_digest, require_enough_valid, without_test_images
from tests.makers import paint_mvtec


def digest_of_folder(root: Path) -> str:
    return content_digest(root, list_source(root))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return paint_mvtec(tmp_path / "source", images_per_defect=2, good_train=2, good_test=2).resolve()


def flip_last_byte(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def rename_label(path: Path) -> None:
    path.parent.rename(path.parent.with_name("renamed"))


CHANGES: dict[str, Callable[[Path], object]] = {
    "one bit of an image": lambda root: flip_last_byte(root / "train/good/000.png"),
    "one bit of a mask": lambda root: flip_last_byte(root / "ground_truth/ring/000_mask.png"),
    "name of an image": lambda root: (root / "train/good/000.png").rename(root / "train/good/100.png"),
    "label": lambda root: rename_label(root / "test/ring/000.png"),
    "split": lambda root: (root / "train/good/000.png").rename(root / "test/good/100.png"),
    "one image less": lambda root: (root / "train/good/000.png").unlink(),
    "one image more": lambda root: (root / "train/good/100.png").write_bytes(b"x"),
    "a file that is no image": lambda root: (root / "readme.txt").write_bytes(b"x"),
    "two images swapped": lambda root: [
        (root / "train/good/000.png").rename(root / "train/good/x"),
        (root / "train/good/001.png").rename(root / "train/good/000.png"),
        (root / "train/good/x").rename(root / "train/good/001.png"),
    ],
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_shows_in_the_digest(root: Path, name: str) -> None:
    before = digest_of_folder(root)
    assert digest_of_folder(root) == before
    CHANGES[name](root)
    assert digest_of_folder(root) != before


def test_digest_does_not_depend_on_place_or_date(root: Path, tmp_path: Path) -> None:
    before = digest_of_folder(root)
    moved = root.rename(tmp_path / "moved")
    for path in moved.rglob("*.png"):
        path.touch()
    assert digest_of_folder(moved) == before


def test_unreadable_file_has_a_digest_too(root: Path) -> None:
    listing = list_source(root)
    before = content_digest(root, listing)
    (root / "train/good/000.png").unlink()
    assert content_digest(root, listing) != before


def entry(source_ref: str, content: str) -> ImageEntry:
    return ImageEntry(source_ref, content, 48, 48, Truth((source_ref.split("/")[0],)), group=content)


FOUND = Finding(code="WARNING_DUPLICATE_IMAGE", source_ref="a/0", message="m")


@pytest.mark.parametrize(
    ("train", "test", "kept", "told"),
    [
        pytest.param(["x", "y"], ["z"], ["x", "y"], [], id="nothing in common"),
        pytest.param(["x", "y"], ["y", "z"], ["x"], ["a/1"], id="one in common"),
        pytest.param(["x"], ["x"], [], ["a/0"], id="all in common"),
        pytest.param([], ["x"], [], [], id="no training images"),
        pytest.param(["x"], [], ["x"], [], id="no test images"),
    ],
)
def test_tested_images_are_not_trained_on(train: list[str], test: list[str], kept: list[str], told: list[str]) -> None:
    source = CheckedSource(tuple(entry(f"a/{i}", content) for i, content in enumerate(train)), (FOUND,))
    tested = CheckedSource(tuple(entry(f"b/{i}", content) for i, content in enumerate(test)), ())
    left = without_test_images(source, tested)
    assert [item.sha256 for item in left.entries] == kept
    assert left.findings[0] == FOUND
    assert [(item.code, item.source_ref) for item in left.findings[1:]] == [
        ("WARNING_IMAGE_IN_TEST_SOURCE", ref) for ref in told
    ]


@pytest.mark.parametrize(
    ("listed", "invalid", "fraction", "stops"),
    [
        pytest.param(10, 2, 0.2, False, id="exactly the limit"),
        pytest.param(10, 3, 0.2, True, id="one more"),
        pytest.param(10, 0, 0.0, False, id="none allowed and none bad"),
        pytest.param(10, 1, 0.0, True, id="none allowed and one bad"),
        pytest.param(10, 10, 1.0, False, id="all allowed"),
        pytest.param(1_000_000, 200_000, 0.2, False, id="huge, at the limit"),
        pytest.param(1_000_000, 200_001, 0.2, True, id="huge, one more"),
        pytest.param(0, 0, 0.0, False, id="nothing listed"),
    ],
)
def test_too_many_bad_files_stop(listed: int, invalid: int, fraction: float, stops: bool) -> None:
    if not stops:
        assert require_enough_valid(listed, invalid, fraction, "/home/findings.jsonl") is None
        return
    with pytest.raises(DataError) as caught:
        require_enough_valid(listed, invalid, fraction, "/home/findings.jsonl")
    assert caught.value.findings_path == "/home/findings.jsonl"
    assert "/home/findings.jsonl" in str(caught.value)
    assert f"{invalid} of {listed}" in str(caught.value)
