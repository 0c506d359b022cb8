"""Output in a real object store: the marker is last, others' objects stay, an earlier run's are replaced."""

import json

import pytest

from tasks.errors import EnvironmentFailed, RequestError
from tasks.stores import s3_requests
from tasks.stores.object_output import ObjectOutput, output_at
from tasks.stores.output import OutputFolder
from tests.faulty_proxy import Busy, Cut, running_proxy
from tests.object_store import set_environment

MARKER = "keeneye-things.json"


@pytest.fixture
def store(in_object_store):
    return in_object_store


@pytest.fixture
def prefix(request):
    return f"output/{abs(hash(request.node.name))}"


@pytest.fixture
def output(store, prefix):
    return output_at(f"s3://{store.bucket}/{prefix}", MARKER)


def write(output, **contents):
    with output.unfinished() as folder:
        for name, content in contents.items():
            (folder / "below").mkdir(exist_ok=True)
            (folder / "below" / name).write_bytes(content)
        files = output.publish(folder)
    assert not folder.exists()
    return files


def marker_of(store, prefix):
    return json.loads(store.client.get_object(Bucket=store.bucket, Key=f"{prefix}/{MARKER}")["Body"].read())


def test_address_decides(tmp_path):
    assert isinstance(output_at("s3://pictures/out", MARKER), ObjectOutput)
    assert output_at("s3://pictures/out/", MARKER).address == "s3://pictures/out"
    assert output_at(str(tmp_path), MARKER) == OutputFolder(tmp_path, MARKER)
    with pytest.raises(RequestError, match="is no address of an object store"):
        output_at("s3://", MARKER)


def test_second_run_replaces_the_first(store, prefix, output):
    output.require_own()
    assert write(output, a=b"1", b=b"2") == ["below/a", "below/b"]
    assert sorted(store.keys(prefix)) == ["below/a", "below/b", MARKER]
    output.require_own()
    assert marker_of(store, prefix) == {"status": "complete", "files": ["below/a", "below/b"]}
    assert sorted(store.keys(prefix)) == ["below/a", "below/b", MARKER]
    assert write(output, b=b"3") == ["below/b"]
    assert sorted(store.keys(prefix)) == ["below/b", MARKER]
    assert store.client.get_object(Bucket=store.bucket, Key=f"{prefix}/below/b")["Body"].read() == b"3"


def test_writing_is_tried_at_once_and_nothing_stays_of_it(store, prefix, output):
    output.require_own()
    assert not store.keys(prefix)
    written = store.client.list_object_versions(Bucket=store.bucket, Prefix=f"{prefix}/")["Versions"]
    assert [one["Key"] for one in written] == [f"{prefix}/{MARKER}.probe"]


def test_objects_of_others_are_not_touched(store, prefix, output):
    store.put(f"{prefix}/mine.txt", b"1")
    with pytest.raises(RequestError, match=r"holds objects of others \(mine\.txt\); name an empty folder"):
        output.require_own()
    assert store.keys(prefix) == ["mine.txt"]


def test_run_that_is_cut_short_leaves_no_complete_marker_and_can_be_repeated(store, prefix, output, monkeypatch):
    write(output, a=b"1", old=b"1")
    monkeypatch.setattr(s3_requests, "PAUSES", (0.01,))
    with running_proxy(store.endpoint) as proxy:
        set_environment(monkeypatch, {**store.environment, "AWS_ENDPOINT_URL_S3": proxy.endpoint})
        proxy.faults.extend([None, None, None])
        proxy.always = Cut()
        with pytest.raises(EnvironmentFailed, match="try again"):
            write(output, a=b"2", new=b"2" * 100_000)
    assert marker_of(store, prefix) == {"status": "unfinished", "files": ["below/a", "below/new", "below/old"]}
    set_environment(monkeypatch, store.environment)
    output.require_own()
    assert write(output, a=b"3") == ["below/a"]
    assert sorted(store.keys(prefix)) == ["below/a", MARKER]


def test_store_that_is_busy_when_the_marker_is_read(store, prefix, output, monkeypatch):
    write(output, a=b"1")
    monkeypatch.setattr(s3_requests, "PAUSES", (0.01, 0.01))
    with running_proxy(store.endpoint) as proxy:
        set_environment(monkeypatch, {**store.environment, "AWS_ENDPOINT_URL_S3": proxy.endpoint})
        # The first connection lists, the others ask for the marker.
        proxy.faults.extend([None, Busy(), Busy()])
        assert write(output, a=b"2") == ["below/a"]
        proxy.faults.append(None)
        proxy.always = Busy()
        with pytest.raises(EnvironmentFailed, match=r"is busy \(it answers SlowDown\).* try again"):
            write(output, a=b"3")
    assert marker_of(store, prefix) == {"status": "complete", "files": ["below/a"]}


@pytest.mark.parametrize("marker", [b"", b"\xff", b"[]", b'{"files": 3}', b'{"files": ["../first", 1]}'])
def test_odd_marker_makes_no_object_ones_own(store, prefix, output, marker):
    store.put(f"{prefix}/{MARKER}", marker)
    output.require_own()
    assert write(output, a=b"1") == ["below/a"]
    assert store.client.get_object(Bucket=store.bucket, Key="first")["Body"].read() == b"1"


@pytest.mark.parametrize(
    ("output", "is_apart"),
    [("photos", False), ("photos/below", False), ("photosets", True), ("else", True)],
)
def test_output_lies_apart_from_the_source(store, output, is_apart):
    sources = ["", "photos", f"s3://{store.bucket}/photos/"]
    written = output_at(f"s3://{store.bucket}/{output}", MARKER)
    if is_apart:
        written.require_apart(sources)
    else:
        with pytest.raises(RequestError, match="where images are read; name a folder elsewhere as --output"):
            written.require_apart(sources)


def test_bucket_that_is_not_there(store):
    with pytest.raises(RequestError, match="there is no such bucket"):
        output_at("s3://absent-bucket/x", MARKER).require_own()
