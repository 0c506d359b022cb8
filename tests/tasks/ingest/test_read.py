from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.ingest.checks import ImageLimits
from tasks.ingest.read import check_sources, hash_sources
from tasks.stores.content import ContentStore
from tests.makers import paint_mvtec, paint_shape, png_bytes
from tests.sources import list_source


def _ignore(done: int, total: int) -> None:
    pass


def digest_of_folder(root: Path) -> str:
    (hashed,) = hash_sources([root], [list_source(root)], _ignore)
    return hashed.digest


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
    (before,) = hash_sources([root], [listing], _ignore)
    (root / "train/good/000.png").unlink()
    (after,) = hash_sources([root], [listing], _ignore)
    assert after.digest != before.digest


LIMITS = ImageLimits(1, 1.0, 1.0)


@pytest.mark.parametrize(
    ("train", "test", "kept", "told"),
    [
        pytest.param([1, 2], [3], ["a/0.png", "a/1.png"], [], id="nothing in common"),
        pytest.param([1, 2], [2, 3], ["a/0.png"], ["a/1.png"], id="one in common"),
        pytest.param([1], [1], [], ["a/0.png"], id="all in common"),
    ],
)
def test_tested_images_are_not_trained_on(
    tmp_path: Path, train: list[int], test: list[int], kept: list[str], told: list[str]
) -> None:
    for folder, numbers in (("source/a", train), ("test/b", test)):
        (tmp_path / folder).mkdir(parents=True)
        for place, number in enumerate(numbers):
            (tmp_path / folder / f"{place}.png").write_bytes(png_bytes(paint_shape("round", 48, (number,))))
    (tmp_path / "source/a/bad.png").write_bytes(b"")
    roots = [tmp_path / "source", tmp_path / "test"]
    hashed = hash_sources(roots, [list_source(root) for root in roots], _ignore)
    left, tested = check_sources(ContentStore(tmp_path / "store"), hashed, LIMITS, _ignore)
    assert [item.source_ref for item in left.entries] == kept
    assert len(left.thumbnails) == len(kept)
    assert len(tested.entries) == len(test)
    assert [(item.code, item.source_ref) for item in left.findings] == [
        ("ERROR_EMPTY_FILE", "a/bad.png"),
        *(("WARNING_IMAGE_IN_TEST_SOURCE", ref) for ref in told),
    ]
