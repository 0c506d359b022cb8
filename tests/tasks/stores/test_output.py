"""The output folder: others' files stay, earlier results give way, nothing is half there."""

import json
import os

import pytest

from tasks.errors import RequestError
from tasks.stores.output import UNFINISHED_FOLDER, OutputFolder, require_apart

MARKER_NAME = "keeneye-test.json"


def require_own_folder(path):
    OutputFolder(path, MARKER_NAME).require_own()


def write(root, *names, text="new"):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def written(path, *names, text="new"):
    output = OutputFolder(path, MARKER_NAME)
    with output.unfinished() as folder:
        write(folder, *names, text=text)
        return output.publish(folder)


def marker(path):
    return json.loads((path / MARKER_NAME).read_text())


def files_of(path):
    return {one.relative_to(path).as_posix() for one in path.rglob("*") if one.is_file()}


def test_files_take_the_place_of_earlier_ones(tmp_path):
    require_own_folder(tmp_path / "out")
    assert written(tmp_path / "out", "a.txt", "deep/er/1.jpg", text="old") == ["a.txt", "deep/er/1.jpg"]
    require_own_folder(tmp_path / "out")
    assert written(tmp_path / "out", "a.txt", "b.txt") == ["a.txt", "b.txt"]
    assert files_of(tmp_path / "out") == {"a.txt", "b.txt", MARKER_NAME}
    assert (tmp_path / "out" / "a.txt").read_text() == "new"
    assert not (tmp_path / "out" / "deep").exists()
    assert marker(tmp_path / "out") == {"status": "complete", "files": ["a.txt", "b.txt"]}


@pytest.mark.parametrize("name", ["mine.txt", "notes/mine.txt", "deep/mine.txt", ".hidden"])
def test_files_of_others_are_refused(tmp_path, name):
    written(tmp_path, "deep/a.txt")
    write(tmp_path, name)
    with pytest.raises(RequestError, match=f"holds files of others .{name}.; name"):
        require_own_folder(tmp_path)
    assert (tmp_path / name).read_text() == "new"


def test_marker_claims_nothing_outside(tmp_path):
    write(tmp_path, "victim.txt", text="precious")
    out = tmp_path / "out"
    out.mkdir()
    listed = ["../victim.txt", str(tmp_path / "victim.txt"), 7, "link.txt"]
    (out / "link.txt").symlink_to(tmp_path / "victim.txt")
    (out / MARKER_NAME).write_text(json.dumps({"files": listed}))
    with pytest.raises(RequestError, match=r"link\.txt"):
        require_own_folder(out)
    (out / "link.txt").unlink()
    require_own_folder(out)
    written(out, "a.txt")
    assert (tmp_path / "victim.txt").read_text() == "precious"


@pytest.mark.parametrize("text", ["", "[]", '{"files": 3}', "\0"])
def test_damaged_marker_claims_nothing(tmp_path, text):
    (tmp_path / MARKER_NAME).write_text(text)
    require_own_folder(tmp_path)
    write(tmp_path, "a.txt")
    with pytest.raises(RequestError):
        require_own_folder(tmp_path)


def test_run_cut_short_is_replaced_and_never_looks_complete(tmp_path):
    """In a child that dies between two renames, as after a kill."""
    written(tmp_path, "a.txt", "b.txt", "old.txt", text="old")
    child = os.fork()
    if child == 0:
        type(tmp_path).replace = lambda source, target: os._exit(0) if target.name == "b.txt" else source.rename(target)
        written(tmp_path, "a.txt", "b.txt", "c.txt")
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert (tmp_path / "a.txt").read_text() == "new"
    assert (tmp_path / "b.txt").read_text() == "old"
    assert marker(tmp_path)["status"] == "unfinished"
    assert (tmp_path / UNFINISHED_FOLDER).is_dir()
    write(tmp_path, f".{MARKER_NAME}.123.abc", text="half a mark")
    require_own_folder(tmp_path)
    written(tmp_path, "a.txt", "c.txt")
    assert files_of(tmp_path) == {"a.txt", "c.txt", MARKER_NAME}
    assert marker(tmp_path)["status"] == "complete"
    assert not (tmp_path / UNFINISHED_FOLDER).exists()


def test_exception_leaves_earlier_files_as_they_were(tmp_path):
    written(tmp_path, "a.txt", text="old")
    with pytest.raises(ZeroDivisionError), OutputFolder(tmp_path, MARKER_NAME).unfinished() as folder:
        write(folder, "a.txt")
        raise ZeroDivisionError
    assert files_of(tmp_path) == {"a.txt", MARKER_NAME}
    assert (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.parametrize(("output", "is_refused"), [("photos", True), ("photos/out", True), ("photos-out", False)])
def test_output_lies_apart_from_the_source(tmp_path, output, is_refused):
    (tmp_path / "photos").mkdir()
    if not is_refused:
        require_apart(tmp_path / output, ["", str(tmp_path / "photos")])
        return
    with pytest.raises(RequestError, match="where images are read"):
        require_apart(tmp_path / output, ["", str(tmp_path / "photos")])


@pytest.mark.parametrize("name", ["out", "out/below"])
def test_file_in_the_folders_place_is_refused(tmp_path, name):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(RequestError, match="cannot be written to"):
        require_own_folder(tmp_path / name)
