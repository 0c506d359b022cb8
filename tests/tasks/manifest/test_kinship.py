"""Two folders of one name are two datasets; two runs at once follow each other."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows.config import DataConfig, MaskConfig
from tasks.dataset.entries import SPLITS
from tasks.errors import DataError
from tasks.ground_truth.manifests import read_manifest
from tasks.ingest.task import ingest_images
from tasks.manifest.records import Manifest
from tasks.manifest.task import build_manifest
from tasks.stores.home import Home
from tests.makers import paint_class_folders

LABELS = ("round", "square")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", "", "")


def build(home: Home, source: Path) -> Manifest:
    data = DataConfig(source=str(source))
    return build_manifest.fn(home, ingest_images.fn(home, data), data, MaskConfig(), "classification")


def splits_of(record: Manifest) -> dict[str, str]:
    return {entry.sha256: split for split in SPLITS for entry in read_manifest(record.manifest_path(split))}


def test_other_pictures_under_the_same_name_are_refused(home: Home, tmp_path: Path) -> None:
    build(home, paint_class_folders(tmp_path / "line1" / "images", LABELS, 8, seed=1))
    with pytest.raises(DataError, match="of its own"):
        build(home, paint_class_folders(tmp_path / "line2" / "images", LABELS, 8, seed=2))


def test_more_pictures_of_the_same_kind_are_a_new_version(home: Home, tmp_path: Path) -> None:
    first = build(home, paint_class_folders(tmp_path / "images", LABELS, 8, seed=1))
    second = build(home, paint_class_folders(tmp_path / "images", LABELS, 12, seed=1))
    assert second.parent_digest == first.dataset_digest
    assert splits_of(first).items() <= splits_of(second).items()


def test_two_versions_at_once_know_of_each_other(home: Home, tmp_path: Path) -> None:
    build(home, paint_class_folders(tmp_path / "0" / "images", LABELS, 8, seed=1))
    larger = [paint_class_folders(tmp_path / str(count) / "images", LABELS, count, seed=1) for count in (12, 20)]
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda source: build(home, source), larger)
    both = splits_of(one).keys() & splits_of(other).keys()
    assert len(both) == 24
    assert all(splits_of(one)[image] == splits_of(other)[image] for image in both)
