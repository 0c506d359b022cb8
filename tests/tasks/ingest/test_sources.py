import os
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.dataset.versions import NAME_PATTERN
from tasks.errors import RequestError
from tasks.ingest.sources import OpenedSource, default_dataset_name, open_source, require_source
from tasks.stores.content import ContentStore

DEMO = "demo://transistors?images=20&seed=3"


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "store")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "my parts"
    made.mkdir()
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "link").symlink_to(made)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return made


@pytest.mark.parametrize("source", ["my parts", "./my parts/", "~/my parts", "link", "my parts/../my parts"])
def test_folders_are_found_however_they_are_named(folder: Path, store: ContentStore, source: str) -> None:
    assert open_source(source, store) == OpenedSource(folder.resolve(), folder.resolve())
    assert not store.root.exists()


@pytest.mark.parametrize("scheme", ["file", "FILE"])
def test_file_addresses(folder: Path, store: ContentStore, scheme: str) -> None:
    source = folder.as_uri().replace("file", scheme, 1)
    assert "%20" in source
    assert open_source(source, store).root == folder.resolve()


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("nowhere", id="missing"),
        pytest.param("a.png", id="a file"),
        pytest.param("a.png/below", id="below a file"),
        pytest.param("file:///nowhere/at/all", id="missing file address"),
        pytest.param("s3://", id="no bucket"),
        pytest.param("https://host/parts.zip", id="web"),
        pytest.param("demo://unknown", id="unknown demo set"),
        pytest.param("demo://transistors?images=1", id="demo too small"),
        pytest.param(" ", id="blank"),
        pytest.param("x" * 300, id="name too long"),
        pytest.param("/x" * 5000, id="path too long"),
        pytest.param("a\0b", id="null character"),
        pytest.param("~nobody-of-this-name/parts", id="unknown user"),
        pytest.param("file://[", id="no address"),
    ],
)
def test_wrong_sources_are_the_requests_fault(folder: Path, store: ContentStore, source: str) -> None:
    with pytest.raises(RequestError) as caught:
        open_source(source, store)
    assert "\n" not in str(caught.value)
    with pytest.raises(RequestError):
        require_source(source)
    assert not store.root.exists()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        pytest.param("nowhere", "there is no folder or file nowhere", id="missing"),
        pytest.param("a.png", "is a file", id="file"),
        pytest.param("gs://bucket/parts", "gs://", id="scheme"),
    ],
)
def test_message_names_what_is_wrong(folder: Path, store: ContentStore, source: str, words: str) -> None:
    with pytest.raises(RequestError, match=re.escape(words)):
        open_source(source, store)


def test_folder_that_may_not_be_read(folder: Path, store: ContentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(RequestError, match="may not be read"):
        open_source(str(folder), store)


@pytest.mark.parametrize("source", ["my parts", "link", DEMO, "demo://transistors"])
def test_sources_that_can_be_read_are_not_refused(folder: Path, source: str) -> None:
    before = sorted(folder.parent.rglob("*"))
    assert require_source(source) is None
    assert sorted(folder.parent.rglob("*")) == before


def test_demo_is_painted_once(store: ContentStore) -> None:
    first = open_source(DEMO, store).root
    files = {path: path.stat().st_mtime_ns for path in first.rglob("*.png")}
    assert len(files) > 20
    assert first.is_absolute()
    assert open_source(DEMO, store).root == first
    assert open_source("demo://transistors?seed=3&images=20", store).root == first
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*.png")} == files


def test_demo_with_missing_files_is_painted_again(store: ContentStore) -> None:
    first = open_source(DEMO, store).root
    (first / "train" / "good" / "000.png").unlink()
    assert (open_source(DEMO, store).root / "train" / "good" / "000.png").exists()


@pytest.mark.parametrize(
    ("source", "name"),
    [
        pytest.param("/data/parts", "parts", id="plain"),
        pytest.param("/data/parts/", "parts", id="slash at the end"),
        pytest.param("/data/my parts (new)", "my-parts-new", id="spaces"),
        pytest.param("file:///data/my%20parts", "my-parts", id="file address"),
        pytest.param("demo://transistors?images=20", "transistors", id="demo"),
        pytest.param("/data/.hidden", "hidden", id="hidden"),
        pytest.param("/data/größe", "gr-e", id="other letters"),
        pytest.param("/data/部品", "images", id="no letter left"),
        pytest.param("/", "images", id="root"),
        pytest.param("/data/" + "x" * 200, "x" * 64, id="long"),
        pytest.param("/data/v1.2_b", "v1.2_b", id="dots"),
    ],
)
def test_default_name(source: str, name: str) -> None:
    assert default_dataset_name(source) == name


@pytest.mark.parametrize(
    ("file", "name"),
    [
        pytest.param("parts.zip", "parts", id="archive"),
        pytest.param("parts.tar.gz", "parts", id="archive with two endings"),
        pytest.param("bolts.manifest", "bolts", id="manifest"),
        pytest.param("output.manifest", "my-parts", id="named like every other"),
        pytest.param("data.yaml", "my-parts", id="YOLO"),
    ],
)
def test_default_name_of_a_file(folder: Path, file: str, name: str) -> None:
    (folder / file).write_bytes(b"")
    assert default_dataset_name(str(folder / file)) == name


def test_images_of_an_annotation_file_may_lie_elsewhere(folder: Path, store: ContentStore) -> None:
    file, images = folder / "truth.csv", folder.parent / "images"
    file.write_bytes(b"")
    images.mkdir()
    assert open_source(str(file), store) == OpenedSource(folder.resolve(), folder.resolve(), file.resolve())
    assert open_source(str(file), store, str(images)).root == images.resolve()
    with pytest.raises(RequestError, match=r"data\.image_root .* is a file"):
        open_source(str(folder), store, str(file))


def test_archive_is_unpacked_once_and_known_by_its_content(folder: Path, store: ContentStore) -> None:
    (folder / "photos" / "good").mkdir(parents=True)
    (folder / "photos" / "good" / "1.png").write_bytes(b"x")
    archive = Path(shutil.make_archive(str(folder / "photos"), "zip", folder, "photos"))
    first = open_source(str(archive), store)
    assert first.root.name == "photos"
    assert (first.root / "good" / "1.png").read_bytes() == b"x"
    assert open_source(str(archive.rename(folder / "renamed.zip")), store) == first


def test_default_name_of_a_link_is_that_of_its_folder(folder: Path) -> None:
    assert default_dataset_name("link") == "my-parts"
    assert default_dataset_name(".") == default_dataset_name(str(folder.parent))


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=80))
def test_default_name_is_always_a_dataset_name(last: str) -> None:
    assert re.fullmatch(NAME_PATTERN, default_dataset_name(f"/data/{last}"))
