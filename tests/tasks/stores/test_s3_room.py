"""What is let go of fetched objects: nothing that is read, no more than needed; what a record names comes back."""

import errno
import hashlib
import os
import time
from pathlib import Path

import pytest

from tasks.dataset.entries import ImageEntry
from tasks.dataset.files import read_image_bytes
from tasks.dataset.truth import Truth
from tasks.predict.image_files import ReadLimits, read_image_file
from tasks.stores import s3_room
from tasks.stores.content import ContentStore
from tasks.stores.s3_cache import CACHE_NAME, LIMIT_VARIABLE, ObjectCache, restore
from tasks.stores.s3_objects import ObjectPlace, list_objects, remove_object, send_object
from tasks.stores.s3_requests import transfer_client

CONTENT = b"x" * 100_000


@pytest.fixture(autouse=True)
def nothing_read_before(monkeypatch):
    monkeypatch.setattr(s3_room, "_renewed", {})


@pytest.fixture
def place(in_object_store, request):
    """A folder of its own for each test."""
    return ObjectPlace(in_object_store.bucket, f"room/{abs(hash(request.node.name))}/")


@pytest.fixture
def store(tmp_path):
    return ContentStore(tmp_path / "store")


def fetch(store, place, contents=None):
    """Keep objects, and fetch the folder that they are in; returns its path."""
    client = transfer_client()
    for ref, content in (contents or {"image.png": place.key.encode()}).items():
        send_object(client, place.below(ref), content)
    objects = {one.key.removeprefix(place.key): one for one in list_objects(client, place)}
    return ObjectCache.of(store, client).folder(place, objects).path


def grow_old(path, days):
    when = time.time() - days * 86_400
    for old in (path, *path.rglob("*")):
        os.utime(old, (when, when))


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read_as_dataset(folder):
    digest = hashlib.sha256(CONTENT).hexdigest()
    read_image_bytes(folder, ImageEntry("image.png", digest, 1, 1, Truth(())))


def read_for_prediction(folder):
    read_image_file(folder, "image.png", ReadLimits(1.0, 1.0))


def list_nothing(folder):
    list(folder.iterdir())


@pytest.mark.parametrize(
    ("read", "stays"), [(read_as_dataset, True), (read_for_prediction, True), (list_nothing, False)]
)
def test_folder_that_is_read_stays(store, place, monkeypatch, read, stays):
    monkeypatch.setenv(LIMIT_VARIABLE, "0")
    folder = fetch(store, place.below("a/"), {"image.png": CONTENT})
    grow_old(folder, days=3)
    read(folder)
    fetch(store, place.below("b/"))
    assert folder.exists() is stays


def test_folder_of_others_keeps_its_date(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "image.png").write_bytes(CONTENT)
    grow_old(tmp_path / "photos", days=3)
    before = (tmp_path / "photos").stat().st_mtime
    read_as_dataset(tmp_path / "photos")
    assert (tmp_path / "photos").stat().st_mtime == before


@pytest.fixture
def let_go(store, place, monkeypatch):
    """A folder of three objects that made room for another one."""
    contents = {f"{name}/image.png": name.encode() * 1000 for name in ("a", "b", "c")}
    folder = fetch(store, place, contents)
    grow_old(folder, days=3)
    monkeypatch.setenv(LIMIT_VARIABLE, "0")
    fetch(store, ObjectPlace(place.bucket, f"other-{place.key}"))
    assert not folder.exists()
    return folder, contents


def test_what_is_needed_of_a_folder_comes_back_into_its_place(store, place, let_go):
    folder, contents = let_go
    told = []
    wanted = ["a/image.png", "c/image.png", "never/there.png"]
    restore(store, folder, wanted, lambda *counts: told.append(counts))
    assert files_of(folder) == {ref: contents[ref] for ref in wanted[:2]}
    assert told == [(1, 2), (2, 2)]
    restore(store, folder, wanted, lambda *counts: told.append(counts))
    assert len(told) == 2, "nothing is missing any more"
    assert fetch(store, place, contents) == folder
    assert files_of(folder) == contents


def test_object_of_today_does_not_stand_for_that_of_then(store, place, let_go):
    folder, contents = let_go
    send_object(transfer_client(), place.below("a/image.png"), b"n" * 1000)
    remove_object(transfer_client(), place.below("b/image.png"))
    restore(store, folder, contents)
    assert files_of(folder) == {"c/image.png": contents["c/image.png"]}
    assert not list((store.root / CACHE_NAME / "unfinished").iterdir())


@pytest.mark.parametrize("damage", ["gone", "cut short", "no such list"])
def test_folder_of_which_nothing_is_written_down_stays_gone(store, let_go, damage):
    folder, contents = let_go
    written = store.root / CACHE_NAME / "contents" / f"{folder.name}.json.gz"
    if damage == "gone":
        written.unlink()
    else:
        written.write_bytes(written.read_bytes()[:-20] if damage == "cut short" else b"[]")
    restore(store, folder, contents)
    assert not folder.exists()


def test_other_folders_are_left_as_they_are(store, let_go, tmp_path):
    restore(store, tmp_path / "photos", let_go[1])
    restore(store, tmp_path / let_go[0].name, let_go[1])
    assert {path.name for path in tmp_path.iterdir()} == {"store"}


def test_folder_of_an_earlier_keeneye_is_written_down_when_it_is_used(store, place):
    folder = fetch(store, place)
    written = store.root / CACHE_NAME / "contents" / f"{folder.name}.json.gz"
    written.unlink()
    fetch(store, place)
    assert written.is_file()


def no_links(*_):
    raise OSError(errno.EPERM, "links are not made here")


@pytest.mark.parametrize("links", [True, False])
def test_copies_count_where_no_links_are_made(store, place, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    folders = [fetch(store, place.below(f"{name}/"), {"image.png": CONTENT}) for name in "abc"]
    for days, folder in zip((4, 3, 2), folders, strict=True):
        grow_old(folder, days)
    cached = store.root / CACHE_NAME
    grow_old(cached / "objects", days=5)
    monkeypatch.setenv(LIMIT_VARIABLE, "0.00025")
    fetch(store, place.below("d/"))
    # Three objects of 100 kB are in three folders. Copies alone take 300 kB, so a folder goes besides all old objects.
    assert [folder.exists() for folder in folders] == [False, True, True]
    inodes = {path.stat().st_ino: path.stat().st_size for path in cached.rglob("*.png")}
    kept = {path.stat().st_ino: path.stat().st_size for path in (cached / "objects").rglob("*") if path.is_file()}
    assert sum((inodes | kept).values()) <= 250_000


def test_objects_are_looked_at_once_however_many_folders_go(store, place, monkeypatch):
    refs = [f"{number}.png" for number in range(20)]
    folders = [fetch(store, place.below(f"{name}/"), dict.fromkeys(refs, name.encode())) for name in "abcdef"]
    for folder in folders:
        grow_old(folder, days=3)
    monkeypatch.setenv(LIMIT_VARIABLE, "0")
    looked, objects = [], str(store.root / CACHE_NAME / "objects")
    stat = Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **how: looked.append(str(path)) or stat(path, **how))
    fetch(store, place.below("z/"))
    assert not any(folder.exists() for folder in folders)
    of_objects = [path for path in looked if path.startswith(objects) and len(Path(path).name) == 40]
    assert len(of_objects) < 2 * len(refs) * len(folders)
