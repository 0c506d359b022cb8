"""From a registered version back to its manifests, images and training; a sentence for what is missing."""

import json
import shutil
from pathlib import Path

import pytest

from tasks.bundle.format import bundle_digest
from tasks.bundle_export.lineage import find_again, find_source
from tasks.dataset.files import is_unchanged
from tasks.errors import DataError, RegistryError
from tasks.ground_truth.manifests import read_manifest
from tasks.stores.home import Home
from tasks.stores.s3_cache import ObjectCache
from tasks.stores.s3_objects import ObjectPlace, list_objects, remove_object, send_object
from tasks.stores.s3_requests import transfer_client
from tasks.tracking.registry import Registry
from tests.tasks.bundle_export.conftest import NAME


def test_finds_what_the_version_was_made_of(exportable, source):
    assert (source.model_name, source.model_version, source.model_uri) == (NAME, "1", f"models:/{NAME}/1")
    assert source.bundle_digest == exportable.model.bundle_digest
    assert source.manifest.manifest_digest == exportable.manifest.manifest_digest
    assert source.manifest.roots == exportable.manifest.roots
    assert source.manifest.manifest_path("test").read_bytes() == exportable.manifest.manifest_path("test").read_bytes()
    assert source.model.cross_validated == exportable.model.cross_validated
    assert source.model.key == exportable.model.key


@pytest.mark.parametrize("scheme", ["", "models:/"], ids=["bare", "with scheme"])
@pytest.mark.parametrize("qualifier", ["/1", "@trial"], ids=["number", "alias"])
def test_any_address_of_the_version(exportable, source, scheme, qualifier):
    registry = Registry(exportable.home)
    registry.set_alias(registry.version(NAME, "1"), "trial")
    found = find_source(exportable.home, f"{scheme}{NAME}{qualifier}")
    assert found.bundle_digest == source.bundle_digest
    assert found.model_version == "1"


@pytest.mark.parametrize("address", [f"{NAME}@nobody", f"{NAME}/99", "nobody/1"])
def test_unknown_version_is_refused(exportable, source, address):
    with pytest.raises(RegistryError):
        find_source(exportable.home, address)


def test_version_trained_elsewhere_is_refused(exportable, source, tmp_path):
    here = Home(tmp_path / "home", exportable.home.tracking_uri, exportable.home.registry_uri)
    with pytest.raises(DataError, match="trained elsewhere: its manifests") as caught:
        find_source(here, f"{NAME}/1")
    assert str(here.store.root) in caught.value.message


@pytest.fixture
def copied(exportable, source, tmp_path):
    """A home of its own whose records can be changed; versions and artifacts are those of the shared one."""
    shutil.copytree(exportable.home.root / "store", tmp_path / "home" / "store")
    return Home(tmp_path / "home", exportable.home.tracking_uri, exportable.home.registry_uri)


def rewrite(home, stage, old, new):
    assert len(old) == len(new), "the store's marker tells sizes"
    for path in home.store.root.glob(f"entries/{stage}/*/record.json"):
        path.write_text(path.read_text().replace(old, new))


def test_training_elsewhere_is_refused(copied):
    shutil.rmtree(copied.store.root / "entries" / "train")
    with pytest.raises(DataError, match="trained elsewhere: its training"):
        find_source(copied, f"{NAME}/1")


def fetched_from_a_store(home, source, bucket):
    """Let the home's manifests name a folder fetched from an object store, where the images of a source are now."""
    place, client = ObjectPlace(bucket, "lineage/"), transfer_client()
    for path in filter(Path.is_file, source.rglob("*")):
        send_object(client, place.below(path.relative_to(source).as_posix()), path)
    objects = {one.key.removeprefix(place.key): one for one in list_objects(client, place)}
    folder = ObjectCache.of(home.store, client).folder(place, objects).path
    for entry in (home.store.root / "entries" / "manifest").iterdir():
        text = (entry / "record.json").read_text().replace(str(source), str(folder))
        (entry / "record.json").write_text(text)
        sizes = json.loads((entry / "_complete.json").read_text()) | {"record.json": len(text.encode())}
        (entry / "_complete.json").write_text(json.dumps(sizes))
    return folder


def test_images_that_were_let_go_are_fetched_again(copied, exportable, in_object_store):
    folder = fetched_from_a_store(copied, exportable.source, in_object_store.bucket)
    shutil.rmtree(folder)
    told = []
    found = find_source(copied, f"{NAME}/1", lambda *counts: told.append(counts))
    assert found.manifest.roots["test"] == str(folder)
    used = [entry for split in ("train", "test") for entry in read_manifest(found.manifest.manifest_path(split))]
    assert all(is_unchanged(folder, entry) for entry in used)
    assert len(told) == len(used)
    client, gone = transfer_client(), used[-1].source_ref
    remove_object(client, ObjectPlace(in_object_store.bucket, f"lineage/{gone}"))
    shutil.rmtree(folder)
    shutil.rmtree(folder.parent.parent / "objects")
    with pytest.raises(DataError, match=r"is missing; put them back, or run the same `keeneye train` again") as caught:
        find_source(copied, f"{NAME}/1")
    assert gone in caught.value.message


def test_way_back_waits_for_no_object_store(copied, exportable, in_object_store, monkeypatch):
    folder = fetched_from_a_store(copied, exportable.source, in_object_store.bucket)
    shutil.rmtree(folder)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    assert find_again(copied, f"{NAME}/1").manifest.roots["test"] == str(folder)
    assert not folder.exists()


def test_images_that_are_gone_are_named(copied, exportable):
    gone = "/" + "x" * (len(str(exportable.source)) - 1)
    rewrite(copied, "manifest", str(exportable.source), gone)
    with pytest.raises(DataError, match=r"are not where they were.* run the same `keeneye train` again") as caught:
        find_source(copied, f"{NAME}/1")
    assert gone in caught.value.message


def test_records_of_another_keeneye_are_passed_over(copied):
    strange = copied.store.root / "entries" / "manifest" / "strange"
    strange.mkdir()
    (strange / "record.json").write_text('{"schema_version": 0}')
    (strange / "_complete.json").write_text("{}")
    assert find_source(copied, f"{NAME}/1").model_version == "1"


def test_version_that_was_in_use_is_found_with_its_evidence(exportable, source):
    found = find_again(exportable.home, f"{NAME}/1")
    assert source.model_dump() | found.model_dump() == source.model_dump()
    assert Path(found.predictions_path).is_file()


@pytest.mark.parametrize(
    ("gone", "has_manifest", "has_predictions"),
    [
        pytest.param("images", True, True, id="images"),
        pytest.param("train", True, True, id="training"),
        pytest.param("evaluate", True, False, id="evaluation"),
        pytest.param("manifest", False, True, id="manifests"),
    ],
)
def test_version_that_was_in_use_is_found_without_what_is_gone(copied, exportable, gone, has_manifest, has_predictions):
    if gone == "images":
        rewrite(copied, "manifest", str(exportable.source), "/" + "x" * (len(str(exportable.source)) - 1))
    else:
        shutil.rmtree(copied.store.root / "entries" / gone)
    found = find_again(copied, f"{NAME}/1")
    assert (found.manifest is not None, bool(found.predictions_path)) == (has_manifest, has_predictions)
    assert bundle_digest(Path(found.bundle_path)) == found.bundle_digest


def test_damaged_kept_bundle_is_fetched_anew(exportable, source, tmp_path):
    here = Home(tmp_path / "home", exportable.home.tracking_uri, exportable.home.registry_uri)
    kept = here.bundles_path / source.bundle_digest
    shutil.copytree(exportable.model.bundle_path, kept)
    (kept / "head.onnx").write_bytes(b"else")
    with pytest.raises(DataError, match="was trained elsewhere"):  # of the manifests: the bundle is whole again
        find_source(here, f"{NAME}/1")
    assert bundle_digest(kept) == source.bundle_digest
    assert (kept / "head.onnx").read_bytes() != b"else"
