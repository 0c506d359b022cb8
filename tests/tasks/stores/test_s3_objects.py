import os
import threading
import time
from contextvars import ContextVar

import pytest

from tasks.errors import EnvironmentFailed, RequestError, SourceChanged
from tasks.stores import s3_requests
from tasks.stores.content import ContentStore
from tasks.stores.s3_cache import LIMIT_VARIABLE, ObjectCache
from tasks.stores.s3_objects import (
    ObjectPlace,
    StoredObject,
    describe_objects,
    fetch_object,
    in_parallel,
    list_objects,
    remove_objects,
    require_folder,
    require_object,
    send_object,
)
from tasks.stores.s3_requests import transfer_client
from tests.faulty_proxy import Busy, Cut, Silent, Slow, Spoilt, running_proxy
from tests.object_store import ACCESS_KEY_ID, SECRET_ACCESS_KEY, free_ports, set_environment

CONTENT = bytes(number * 7 % 251 for number in range(300_000))


@pytest.fixture(autouse=True)
def impatience(monkeypatch):
    monkeypatch.setattr(s3_requests, "PAUSES", (0.01, 0.01, 0.01))
    monkeypatch.setattr(s3_requests, "READ_SECONDS", 10.0)


@pytest.fixture
def store(in_object_store):
    return in_object_store


@pytest.fixture
def proxy(store, monkeypatch):
    with running_proxy(store.endpoint) as running:
        set_environment(monkeypatch, {**store.environment, "AWS_ENDPOINT_URL_S3": running.endpoint})
        yield running


@pytest.fixture
def folder(store, request):
    """A folder of its own for each test."""
    return ObjectPlace(store.bucket, f"{request.node.name[:80]}/")


@pytest.fixture
def cache(tmp_path):
    return lambda max_bytes=10**9: ObjectCache(tmp_path / "cache", transfer_client(), max_bytes)


def put(folder, **contents):
    """Keep objects of a folder; returns them as a store lists them, by reference."""
    client = transfer_client()
    for name, content in contents.items():
        send_object(client, folder.below(f"{name}.png"), content)
    return listed(folder)


def listed(folder):
    return {one.key.removeprefix(folder.key): one for one in list_objects(transfer_client(), folder)}


@pytest.mark.parametrize(
    ("address", "bucket", "key", "folder", "name"),
    [
        ("s3://pictures", "pictures", "", "", ""),
        ("s3://pictures/", "pictures", "", "", ""),
        ("s3://pictures/a", "pictures", "a", "a/", "a"),
        ("S3://pictures/a/ä b.zip", "pictures", "a/ä b.zip", "a/ä b.zip/", "ä b.zip"),
        ("s3://pictures/a//", "pictures", "a//", "a/", "a"),
        ("s3://pictures/a%20b?c#d", "pictures", "a%20b?c#d", "a%20b?c#d/", "a%20b?c#d"),
    ],
)
def test_addresses(address, bucket, key, folder, name):
    place = ObjectPlace.parse(address)
    assert (place.bucket, place.key, place.folder.key, place.name) == (bucket, key, folder, name)


@pytest.mark.parametrize(
    "address", ["s3://", "s3:///a", "s3://ab", "s3://a bucket/a", "https://pictures/a", "pictures/a"]
)
def test_what_is_no_address(address):
    with pytest.raises(RequestError, match=r"is no address of an object store; write s3://BUCKET/FOLDER"):
        ObjectPlace.parse(address)


def test_what_is_sent_is_listed_described_and_fetched(folder, tmp_path):
    client = transfer_client()
    (tmp_path / "source").write_bytes(CONTENT)
    send_object(client, folder.below("a/ä b.png"), tmp_path / "source")
    send_object(client, folder.below("empty"), b"")
    send_object(client, folder.below("kind of folder/"), b"")
    found = list_objects(client, folder)
    assert [(one.key, one.size) for one in found] == [(folder.key + "a/ä b.png", 300_000), (folder.key + "empty", 0)]
    assert require_object(client, folder.below("a/ä b.png")) == found[0]
    described, absent = describe_objects(client, folder.bucket, [found[0].key, "absent"])
    assert described == found[:1]
    assert list(absent) == ["absent"]
    assert "there is no such object" in absent["absent"]
    fetch_object(client, folder.bucket, found[0], tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == CONTENT
    remove_objects(client, folder.bucket, [found[0].key, "absent"])
    assert [one.key for one in list_objects(client, folder)] == [folder.key + "empty"]


def test_more_objects_than_one_answer_lists(folder):
    client = transfer_client()
    in_parallel(lambda number: send_object(client, folder.below(f"{number:04}"), b"x"), range(1003))
    found = list_objects(client, folder)
    assert [one.key for one in found] == [f"{folder.key}{number:04}" for number in range(1003)]
    remove_objects(client, folder.bucket, [one.key for one in found])
    assert not list_objects(client, folder)


FAULTS = [
    pytest.param([Cut()], 2, id="closed at once"),
    pytest.param([Cut(100_000)], 2, id="cut in the middle"),
    pytest.param([Cut(100_000), Cut(200_000), Cut()], 4, id="cut three times"),
    pytest.param([Busy(), Busy()], 3, id="busy"),
    pytest.param([Silent()], 2, id="silent"),
    pytest.param([Spoilt(2)], 1, id="spoilt twice"),
    pytest.param([Slow()], 1, id="slow"),
]


@pytest.mark.parametrize(("faults", "connections"), FAULTS)
def test_what_goes_wrong_on_the_way_is_tried_again(folder, proxy, tmp_path, monkeypatch, faults, connections):
    wanted = put(folder, a=CONTENT)["a.png"]
    monkeypatch.setattr(s3_requests, "READ_SECONDS", 0.5 if Silent() in faults else 10.0)
    proxy.connections = 0
    proxy.faults.extend(faults)
    fetch_object(transfer_client(), folder.bucket, wanted, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == CONTENT
    assert proxy.connections == connections


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        pytest.param(Cut(100_000), "does not answer", id="cut"),
        pytest.param(Busy(), r"is busy \(it answers SlowDown\)", id="busy"),
        pytest.param(Spoilt(100), "came spoiled", id="spoilt"),
    ],
)
def test_what_stays_wrong_is_given_up(folder, proxy, tmp_path, fault, words):
    wanted = put(folder, a=CONTENT)["a.png"]
    proxy.always = fault
    with pytest.raises(EnvironmentFailed, match=words) as failed:
        fetch_object(transfer_client(), folder.bucket, wanted, tmp_path / "target")
    assert str(folder.below("a.png")) in failed.value.message
    assert "try again" in failed.value.message


def test_store_that_is_down(store, monkeypatch):
    set_environment(monkeypatch, {**store.environment, "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{free_ports(1)[0]}"})
    with pytest.raises(EnvironmentFailed, match=r"s3://pictures/ cannot be reached: the store does not answer"):
        list_objects(transfer_client(), ObjectPlace("pictures", ""))


@pytest.mark.parametrize(
    ("changed", "address", "words"),
    [
        pytest.param({}, "s3://pictures/absent.zip", "there is no such object", id="key"),
        pytest.param({}, "s3://absent-bucket/a.zip", "there is no such bucket", id="bucket"),
        pytest.param({"AWS_SECRET_ACCESS_KEY": "wrong"}, "s3://pictures/first", "refuses the secret key", id="secret"),
        pytest.param({"AWS_ACCESS_KEY_ID": "nobody"}, "s3://pictures/first", "does not know the access key", id="id"),
        pytest.param(
            {"AWS_ACCESS_KEY_ID": ""}, "s3://pictures/first", "check the names and the S3 settings", id="none"
        ),
        pytest.param(
            {"AWS_ENDPOINT_URL_S3": "nowhere"}, "s3://pictures/first", "Invalid endpoint|S3 settings", id="url"
        ),
    ],
)
def test_refusal_is_told_at_once_without_secrets(store, monkeypatch, changed, address, words):
    monkeypatch.setattr(s3_requests, "PAUSES", (100.0,))
    set_environment(monkeypatch, {**store.environment, **changed})
    for ask in (require_object, lambda client, place: require_folder(client, place.parent)):
        if ask is not require_object and "absent.zip" in address:
            continue
        with pytest.raises(RequestError, match=words) as refused:
            ask(transfer_client(), ObjectPlace.parse(address))
        secrets = {ACCESS_KEY_ID, SECRET_ACCESS_KEY, *changed.values()} - {"", "nowhere"}
        assert not [secret for secret in secrets if secret in refused.value.message]


def test_object_that_was_replaced_is_not_taken_for_the_listed_one(folder, tmp_path):
    wanted = put(folder, a=b"first")["a.png"]
    put(folder, a=b"other")
    with pytest.raises(SourceChanged, match="was replaced while it was fetched; start the run again"):
        fetch_object(transfer_client(), folder.bucket, wanted, tmp_path / "target")


def test_first_exception_stops_what_has_not_begun():
    begun = []

    def work(number):
        begun.append(number)
        time.sleep(0.01)
        if number == 3:
            raise ValueError(number)

    with pytest.raises(ValueError, match="3"):
        in_parallel(work, range(1000))
    assert len(begun) < 200


def test_progress_is_told_for_each():
    told = []
    assert in_parallel(lambda number: number * 2, range(50), lambda *counts: told.append(counts)) == list(
        range(0, 100, 2)
    )
    assert told == [(number, 50) for number in range(1, 51)]


def test_progress_is_told_where_it_was_asked_for():
    threads, of_run = [], ContextVar("of_run", default="none")
    of_run.set("mine")
    in_parallel(str, range(20), lambda done, total: threads.append((threading.current_thread(), of_run.get())))
    assert threads == [(threading.current_thread(), "mine")] * 20


def test_folder_is_fetched_once(folder, proxy, cache):
    objects = put(folder, a=CONTENT, b=b"b")
    first = cache().folder(folder, objects)
    assert {path.name: path.read_bytes() for path in first.path.iterdir()} == {"a.png": CONTENT, "b.png": b"b"}
    proxy.received_bytes = 0
    assert cache().folder(folder, objects) == first
    assert proxy.received_bytes == 0
    assert not first.refused


def test_only_what_is_new_is_fetched_and_nothing_stale_is_shown(folder, proxy, cache):
    first = cache().folder(folder, put(folder, a=CONTENT, b=b"old"))
    objects = put(folder, b=b"new", c=b"c")
    proxy.received_bytes = 0
    second = cache().folder(folder, objects)
    assert {path.name: path.read_bytes() for path in second.path.iterdir()} == {
        "a.png": CONTENT,
        "b.png": b"new",
        "c.png": b"c",
    }
    assert proxy.received_bytes < 10_000
    assert (first.path / "b.png").read_bytes() == b"old"


def test_what_was_whole_when_a_fetch_broke_off_is_not_fetched_again(folder, proxy, cache, tmp_path, monkeypatch):
    objects = put(folder, a=CONTENT, b=CONTENT[::-1])
    monkeypatch.setattr("tasks.stores.s3_objects.THREADS", 1)
    proxy.faults.append(Cut(400_000))
    proxy.always = Cut(1000)
    with pytest.raises(EnvironmentFailed, match="does not answer"):
        cache().folder(folder, objects)
    assert not list((tmp_path / "cache" / "unfinished").iterdir())
    assert not list((tmp_path / "cache" / "folders").iterdir())
    proxy.always, proxy.received_bytes = None, 0
    fetched = cache().folder(folder, objects).path
    assert [(fetched / name).read_bytes() for name in objects] == [CONTENT, CONTENT[::-1]]
    assert proxy.received_bytes < 400_000


@pytest.mark.parametrize("damage", ["cut short", "gone"])
def test_damaged_files_are_fetched_again(folder, cache, damage):
    objects = put(folder, a=CONTENT)
    file = cache().folder(folder, objects).path / "a.png"
    if damage == "gone":
        file.unlink()
    else:
        os.truncate(file, 1000)
    assert (cache().folder(folder, objects).path / "a.png").read_bytes() == CONTENT


def test_object_that_cannot_be_had_is_told_and_the_others_are_there(folder, cache):
    objects = put(folder, a=b"a")
    objects["absent.png"] = StoredObject(folder.key + "absent.png", '"1"', 1)
    fetched = cache().folder(folder, objects)
    assert [path.name for path in fetched.path.iterdir()] == ["a.png"]
    assert list(fetched.refused) == ["absent.png"]
    put(folder, absent=b"x")
    assert len(list(cache().folder(folder, listed(folder)).path.iterdir())) == 2
    with pytest.raises(RequestError, match="there is no such object"):
        cache().folder(folder, {"gone.png": StoredObject(folder.key + "gone.png", '"1"', 1)})


def test_two_that_fetch_the_same_folder_share_it(folder, cache):
    objects = put(folder, **{f"of_{number}": CONTENT for number in range(8)})
    found = []
    threads = [threading.Thread(target=lambda: found.append(cache().folder(folder, objects))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.path for one in found}) == 1
    assert len(found) == len(threads)
    assert all(path.read_bytes() == CONTENT for path in found[0].path.iterdir())


def test_those_that_fetch_other_folders_meanwhile_are_not_in_the_way(folder, cache, tmp_path):
    places = [folder.below(f"{number}/") for number in range(12)]
    objects = [put(place, image=b"%d" % number) for number, place in enumerate(places)]
    # Room is made at the end of each fetch, while others' drafts and parts come and go.
    found = in_parallel(lambda number: cache(1).folder(places[number], objects[number]), range(len(places)))
    assert [(one.path / "image.png").read_bytes() for one in found] == [b"%d" % number for number in range(12)]
    assert not list((tmp_path / "cache" / "unfinished").iterdir())


def test_folder_that_is_used_again_is_not_let_go(folder, cache):
    objects, day_before = put(folder, a=CONTENT), time.time() - 100_000
    path = cache().folder(folder, objects).path
    for old in (path, path / "a.png"):
        os.utime(old, (day_before, day_before))
    assert cache().folder(folder, objects).path == path
    cache(1).folder(folder.below("b/"), put(folder.below("b/"), image=b"b"))
    assert (path / "a.png").read_bytes() == CONTENT


@pytest.mark.parametrize("place", ["unfinished", "folders", "objects/ab"])
def test_what_is_gone_while_it_is_looked_at_is_passed_over(folder, cache, tmp_path, place):
    (tmp_path / "cache" / place).mkdir(parents=True)
    # Like a file that another process has moved, it is listed and not there.
    (tmp_path / "cache" / place / "gone").symlink_to(tmp_path / "nowhere")
    assert (cache(1).folder(folder, put(folder, a=b"a")).path / "a.png").read_bytes() == b"a"


def test_what_was_not_used_for_longest_goes_first(folder, cache, tmp_path):
    names = ("a", "b", "c")
    paths = []
    for age, name in zip((3, 2, 0), names, strict=True):
        one = folder.below(f"{name}/")
        path = cache(10**9).folder(one, put(one, image=CONTENT)).path
        when = time.time() - age * 86_400
        for old in (path, path / "image.png"):
            os.utime(old, (when, when))
        paths.append(path)
    cache(700_000).folder(folder.below("d/"), put(folder.below("d/"), image=b"d"))
    assert [path.exists() for path in paths] == [False, True, True]
    assert sum(path.stat().st_size for path in (tmp_path / "cache" / "objects").rglob("*.*")) <= 700_000
    cache(1).folder(folder.below("e/"), put(folder.below("e/"), image=b"e"))
    assert [path.exists() for path in paths] == [False, False, True], "what was used today stays"
    assert sum(path.is_file() for path in (tmp_path / "cache" / "objects").rglob("*")) == 3


@pytest.mark.parametrize("text", ["much", "-1", "1e3"])
def test_limit_that_is_no_number(store, tmp_path, monkeypatch, text):
    monkeypatch.setenv(LIMIT_VARIABLE, text)
    with pytest.raises(RequestError, match=r"KEENEYE_OBJECTS_GB is .* give gigabytes, such as 100"):
        ObjectCache.of(ContentStore(tmp_path), transfer_client())
