import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.dataset.entries import ImageEntry
from tasks.dataset.files import read_image_bytes
from tasks.dataset.truth import Truth
from tasks.errors import SourceChanged

DATA = b"the bytes that were checked"


def entry_for(source_ref: str) -> ImageEntry:
    return ImageEntry(source_ref, hashlib.sha256(DATA).hexdigest(), 4, 4, Truth(("a",)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "source" / "a").mkdir(parents=True)
    (tmp_path / "source" / "a" / "1.png").write_bytes(DATA)
    (tmp_path / "secret.png").write_bytes(DATA)
    return tmp_path / "source"


def test_unchanged_file_is_read(root: Path) -> None:
    assert read_image_bytes(root, entry_for("a/1.png")) == DATA


def test_root_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert read_image_bytes(tmp_path / "link", entry_for("a/1.png")) == DATA


def test_link_inside_the_root_is_followed(root: Path) -> None:
    (root / "a" / "2.png").symlink_to("1.png")
    assert read_image_bytes(root, entry_for("a/2.png")) == DATA


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_link(target: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(Path.unlink, id="removed"),
        pytest.param(lambda path: path.write_bytes(DATA + b"!"), id="longer"),
        pytest.param(lambda path: path.write_bytes(DATA[:-1]), id="shorter"),
        pytest.param(lambda path: path.write_bytes(DATA.upper()), id="other bytes of the same length"),
        pytest.param(lambda path: path.write_bytes(b""), id="emptied"),
        pytest.param(replace_by_folder, id="became a folder"),
        pytest.param(replace_by_link("../../secret.png"), id="became a link out of the root"),
        pytest.param(replace_by_link("1.png"), id="became a link to itself"),
    ],
)
def test_changed_file_is_refused(root: Path, change: Callable[[Path], object]) -> None:
    change(root / "a" / "1.png")
    with pytest.raises(SourceChanged, match=r"1\.png"):
        read_image_bytes(root, entry_for("a/1.png"))


@pytest.mark.parametrize("source_ref", ["../secret.png", "a/../../secret.png"])
def test_references_out_of_the_root_are_refused(root: Path, source_ref: str) -> None:
    with pytest.raises(SourceChanged, match="leads out"):
        read_image_bytes(root, entry_for(source_ref))


def test_absolute_reference_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceChanged, match="leads out"):
        read_image_bytes(root, entry_for(str(tmp_path / "secret.png")))


def test_missing_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceChanged, match="gone"):
        read_image_bytes(tmp_path / "nowhere", entry_for("a/1.png"))
