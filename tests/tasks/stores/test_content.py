import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.stores import content
from tasks.stores.content import ContentStore, StageKey, StageRecord, digest_of, write_atomically

KEY = StageKey("train", "1", {"manifest": "abc"}, {"seed": 0})
MARKER = "_complete.json"


class Made(StageRecord, frozen=True):
    value: int = 0


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "store")


def fill(folder: Path, text: str = "content") -> None:
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "model.bin").write_text(text)
    (folder / "empty.txt").write_text("")


def make_entry(store: ContentStore, key: StageKey = KEY, text: str = "content") -> Path:
    with store.create(key) as folder:
        fill(folder, text)
    return store.entry_path(key)


def unfinished(store: ContentStore) -> list[str]:
    return [path.name for path in (store.root / "unfinished").glob("*")]


# Keys

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("aé\u2028"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abé", max_size=3), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text("abé", max_size=4), JSON, max_size=4)


@settings(deadline=None)
@given(JSON)
def test_digest_is_of_the_canonical_text(value: Any) -> None:
    digest = digest_of(value)
    assert digest == digest_of(json.loads(json.dumps(value)))
    assert len(digest) == 64
    assert set(digest) <= set("0123456789abcdef")


def test_digest_of_a_known_value() -> None:
    assert digest_of({"b": [1, "é"], "a": None}) == hashlib.sha256('{"a":null,"b":[1,"é"]}'.encode()).hexdigest()


@settings(deadline=None)
@given(OBJECTS)
def test_order_of_fields_does_not_matter(fields: dict[str, Any]) -> None:
    turned = dict(reversed(fields.items()))
    assert replace(KEY, config=turned, inputs=fields).digest == replace(KEY, config=fields, inputs=turned).digest


@settings(deadline=None)
@given(OBJECTS, OBJECTS)
def test_keys_differ_exactly_where_their_fields_do(one: dict[str, Any], other: dict[str, Any]) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    for field in ("inputs", "config"):
        equal = replace(KEY, **{field: one}).digest == replace(KEY, **{field: other}).digest
        assert equal == same


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(KEY, stage="evaluate"), id="stage"),
        pytest.param(replace(KEY, version="2"), id="version"),
        pytest.param(replace(KEY, inputs={"manifest": "abd"}), id="inputs"),
        pytest.param(replace(KEY, config={"seed": 1}), id="config"),
        pytest.param(replace(KEY, config={"seed": "0"}), id="type of a value"),
        pytest.param(replace(KEY, inputs=KEY.config, config=KEY.inputs), id="inputs and config swapped"),
        pytest.param(replace(KEY, libraries=("numpy",)), id="libraries"),
    ],
)
def test_every_field_shapes_the_key(other: StageKey) -> None:
    assert other.digest != KEY.digest


def test_installed_versions_shape_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    key = replace(KEY, libraries=("numpy", "pillow"))
    assert key.digest == replace(KEY, libraries=("pillow", "numpy")).digest
    versions = {"numpy": "2.0", "pillow": "12.0"}
    monkeypatch.setattr(content, "_installed_version", versions.__getitem__)
    before = key.digest
    versions["pillow"] = "12.1"
    assert key.digest != before


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"bytes"], ids=repr)
def test_values_without_canonical_text_are_refused(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        digest_of({"x": value})


# Entries


def test_missing_entry_is_not_found(store: ContentStore) -> None:
    assert store.find(KEY) is None
    assert store.entries_of("train") == []
    assert store.sweep() == []
    assert not store.root.exists()


def test_created_entry_is_found_whole(store: ContentStore) -> None:
    path = make_entry(store)
    assert store.find(KEY) == path == store.entry_path(KEY)
    assert (path / "deep" / "er" / "model.bin").read_text() == "content"
    assert unfinished(store) == []
    assert store.find(replace(KEY, version="2")) is None


def test_entry_may_be_empty(store: ContentStore) -> None:
    with store.create(KEY):
        pass
    assert store.find(KEY) is not None


def test_entry_is_found_by_another_store_of_the_same_folder(store: ContentStore) -> None:
    path = make_entry(store)
    assert ContentStore(store.root).find(KEY) == path


def test_entry_is_not_found_before_its_end(store: ContentStore) -> None:
    with store.create(KEY) as folder:
        fill(folder)
        assert store.find(KEY) is None
        assert store.entries_of("train") == []


def create_and_raise(store: ContentStore, error: BaseException) -> None:
    with store.create(KEY) as folder:
        fill(folder, "other")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_exception_leaves_no_entry(store: ContentStore, error: type[BaseException]) -> None:
    with pytest.raises(error):
        create_and_raise(store, error())
    assert store.find(KEY) is None
    assert not store.entry_path(KEY).exists()
    assert unfinished(store) == []


def test_exception_leaves_an_earlier_entry_alone(store: ContentStore) -> None:
    path = make_entry(store)
    with pytest.raises(ValueError, match="no"):
        create_and_raise(store, ValueError("no"))
    assert store.find(KEY) == path
    assert (path / "deep" / "er" / "model.bin").read_text() == "content"


def remove_marker(path: Path) -> None:
    (path / MARKER).unlink()


def shorten_file(path: Path) -> None:
    (path / "deep" / "er" / "model.bin").write_text("conten")


def lengthen_file(path: Path) -> None:
    (path / "deep" / "er" / "model.bin").write_text("content!")


def remove_file(path: Path) -> None:
    (path / "empty.txt").unlink()


DAMAGES = [remove_marker, shorten_file, lengthen_file, remove_file]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_entry_is_not_found_and_can_be_made_again(store: ContentStore, damage: Any) -> None:
    path = make_entry(store)
    damage(path)
    assert store.find(KEY) is None
    assert store.entries_of("train") == []
    assert make_entry(store, text="made again") == path
    assert store.find(KEY) == path
    assert (path / "deep" / "er" / "model.bin").read_text() == "made again"


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "3", '"x"', "\ufeff{}", '{"deep": "x"}', "\0\0\0\0"], ids=repr)
def test_damaged_marker_means_no_entry(store: ContentStore, text: str) -> None:
    path = make_entry(store)
    (path / MARKER).write_text(text)
    assert store.find(KEY) is None
    assert store.entries_of("train") == []


def test_marker_of_other_bytes_means_no_entry(store: ContentStore) -> None:
    path = make_entry(store)
    (path / MARKER).write_bytes(b"\xff\xfe{}")
    assert store.find(KEY) is None


def test_entries_of_a_stage_come_in_the_order_of_their_keys(store: ContentStore) -> None:
    keys = [replace(KEY, config={"seed": seed}) for seed in range(5)]
    paths = [make_entry(store, key) for key in keys]
    make_entry(store, replace(KEY, stage="evaluate"))
    remove_marker(paths[2])
    found = store.entries_of("train")
    assert found == sorted(found)
    assert set(found) == set(paths) - {paths[2]}


# Records


def test_first_call_makes_and_second_reuses(store: ContentStore) -> None:
    calls: list[Path] = []

    def make(folder: Path) -> Made:
        calls.append(folder)
        fill(folder)
        return Made(value=7)

    first, path = store.reuse_or_make(KEY, Made, make)
    second, again = store.reuse_or_make(KEY, Made, make)
    assert len(calls) == 1
    assert (first.reused, second.reused) == (False, True)
    assert first.model_copy(update={"reused": True}) == second
    assert first.key == KEY.digest
    assert first.value == 7
    assert path == again == store.entry_path(KEY)


def test_failed_make_is_tried_again(store: ContentStore) -> None:
    def fail(folder: Path) -> Made:
        fill(folder)
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        store.reuse_or_make(KEY, Made, fail)
    record, _ = store.reuse_or_make(KEY, Made, lambda folder: Made(value=1))
    assert not record.reused


def test_damaged_entry_is_made_again(store: ContentStore) -> None:
    _, path = store.reuse_or_make(KEY, Made, lambda folder: Made(value=1))
    (path / "record.json").write_text("{}")
    record, _ = store.reuse_or_make(KEY, Made, lambda folder: Made(value=2))
    assert (record.value, record.reused) == (2, False)


def test_records_are_frozen_and_strict() -> None:
    with pytest.raises(ValidationError):
        Made(other=1)  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        Made().value = 3  # type: ignore[misc]


# Races


def test_first_of_two_creators_stays(store: ContentStore) -> None:
    with store.create(KEY) as slow:
        fill(slow, "slow")
        with store.create(KEY) as fast:
            assert fast != slow
            fill(fast, "fast")
    path = store.find(KEY)
    assert path is not None
    assert (path / "deep" / "er" / "model.bin").read_text() == "fast"
    assert unfinished(store) == []


def test_entry_published_at_the_last_moment_stays(store: ContentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    # The other creator finishes between any look of this one for an entry and what it does next.
    really_complete, really_rename, done = content._is_complete, Path.rename, []

    def other_finishes() -> None:
        if not done:
            done.append(True)
            make_entry(store, text="first")

    def look(path: Path) -> bool:
        complete = really_complete(path)
        if not complete:
            other_finishes()
        return complete

    def rename(path: Path, target: Path) -> Path:
        if target == store.entry_path(KEY):
            other_finishes()
        return really_rename(path, target)

    with store.create(KEY) as folder:
        fill(folder, "second")
        monkeypatch.setattr(content, "_is_complete", look)
        monkeypatch.setattr(Path, "rename", rename)
    assert done
    path = store.find(KEY)
    assert path is not None
    assert (path / "deep" / "er" / "model.bin").read_text() == "first"
    assert unfinished(store) == []


def test_threads_that_race_make_one_entry(store: ContentStore) -> None:
    start = threading.Barrier(6)
    outcomes: list[object] = []

    def make(folder: Path) -> Made:
        start.wait(30)
        fill(folder)
        return Made(value=5)

    def work() -> None:
        try:
            outcomes.append(store.reuse_or_make(KEY, Made, make)[0].value)
        except Exception as error:
            outcomes.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outcomes == [5] * 6
    assert store.entries_of("train") == [store.entry_path(KEY)]
    assert unfinished(store) == []


CREATE_IN_ROUNDS = """
import sys
from pathlib import Path
from tasks.stores.content import ContentStore, StageKey
store = ContentStore(Path(sys.argv[1]))
for line in sys.stdin:
    key = StageKey("train", "1", {"manifest": "abc"}, {"seed": int(line)})
    with store.create(key) as folder:
        (folder / "model.bin").write_bytes(b"same")
    assert (store.entry_path(key) / "model.bin").read_bytes() == b"same"
    print(line, end="", flush=True)
"""


def test_processes_that_race_make_one_entry_each(store: ContentStore) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", CREATE_IN_ROUNDS, str(store.root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    rounds = "".join(f"{seed}\n" for seed in range(15))
    outcomes: list[tuple[str, str]] = []
    talks = [
        threading.Thread(target=lambda racer=racer: outcomes.append(racer.communicate(rounds))) for racer in racers
    ]
    for talk in talks:
        talk.start()
    for talk in talks:
        talk.join(120)
    assert outcomes == [(rounds, "")] * 3
    assert len(store.entries_of("train")) == 15
    assert unfinished(store) == []


# Killed processes

CREATE_AND_WAIT = """
import sys
from pathlib import Path
from tasks.stores.content import ContentStore, StageKey
key = StageKey("train", "1", {"manifest": "abc"}, {"seed": 0})
with ContentStore(Path(sys.argv[1])).create(key) as folder:
    (folder / "half.bin").write_bytes(b"x" * 100)
    print(folder.name, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def creator(store: ContentStore) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", CREATE_AND_WAIT, str(store.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    yield process, process.stdout.readline().strip()
    process.kill()
    process.communicate()


def test_killed_creator_leaves_nothing_that_is_found(
    store: ContentStore, creator: tuple[subprocess.Popen[str], str]
) -> None:
    process, name = creator
    assert (store.root / "unfinished" / name / "half.bin").exists()
    assert store.find(KEY) is None
    assert store.sweep() == []
    assert (store.root / "unfinished" / name / "half.bin").exists()
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    assert store.find(KEY) is None
    assert store.entries_of("train") == []
    with store.create(KEY) as own:
        fill(own)
        assert store.sweep() == [name]
        assert [path.name for path in (store.root / "unfinished").iterdir()] == [own.name]
    assert store.find(KEY) is not None
    assert store.sweep() == []


def test_sweep_leaves_foreign_folders_alone(store: ContentStore) -> None:
    make_entry(store)
    foreign = store.root / "unfinished" / "some-thing-of-mine"
    foreign.mkdir()
    assert store.sweep() == []
    assert foreign.exists()


def test_sweep_leaves_the_work_of_other_machines_alone(store: ContentStore) -> None:
    """A process of the same number may not be alive here, and be at work there."""
    with store.create(KEY) as own:
        name, machine, process, random = own.name.rsplit("-", 3)
        fill(own)
    assert (len(machine), int(process)) == (8, os.getpid())
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(30)
    folders = {m: store.root / "unfinished" / f"{name}-{m}-{ended.pid}-{random}" for m in (machine, "0" * 8, "1" * 8)}
    for folder in folders.values():
        folder.mkdir()
    long_ago = time.time() - 15 * 86_400
    os.utime(folders["1" * 8], (long_ago, long_ago))
    assert set(store.sweep()) == {folders[machine].name, folders["1" * 8].name}
    assert folders["0" * 8].exists()


def test_stage_names_with_dashes_are_swept_too(store: ContentStore) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(30)
    left = store.root / "unfinished" / f"inference-test-{'0' * 16}-{ended.pid}-{'a' * 8}"
    left.mkdir(parents=True)
    assert store.sweep() == [left.name]
    assert not left.exists()


# Small files


def test_small_files_are_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "latest"
    write_atomically(path, "one")
    write_atomically(path, "zwei \u2028")
    assert path.read_bytes() == "zwei \u2028".encode()
    assert [item.name for item in path.parent.iterdir()] == ["latest"]


def test_small_file_is_its_owners_alone_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: modes.append(os.fstat(descriptor).st_mode & 0o777))
    write_atomically(tmp_path / "secret", "1", mode=0o600)
    assert [*modes, (tmp_path / "secret").stat().st_mode & 0o777] == [0o600, 0o600]


def test_failed_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "latest"
    write_atomically(path, "old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"


def test_readers_see_old_or_new_content_only(tmp_path: Path) -> None:
    path, texts = tmp_path / "latest", {"a" * 50_000, "b" * 70_000}
    write_atomically(path, min(texts))
    stop = threading.Event()
    seen: set[str] = set()

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(40):
        for text in sorted(texts):
            write_atomically(path, text)
    stop.set()
    reader.join(30)
    assert seen
    assert seen <= texts
