"""The folder that a user names for output."""

from pathlib import Path

import pytest

from tasks.errors import RequestError
from tasks.export.folder import MARKER_NAME, publish, require_own_folder


def stage(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def out(tmp_path: Path) -> Path:
    require_own_folder(tmp_path / "a" / "out")
    return tmp_path / "a" / "out"


def test_files_are_moved_and_listed(out: Path, tmp_path: Path) -> None:
    assert publish(stage(tmp_path / "one", "b.txt", "deep/er/a.txt"), out) == ["b.txt", "deep/er/a.txt"]
    assert files_below(out) == ["b.txt", "deep/er/a.txt", MARKER_NAME]
    assert (out / "deep/er/a.txt").read_text() == "deep/er/a.txt"


def test_next_export_replaces_the_earlier_one_and_nothing_else(out: Path, tmp_path: Path) -> None:
    publish(stage(tmp_path / "one", "b.txt", "deep/er/a.txt"), out)
    require_own_folder(out)
    publish(stage(tmp_path / "two", "c.txt"), out)
    assert sorted(path.name for path in out.rglob("*")) == ["c.txt", MARKER_NAME]


@pytest.mark.parametrize("name", ["mine.txt", "notes/mine.txt", "deep/mine.txt"])
def test_files_of_others_are_neither_removed_nor_written_over(out: Path, tmp_path: Path, name: str) -> None:
    publish(stage(tmp_path / "one", "deep/a.txt"), out)
    stage(out, name)
    with pytest.raises(RequestError, match=f"holds files of others .{name}.; name"):
        require_own_folder(out)
    assert (out / name).read_text() == name


def test_export_that_was_cut_short_can_be_replaced(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(source: Path, target: Path) -> None:
        if source.name == "b.txt":
            raise KeyboardInterrupt
        source.rename(target)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("tasks.export.folder.shutil.move", stop)
        publish(stage(tmp_path / "one", "a.txt", "b.txt"), out)
    assert files_below(out) == ["a.txt", MARKER_NAME]
    require_own_folder(out)
    publish(stage(tmp_path / "two", "c.txt"), out)
    assert files_below(out) == ["c.txt", MARKER_NAME]


def test_marker_cannot_make_files_elsewhere_be_removed(out: Path, tmp_path: Path) -> None:
    outside = tmp_path / "a" / "outside.txt"
    outside.write_text("mine")
    (out / MARKER_NAME).write_text('{"files": ["../outside.txt", 7]}')
    require_own_folder(out)
    publish(stage(tmp_path / "one", "a.txt"), out)
    assert outside.read_text() == "mine"


@pytest.mark.parametrize("text", ["", "[]", '{"files": 7}', "no JSON"])
def test_damaged_marker_owns_nothing(out: Path, text: str) -> None:
    (out / MARKER_NAME).write_text(text)
    require_own_folder(out)
    stage(out, "one.txt")
    with pytest.raises(RequestError, match=r"one\.txt"):
        require_own_folder(out)


def test_place_that_cannot_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("1")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RequestError, match="cannot be written to"):
            require_own_folder(path)
