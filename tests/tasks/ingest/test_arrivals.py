"""Images on their way into a folder: waited for until they are whole, handled once, remembered."""

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.annotations.references import ReferenceResolver
from tasks.errors import EnvironmentFailed, RequestError
from tasks.ground_truth.stream import read_lines
from tasks.ingest.arrivals import KEPT_DAYS, ArrivalLog, Patience, Settling, Stamp, read_stamps

PATIENCE = Patience(quiet_seconds=5.0, max_wait_seconds=20.0, min_images=1)
DEPLOYMENT = "predict/predictions"


def stamp(size):
    return Stamp(size, 1)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def looks(patience, seen):
    """Return what is settled at each look of `seen`: seconds, and files by name and size, such as `a1 b20`."""
    clock = Clock()
    settling = Settling(patience, clock)
    settled = []
    for seconds, files in seen:
        clock.now = seconds
        settled.append(" ".join(sorted(settling.settled({name[0]: stamp(int(name[1:])) for name in files.split()}))))
    return settled


@pytest.mark.parametrize(
    ("patience", "seen", "settled"),
    [
        pytest.param(PATIENCE, [(0, "a1"), (4.9, "a1"), (5, "a1")], ["", "", "a"], id="steady"),
        pytest.param(PATIENCE, [(0, "a1"), (4, "a2"), (8, "a2"), (9, "a2")], ["", "", "", "a"], id="grows"),
        pytest.param(PATIENCE, [(0, "a1"), (5, "a1 b1"), (10, "a1 b1")], ["", "", "a b"], id="waits for the other"),
        pytest.param(
            PATIENCE, [(0, "a1"), (5, "a1 b1"), (24, "a1 b2"), (25, "a1 b3")], ["", "", "", "a"], id="not for ever"
        ),
        pytest.param(PATIENCE, [(0, "a1"), (3, ""), (6, "a1"), (11, "a1")], ["", "", "", "a"], id="came and went"),
        pytest.param(Patience(0, 0, 2), [(0, "a1"), (9, "a1"), (10, "a1 b1")], ["", "", "a b"], id="too few"),
        pytest.param(Patience(0, 0, 1), [(0, "a1"), (0, "a2")], ["a", "a"], id="at once"),
    ],
)
def test_files_are_waited_for_until_they_are_whole(patience, seen, settled):
    assert looks(patience, seen) == settled


@settings(max_examples=50, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(1, 3)), max_size=12), st.integers(0, 4))
def test_nothing_settles_before_it_was_quiet(seen, quiet):
    """Looks a second apart: what settles had the same size at this look and all those of the quiet time before."""
    every = [(second, " ".join(f"{name}{size}" for name, size in files.items())) for second, files in enumerate(seen)]
    for second, settled in enumerate(looks(Patience(quiet, 0, 1), every)):
        for name in settled.split():
            assert second >= quiet
            assert {files.get(name) for files in seen[second - quiet : second + 1]} == {seen[second][name]}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "inbox"
    (folder / "line 1").mkdir(parents=True)
    for name in ("a.png", "line 1/b.JPG", "notes.txt", ".hidden.png", "c.png.part"):
        (folder / name).write_bytes(b"1")
    (folder / "out.png").symlink_to("/etc/hostname")
    return folder


def test_images_are_seen_however_deep_and_odd_files_are_named(folder):
    (folder / os.fsdecode(b"\xff.png")).write_bytes(b"1")
    stamps, findings = read_stamps(folder)
    assert sorted(stamps) == ["a.png", "line 1/b.JPG"]
    assert stamps["a.png"].size_bytes == 1
    assert {finding.code for finding in findings} == {"ERROR_INVALID_FILE_NAME", "ERROR_OUTSIDE_SOURCE"}
    assert read_stamps(folder / "none")[0] == {}


def opened(tmp_path, folder):
    return ArrivalLog(tmp_path / "home", folder, DEPLOYMENT)


def test_what_was_sent_is_not_new_after_a_restart(tmp_path, folder):
    stamps, _ = read_stamps(folder)
    log = opened(tmp_path, folder)
    with log.held():
        batch = log.begin(log.new(stamps))
        assert log.pending == batch
        log.end(batch)
    again = opened(tmp_path, folder)
    with again.held():
        assert again.pending is None
        assert again.new(stamps) == {}
        (folder / "a.png").write_bytes(b"12")
        assert sorted(again.new(read_stamps(folder)[0])) == ["a.png"]
    other = ArrivalLog(tmp_path / "home", folder, "train/classification")
    with other.held():
        assert other.new(stamps) == stamps


def test_what_was_begun_is_pending_after_a_kill(tmp_path, folder):
    log = opened(tmp_path, folder)
    with log.held():
        batch = log.begin(read_stamps(folder)[0])
    again = opened(tmp_path, folder)
    with again.held():
        assert again.pending == batch


def test_manifest_names_the_images_of_the_batch(tmp_path, folder):
    (folder / "später 100%.png").write_bytes(b"1")
    stamps, _ = read_stamps(folder)
    log = opened(tmp_path, folder)
    with log.held():
        batch = log.begin(stamps)
    resolver = ReferenceResolver(folder, stamps, [])
    lines = list(read_lines(Path(batch.manifest), "open"))
    assert [resolver.resolve(line.source_ref) for line in lines] == sorted(stamps)
    assert not [problem for line in lines for problem in line.problems if problem.code.startswith("ERROR_")]


def test_old_manifests_go(tmp_path, folder):
    log = opened(tmp_path, folder)
    with log.held():
        first, second = (log.begin(read_stamps(folder)[0]).manifest for _ in range(2))
        old = time.time() - (KEPT_DAYS + 1) * 86_400
        os.utime(first, (old, old))
        log.begin({})
    assert not Path(first).exists()
    assert Path(second).exists()


def test_files_taken_away_are_forgotten_but_not_when_all_are_gone(tmp_path, folder):
    stamps, _ = read_stamps(folder)
    log = opened(tmp_path, folder)
    with log.held():
        log.end(log.begin(stamps))
        log.forget_all_but({})
        assert log.new(stamps) == {}
        log.forget_all_but({"a.png": stamps["a.png"]})
        assert sorted(log.new(stamps)) == ["line 1/b.JPG"]


def test_second_watcher_of_a_folder_is_refused(tmp_path, folder):
    with opened(tmp_path, folder).held():
        with pytest.raises(RequestError, match="watched for this deployment by another process"):
            opened(tmp_path, folder).held().__enter__()
        with ArrivalLog(tmp_path / "home", folder, "train/detection").held():
            pass


@pytest.mark.parametrize("content", [b"{", b"[]", json.dumps({"handled": {"a": 1}}).encode()])
def test_damaged_file_is_named(tmp_path, folder, content):
    log = opened(tmp_path, folder)
    with log.held():
        log.end(log.begin({}))
    (path,) = (tmp_path / "home").glob("*.json")
    path.write_bytes(content)
    with pytest.raises(EnvironmentFailed, match=path.name):
        log.held().__enter__()
