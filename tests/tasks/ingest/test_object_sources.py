"""Sources in a real object store: folders, archives, annotations, and manifests whose images are objects."""

import json
import shutil
from pathlib import Path

import pytest

from flows.config import DataConfig
from tasks.dataset.findings import read_findings
from tasks.errors import DataError, RequestError, SourceChanged
from tasks.ingest.listing import list_source
from tasks.ingest.object_sources import odd_names
from tasks.ingest.records import FINDINGS_FILE, read_listed
from tasks.ingest.sources import default_dataset_name, open_source, require_source, with_images
from tasks.ingest.task import ingest_images, list_images
from tasks.stores.home import Home
from tests.makers import paint_class_folders
from tests.object_store import READER
from tests.sources import OPEN, box_line, paint_boxed, some_boxes, write_coco, write_lines

REFS = ("photos/1.png", "photos/2.png", "photos/line 7/ä.png")


@pytest.fixture
def store(in_object_store):
    return in_object_store


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home", "", "")


@pytest.fixture
def place(store, request):
    """A folder of its own for each test: its address, and its prefix in the bucket."""
    prefix = request.node.name.partition("[")[0] + str(abs(hash(request.node.name)) % 10**8)
    return f"s3://{store.bucket}/{prefix}", prefix


@pytest.fixture
def boxed(store, place, tmp_path):
    """Three images in the store; returns their boxes."""
    boxes = some_boxes(*REFS)
    store.put_folder(paint_boxed(tmp_path / "painted", boxes), place[1])
    return boxes


def ingest(home, source, **data):
    record = ingest_images.fn(home, DataConfig(source=source, max_invalid_fraction=1.0, **data))
    return record, read_findings(home.store.root / record.entry_path / FINDINGS_FILE)


def test_folder_of_objects_is_read_like_a_folder(home, store, place, tmp_path):
    address, prefix = place
    folder = paint_class_folders(tmp_path / "parts", {"good": 4, "cut": 3})
    store.put_folder(folder, prefix)
    for odd in (".hidden/1.png", "good/.DS_Store"):
        store.put(f"{prefix}/{odd}", b"x")
    require_source(address)
    remote, findings = ingest(home, f"{address}/", name="parts")
    local, expected = ingest(home, str(folder), name="parts")
    assert not findings
    assert not expected
    own = {"key", "entry_path", "root", "seconds"}
    assert remote.model_dump(exclude=own) == local.model_dump(exclude=own)
    again, _ = ingest(home, address, name="parts")
    assert again.reused
    store.put(f"{prefix}/good/new.png", (folder / "cut" / "000.png").read_bytes() + b" ")
    changed, _ = ingest(home, address, name="parts")
    assert (changed.listed, changed.reused) == (8, False)


@pytest.mark.parametrize(
    ("ref", "code"),
    [
        pytest.param("a/good name ä.png", "", id="good"),
        pytest.param("a", "ERROR_INVALID_FILE_NAME", id="also a folder"),
        pytest.param("a//b.png", "ERROR_INVALID_FILE_NAME", id="empty part"),
        pytest.param("a/./b.png", "ERROR_INVALID_FILE_NAME", id="dot"),
        pytest.param(".", "ERROR_INVALID_FILE_NAME", id="the folder itself"),
        pytest.param("a/../../b.png", "ERROR_OUTSIDE_SOURCE", id="climbs out"),
        pytest.param("/etc/passwd", "ERROR_OUTSIDE_SOURCE", id="absolute"),
        pytest.param("a/back\\slash.png", "ERROR_OUTSIDE_SOURCE", id="backslash"),
        pytest.param("a/line\nbreak.png", "ERROR_INVALID_FILE_NAME", id="line break"),
        pytest.param(f"a/{'ä' * 128}.png", "ERROR_INVALID_FILE_NAME", id="too long"),
        pytest.param("x/" * 64 + "b.png", "ERROR_INVALID_FILE_NAME", id="too deep"),
    ],
)
def test_odd_names_are_findings(ref, code):
    assert [(one.code, one.source_ref) for one in odd_names([ref, "a/c.png"])] == [(code, ref)] * bool(code)


def test_object_of_an_odd_name_is_not_fetched(home, store, place):
    store.put(f"{place[1]}/a/{'x' * 200}.png", b"1")
    store.put(f"{place[1]}/a/line\nbreak.png", b"1")
    opened = open_source(place[0], home.store)
    assert [path.name for path in opened.root.rglob("*.png")] == [f"{'x' * 200}.png"]
    assert [(one.code, one.source_ref) for one in opened.findings] == [("ERROR_INVALID_FILE_NAME", "a/line\nbreak.png")]


def test_archive(home, store, place, tmp_path):
    address, prefix = place
    folder = paint_class_folders(tmp_path / "parts", {"good": 2, "cut": 2})
    archive = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", folder))
    store.put(f"{prefix}/parts.zip", archive.read_bytes())
    require_source(f"{address}/parts.zip")
    record, findings = ingest(home, f"{address}/parts.zip")
    assert (record.dataset_name, record.usable, findings) == ("parts", 4, [])


def test_annotations_with_relative_references(home, store, place, boxed, tmp_path):
    address, prefix = place
    store.put(f"{prefix}/coco.json", write_coco(tmp_path / "coco.json", boxed).read_bytes())
    record, findings = ingest(home, f"{address}/coco.json")
    assert (record.layout, record.usable, record.has_boxes, findings) == ("COCO", 3, True, [])


@pytest.mark.parametrize("where", ["in the store", "in the store, images' folder named", "here", "in a folder of it"])
def test_manifest_of_addresses(home, store, place, boxed, tmp_path, where):
    address, prefix = place
    manifest = write_lines(
        tmp_path / "set.manifest", *(box_line(f"{address}/{ref}", boxes) for ref, boxes in boxed.items())
    )
    source, data = str(manifest), {"image_root": f"{address}/photos"}
    if where != "here":
        key = "sets/set.manifest" if where != "in a folder of it" else "set.manifest"
        store.put(f"{prefix}/{key}", manifest.read_bytes())
        source = f"{address}/{key}" if where != "in a folder of it" else address
        data = data if where == "in the store, images' folder named" else {}
    store.put(f"{prefix}/photos/unnamed.png", b"not fetched")
    record, findings = ingest(home, source, **data)
    assert (record.layout, record.usable, record.listed) == ("Ground Truth", 3, 3)
    assert [one.code for one in findings] == ["WARNING_UNANNOTATED_FILE"] * (where == "in a folder of it")
    assert record.annotation_files[0].endswith("set.manifest")


def test_relative_reference_is_tried_from_the_manifests_folder(home, store, place, boxed, tmp_path):
    address, prefix = place
    lines = (box_line(ref, boxes) for ref, boxes in boxed.items())
    store.put(f"{prefix}/set.manifest", write_lines(tmp_path / "set.manifest", *lines).read_bytes())
    record, findings = ingest(home, f"{address}/set.manifest")
    assert (record.usable, findings) == (3, [])


@pytest.mark.parametrize(
    ("reference", "code", "words"),
    [
        ("{address}/photos/absent.png", "ERROR_UNREADABLE_FILE", "there is no such object"),
        ("s3://other-bucket/1.png", "ERROR_INVALID_SOURCE_REF_FORMAT", "name its folder as data.image_root, or copy"),
        ("{address}/../../../etc/passwd", "ERROR_OUTSIDE_SOURCE", "where nothing is read"),
        ("/etc/passwd", "ERROR_OUTSIDE_SOURCE", "where nothing is read"),
        ("{address}/photos//1.png", "ERROR_INVALID_FILE_NAME", "1.png: the name has an empty part"),
        ("{address}/photos/./1.png", "ERROR_INVALID_FILE_NAME", "or a dot as one; rename it"),
        ("{address}/" + "x" * 1020 + ".png", "ERROR_INVALID_FILE_NAME", "has more than 255 bytes"),
        (
            "{address}/" + "x/" * 30 + "y" * 240 + "/" + "z" * 240 + "/" + "w" * 240 + "/" + "v" * 250,
            "ERROR_INVALID_FILE_NAME",
            "has more than 1024 bytes",
        ),
    ],
    ids=["missing", "another bucket", "climbs out", "here", "empty part", "dot", "long part", "long key"],
)
def test_one_image_that_cannot_be_had_is_a_finding(home, store, place, boxed, tmp_path, reference, code, words):
    address, prefix = place
    lines = [box_line(f"{address}/{ref}", boxes) for ref, boxes in boxed.items()]
    lines.append(box_line(reference.format(address=address), [(1, 2, 3, 4)]))
    store.put(f"{prefix}/set.manifest", write_lines(tmp_path / "set.manifest", *lines).read_bytes())
    record, findings = ingest(home, f"{address}/set.manifest")
    assert (record.usable, record.listed, record.invalid) == (3, 4, 1)
    told = {one.code: one.message for one in findings if one.code != "ERROR_TOO_MANY_INVALID_ROWS_IN_MANIFEST"}
    assert list(told) == [code]
    assert words in told[code]


@pytest.mark.parametrize(
    ("image_root", "changed", "words"),
    [
        pytest.param("s3://pictres/photos", {}, "there is no such bucket", id="bucket"),
        pytest.param("{address}/fotos", {}, "there is no object in s3://pictures/.*/fotos/", id="folder"),
        pytest.param("{address}", {"AWS_SECRET_ACCESS_KEY": "wrong"}, "refuses the secret key", id="secret"),
        pytest.param("{address}/fotos", READER, "grant them s3:GetObject, s3:ListBucket", id="may not list"),
    ],
)
def test_wrong_folder_of_a_local_manifest_is_the_requests_fault(
    home, place, boxed, tmp_path, monkeypatch, image_root, changed, words
):
    manifest = write_lines(tmp_path / "set.manifest", *(box_line(ref, boxes) for ref, boxes in boxed.items()))
    for name, value in changed.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RequestError, match=words):
        ingest(home, str(manifest), image_root=image_root.format(address=place[0]))


def test_images_are_read_by_who_may_not_list_them(home, place, boxed, tmp_path, monkeypatch):
    manifest = write_lines(tmp_path / "set.manifest", *(box_line(ref, boxes) for ref, boxes in boxed.items()))
    for name, value in READER.items():
        monkeypatch.setenv(name, value)
    record, findings = ingest(home, str(manifest), image_root=place[0])
    assert (record.usable, findings) == (3, [])


def test_images_without_labels(home, store, place, boxed, tmp_path):
    address, prefix = place
    lines = [{"source-ref": f"{address}/{ref}"} for ref in (*boxed, "photos/absent.png")]
    store.put(f"{prefix}/set.manifest", write_lines(tmp_path / "set.manifest", *lines).read_bytes())
    for source, missing in ((f"{address}/photos", 0), (f"{address}/set.manifest", 1)):
        record = list_images.fn(home, source)
        assert (record.images, record.invalid) == (3, missing)
        images = read_listed(record.list_path)
        assert all((Path(record.root) / image.source_ref).is_file() for image in images)


def test_manifest_that_is_replaced_meanwhile(home, store, place, boxed, tmp_path):
    address, prefix = place
    lines = [box_line(f"{address}/{ref}", boxes) for ref, boxes in boxed.items()]
    store.put(f"{prefix}/set.manifest", write_lines(tmp_path / "set.manifest", *lines).read_bytes())
    opened = open_source(f"{address}/set.manifest", home.store)
    listing = list_source(opened, [], OPEN)
    store.put(f"{prefix}/set.manifest", json.dumps(lines[0]).encode())
    with pytest.raises(SourceChanged, match="was replaced while it was read; start the run again"):
        with_images(opened, [file.source_ref for file in listing.files], home.store, lambda done, total: None)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        pytest.param("s3://pictures/nothing/here", "there is no object in s3://pictures/nothing/here/", id="folder"),
        pytest.param("s3://pictures/absent.zip", "there is no such object", id="archive"),
        pytest.param("s3://absent-bucket", "there is no such bucket", id="bucket"),
        pytest.param("s3://no bucket/x", "is no address of an object store", id="no bucket's name"),
    ],
)
def test_what_is_not_there_is_the_requests_fault(home, store, source, words):
    for ask in (require_source, lambda source: open_source(source, home.store)):
        with pytest.raises(RequestError, match=words):
            ask(source)


def test_folder_without_images_is_told_as_such(home, store, place):
    store.put(f"{place[1]}/readme.txt", b"x")
    with pytest.raises(DataError, match="holds no image in a folder named by its label"):
        ingest(home, place[0])


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("s3://pictures", "pictures"),
        ("s3://pictures/line 7/", "line-7"),
        ("s3://pictures/line7/parts.tar.gz", "parts"),
        ("s3://pictures/line7/output.manifest", "line7"),
        ("s3://pictures/train.manifest", "pictures"),
        ("s3://pictures/a%20b", "a-20b"),
    ],
)
def test_names_of_datasets(source, name):
    assert default_dataset_name(source) == name
