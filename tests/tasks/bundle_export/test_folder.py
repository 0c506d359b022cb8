"""Where an export goes: whole or not at all, over an earlier export only."""

import json

import pytest

from tasks.bundle_export.folder import publish, require_own_folder
from tasks.errors import RequestError


@pytest.fixture
def staged(tmp_path):
    folder = tmp_path / "staged"
    folder.mkdir()
    (folder / "model.json").write_text("new")
    (folder / "export.json").write_text(json.dumps({"files": ["export.json", "model.json"]}))
    return folder


def test_new_folder_and_again(staged, tmp_path):
    target = tmp_path / "a" / "b"
    require_own_folder(target)
    publish(staged, target)
    (staged / "model.json").write_text("newer")
    require_own_folder(target)
    publish(staged, target)
    assert sorted(path.name for path in target.parent.iterdir()) == ["b"]
    assert (target / "model.json").read_text() == "newer"
    assert sorted(path.name for path in target.iterdir()) == ["export.json", "model.json"]


def test_files_of_others_are_never_touched(staged, tmp_path):
    target = tmp_path / "out"
    publish(staged, target)
    (target / "notes.txt").write_text("mine")
    with pytest.raises(RequestError, match=r"files of others \(notes.txt\)"):
        require_own_folder(target)


@pytest.mark.parametrize(
    "report", ["", "[]", '{"files": 3}', '{"files": [1]}', "no json"], ids=["empty", "list", "number", "odd", "text"]
)
def test_odd_report_claims_nothing(tmp_path, report):
    (tmp_path / "export.json").write_text(report)
    with pytest.raises(RequestError, match="files of others"):
        require_own_folder(tmp_path)


def test_file_and_link_are_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link", "file/below"):
        with pytest.raises(RequestError, match="--output"):
            require_own_folder(tmp_path / name)
