import json
import shutil
from collections import Counter
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
from tests.makers import paint_class_folders, paint_mvtec, paint_split_folders

DEFAULT_MASKS = MaskConfig()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", "sqlite:///unused.db", "sqlite:///unused.db")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return paint_class_folders(tmp_path / "parts", images_per_label=20)


def manifest(
    home: Home, source: Path, task: str = "classification", masks: MaskConfig = DEFAULT_MASKS, **options: object
) -> Manifest:
    data = DataConfig(source=str(source), **options)  # type: ignore[arg-type]
    return build_manifest.fn(home, ingest_images.fn(home, data), data, masks, task)


def bytes_of(record: Manifest) -> dict[str, bytes]:
    return {split: record.manifest_path(split).read_bytes() for split in SPLITS}


def splits_of(record: Manifest) -> dict[str, str]:
    return {entry.sha256: split for split in SPLITS for entry in read_manifest(record.manifest_path(split))}


def test_manifests_of_a_folder(home: Home, source: Path) -> None:
    record = manifest(home, source)
    assert record.labels == ("round", "square")
    assert record.images == {
        "train": {"round": 14, "square": 14},
        "validation": {"round": 3, "square": 3},
        "test": {"round": 3, "square": 3},
    }
    assert record.roots == dict.fromkeys(SPLITS, str(source.resolve()))
    assert (record.dataset_name, record.parent_digest, record.reused) == ("parts", "", False)
    refs = [entry.source_ref for split in SPLITS for entry in read_manifest(record.manifest_path(split))]
    assert sorted(refs) == sorted(path.relative_to(source).as_posix() for path in source.rglob("*.png"))
    line = json.loads(record.manifest_path("train").read_text().splitlines()[0])
    assert (line["label"], line["label-metadata"]["class-name"]) == (0, "round")
    assert line["label-metadata"]["job-name"] == "keeneye/parts"


def test_same_again_is_the_same_version_and_reused(home: Home, source: Path) -> None:
    first, second = manifest(home, source), manifest(home, source)
    same = {"seconds": 0.0, "reused": False}
    assert second.reused
    assert second.model_copy(update=same) == first.model_copy(update=same)


def test_same_input_gives_the_same_bytes_elsewhere(home: Home, source: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(source, tmp_path / "elsewhere" / "parts"))
    other = manifest(Home(tmp_path / "other", "sqlite:///x", "sqlite:///x"), copied)
    first = manifest(home, source)
    assert bytes_of(first) == bytes_of(other)
    assert first.dataset_digest == other.dataset_digest


def test_version_does_not_descend_from_itself(home: Home, source: Path, tmp_path: Path) -> None:
    first = manifest(home, source)
    moved = source.rename(tmp_path / "moved")
    second = manifest(home, moved, name="parts")
    assert second.dataset_digest == first.dataset_digest
    assert second.parent_digest != second.dataset_digest


@pytest.mark.parametrize("scheme", ["70/15/15", "80/20"])
def test_added_images_move_none_and_each_label_keeps_its_share(home: Home, source: Path, scheme: str) -> None:
    first = manifest(home, source, split=scheme)
    paint_class_folders(source / "round", {"later": 20}, seed=5)
    paint_class_folders(source, {"ring": 10}, seed=6)
    second = manifest(home, source, split=scheme)
    before, after = splits_of(first), splits_of(second)
    assert {digest: after[digest] for digest in before} == before
    assert second.parent_digest == first.dataset_digest
    assert second.images["test"] == (
        {"ring": 2, "round": 6, "square": 3} if scheme == "70/15/15" else {"ring": 2, "round": 8, "square": 4}
    )
    assert sum(second.images["train"].values()) == (49 if scheme == "70/15/15" else 56)


def test_removed_images_return_to_their_split(home: Home, source: Path, tmp_path: Path) -> None:
    first = splits_of(manifest(home, source))
    away = tmp_path / "away"
    away.mkdir()
    for path in sorted((source / "round").glob("*.png"))[:10]:
        path.rename(away / path.name)
    without = splits_of(manifest(home, source))
    for path in away.glob("*.png"):
        path.rename(source / "round" / path.name)
    again = splits_of(manifest(home, source))
    assert len(without) == 30
    assert without == {digest: first[digest] for digest in without}
    assert again == first


def test_renamed_and_relabelled_images_keep_their_split(home: Home, source: Path) -> None:
    first = splits_of(manifest(home, source))
    (source / "round").rename(source / "circle")
    for path in sorted((source / "square").glob("*.png")):
        path.rename(path.with_name(f"new-{path.name}"))
    second = manifest(home, source)
    assert splits_of(second) == first
    assert second.labels == ("circle", "square")


def test_two_sources_in_turn_agree_on_every_shared_image(home: Home, source: Path, tmp_path: Path) -> None:
    larger = Path(shutil.copytree(source, tmp_path / "larger"))
    paint_class_folders(larger / "square", {"more": 15}, seed=9)
    known: dict[str, str] = {}
    for folder in (source, larger, source, larger, larger, source):
        splits = splits_of(manifest(home, folder, name="parts"))
        assert {digest: known.get(digest, split) for digest, split in splits.items()} == splits
        known |= splits


def test_version_made_but_never_published_does_not_move_images(
    home: Home, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A run killed between store and catalogue leaves a manifest that the lineage does not know.
    first = manifest(home, source, name="parts")
    larger = Path(shutil.copytree(source, tmp_path / "larger"))
    paint_class_folders(larger / "round", {"more": 3}, seed=9)
    largest = Path(shutil.copytree(larger, tmp_path / "largest"))
    paint_class_folders(largest / "round", {"most": 40}, seed=10)
    with monkeypatch.context() as patched:
        patched.setattr("tasks.dataset.versions.DatasetCatalogue.publish", lambda *_: None)
        manifest(home, larger, name="parts")
    known = splits_of(manifest(home, largest, name="parts"))
    assert splits_of(manifest(home, source, name="parts")) == splits_of(first)
    later = splits_of(manifest(home, larger, name="parts"))
    assert later == {digest: known[digest] for digest in later}


def test_schemes_have_lines_of_their_own(home: Home, source: Path) -> None:
    assert manifest(home, source).parent_digest == ""
    other = manifest(home, source, split="80/20")
    assert other.parent_digest == ""
    assert other.images["validation"] == {}


def test_given_splits(home: Home, tmp_path: Path) -> None:
    record = manifest(home, paint_split_folders(tmp_path / "given"), split="given")
    assert {split: sum(record.images[split].values()) for split in SPLITS} == {"train": 12, "validation": 4, "test": 4}


def test_given_without_split_folders_is_a_data_error(home: Home, source: Path) -> None:
    with pytest.raises(DataError, match="given"):
        manifest(home, source, split="given")
    assert home.catalogue.latest("parts", "given") is None


def test_separate_test_source(home: Home, source: Path, tmp_path: Path) -> None:
    tested = paint_class_folders(tmp_path / "tested", images_per_label=5, seed=3)
    record = manifest(home, source, test_source=str(tested))
    assert record.images["test"] == {"round": 5, "square": 5}
    assert sum(record.images["train"].values()) + sum(record.images["validation"].values()) == 40
    assert record.roots["test"] == str(tested.resolve())
    assert record.roots["train"] == str(source.resolve())
    for entry in read_manifest(record.manifest_path("test")):
        assert (Path(record.roots["test"]) / entry.source_ref).is_file()


def test_test_source_and_source_never_share_an_image(home: Home, source: Path, tmp_path: Path) -> None:
    tested = Path(shutil.copytree(source, tmp_path / "tested"))
    for path in sorted(tested.rglob("*.png"))[::2]:
        path.unlink()
    record = manifest(home, source, test_source=str(tested))
    counts = Counter(entry.sha256 for split in SPLITS for entry in read_manifest(record.manifest_path(split)))
    assert max(counts.values()) == 1
    assert sum(record.images["test"].values()) == 20


def test_masks_stand_in_the_manifests(home: Home, tmp_path: Path) -> None:
    record = manifest(home, paint_mvtec(tmp_path / "mvtec"))
    masks = [entry.mask_ref for split in SPLITS for entry in read_manifest(record.manifest_path(split))]
    assert sum(bool(mask) for mask in masks) == 12


def test_nothing_usable_is_one_sentence(home: Home, tmp_path: Path) -> None:
    (tmp_path / "bad" / "a").mkdir(parents=True)
    (tmp_path / "bad" / "a" / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match="no usable image is left"):
        manifest(home, tmp_path / "bad", max_invalid_fraction=1.0)


def test_version_is_in_the_catalogue(home: Home, source: Path) -> None:
    record = manifest(home, source)
    version = home.catalogue.latest("parts", "70/15/15")
    assert version is not None
    assert version.digest == record.dataset_digest
    assert version.assignments == splits_of(record)


TASKS = ("classification", "detection")
BOTH_ORDERS = pytest.mark.parametrize("tasks", [TASKS, TASKS[::-1]], ids=["classification first", "detection first"])


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    return paint_mvtec(tmp_path / "mvtec", good_train=12, good_test=6, images_per_defect=8)


@BOTH_ORDERS
def test_both_tasks_share_one_split_and_one_version(home: Home, masked: Path, tasks: tuple[str, str]) -> None:
    first, second = (manifest(home, masked, task) for task in tasks)
    assert first.dataset_digest == second.dataset_digest
    assert first.division_path == second.division_path
    assert first.manifest_digest != second.manifest_digest
    assert splits_of(first) == splits_of(second)
    assert first.totals == second.totals
    assert first.groups == second.groups == 34


@BOTH_ORDERS
def test_both_tasks_share_the_split_of_a_later_version(home: Home, masked: Path, tasks: tuple[str, str]) -> None:
    before = manifest(home, masked, tasks[0])
    paint_mvtec(masked, good_train=20, good_test=6, images_per_defect=12)
    first, second = (manifest(home, masked, task) for task in tasks)
    assert first.dataset_digest == second.dataset_digest
    assert first.parent_digest == second.parent_digest == before.dataset_digest
    assert splits_of(first) == splits_of(second)
    assert splits_of(before).items() < splits_of(first).items()


def test_version_does_not_depend_on_which_task_was_first(masked: Path, tmp_path: Path) -> None:
    one, other = (Home(tmp_path / name, "", "") for name in ("one", "other"))
    assert manifest(one, masked, "detection").dataset_digest == manifest(other, masked).dataset_digest


def test_tasks_count_what_they_hold(home: Home, masked: Path) -> None:
    named, boxed = manifest(home, masked), manifest(home, masked, "detection")
    assert (named.labels, boxed.labels) == (("cross", "good", "ring"), ("cross", "ring"))
    assert sum(sum(named.images[split].values()) for split in SPLITS) == 34
    assert {split: named.images[split]["good"] for split in SPLITS} == boxed.negatives
    assert not any(named.boxes.values())
    assert not any(named.negatives.values())
    lines = [entry for split in SPLITS for entry in read_manifest(boxed.manifest_path(split))]
    assert sum(sum(boxed.boxes[split].values()) for split in SPLITS) == sum(len(one.truth.boxes) for one in lines)
    assert sum(one.truth.boxes == () for one in lines) == sum(boxed.negatives.values()) == 18


def test_anomalies_are_tested_on_where_other_tasks_test_and_never_learned_from(home: Home, masked: Path) -> None:
    named, anomalies = manifest(home, masked), manifest(home, masked, "anomaly")
    assert anomalies.dataset_digest == named.dataset_digest
    assert anomalies.labels == ("anomaly",)
    where, everywhere = splits_of(anomalies), splits_of(named)
    assert where.items() < everywhere.items()
    good = {e.sha256 for s in SPLITS for e in read_manifest(named.manifest_path(s)) if e.truth.labels == ("good",)}
    assert {digest for digest, split in where.items() if split == "train"} < good
    assert {digest for digest in everywhere if digest not in where} == {
        digest for digest, split in everywhere.items() if split == "train" and digest not in good
    }
    for split in SPLITS:
        kinds = Counter(
            "anomaly" if e.sha256 not in good else "normal" for e in read_manifest(anomalies.manifest_path(split))
        )
        assert anomalies.images[split] == {"anomaly": kinds["anomaly"], "normal": kinds["normal"]}
    tested = list(read_manifest(anomalies.manifest_path("test")))
    assert {entry.truth.labels for entry in tested} == {(), ("anomaly",)}
    assert all(box.label == "anomaly" for entry in tested for box in entry.truth.boxes)


def test_normal_images_may_have_another_name(home: Home, source: Path) -> None:
    assert manifest(home, source, "anomaly").totals["train"] == 0
    other = manifest(home, source, "anomaly", normal_label="SQUARE")
    learned = list(read_manifest(other.manifest_path("train")))
    assert {entry.source_ref.partition("/")[0] for entry in learned} == {"square"}
    assert len(learned) == manifest(home, source).images["train"]["square"]


def test_mask_options_change_the_manifests_and_not_the_version(home: Home, masked: Path) -> None:
    plain, other = (
        manifest(home, masked, "detection", masks) for masks in (MaskConfig(), MaskConfig(min_area_pixels=2000))
    )
    assert plain.dataset_digest == other.dataset_digest
    assert plain.manifest_digest != other.manifest_digest
    assert not any(other.boxes.values())
    assert other.findings["WARNING_EMPTY_MASK"] == 16
    assert splits_of(plain) == splits_of(other)


def test_mask_options_do_not_touch_classification(home: Home, masked: Path) -> None:
    first, again = (manifest(home, masked, masks=masks) for masks in (MaskConfig(), MaskConfig(min_area_pixels=2000)))
    assert (again.reused, again.manifest_digest) == (True, first.manifest_digest)


@pytest.mark.parametrize("task", ["auto", "detection"])
def test_source_with_masks_gives_detection(home: Home, masked: Path, task: str) -> None:
    assert manifest(home, masked, task).task == "detection"


def test_source_without_boxes_gives_classification(home: Home, source: Path) -> None:
    assert manifest(home, source, "auto").manifest_digest == manifest(home, source).manifest_digest


def test_detection_without_boxes_is_one_sentence(home: Home, source: Path) -> None:
    with pytest.raises(DataError, match=r"has neither boxes nor masks \(its layout is class folders\)") as refused:
        manifest(home, source, "detection")
    assert "\n" not in refused.value.message
    assert home.catalogue.latest("parts", "70/15/15") is None


def test_defects_without_masks_are_findings_of_detection_alone(home: Home, masked: Path) -> None:
    (masked / "ground_truth" / "ring" / "000_mask.png").unlink()
    named, boxed = manifest(home, masked), manifest(home, masked, "detection")
    assert (named.findings, boxed.findings) == ({}, {"WARNING_UNANNOTATED_RECORD": 1})
    assert (sum(named.totals.values()), sum(boxed.totals.values())) == (34, 33)
    assert (named.invalid, boxed.invalid) == (0, 0)


def test_too_many_bad_masks_stop_detection_with_the_findings(home: Home, masked: Path) -> None:
    for path in (masked / "ground_truth").rglob("*.png"):
        path.write_bytes(b"no mask")
    with pytest.raises(DataError, match="16 of 34 images are bad") as refused:
        manifest(home, masked, "detection")
    assert len(Path(refused.value.findings_path).read_text().splitlines()) == 16
    assert manifest(home, masked, "detection", max_invalid_fraction=0.5).invalid == 16
    assert manifest(home, masked).invalid == 0


def test_groups_stay_together_in_all_versions_and_tasks(home: Home, tmp_path: Path) -> None:
    source = paint_mvtec(tmp_path / "series", good_train=24, good_test=12, images_per_defect=12)
    before = manifest(home, source, group_by=r"00(\d)")
    paint_mvtec(source, good_train=30, good_test=16, images_per_defect=18)
    named, boxed = (manifest(home, source, task, group_by=r"00(\d)") for task in TASKS)
    assert named.parent_digest == before.dataset_digest
    assert splits_of(before).items() < splits_of(named).items()
    assert splits_of(named) == splits_of(boxed)
    by_group: dict[str, set[str]] = {}
    for split in SPLITS:
        for entry in read_manifest(named.manifest_path(split)):
            by_group.setdefault(entry.group, set()).add(split)
    assert {f"group:{digit}" for digit in range(10)} <= set(by_group)
    assert all(len(splits) == 1 for splits in by_group.values())
    largest = json.loads(named.groups_path.read_text())
    assert len(largest) == 10
    assert all(len({Path(ref).stem for ref in refs}) == 1 for refs in largest)


def test_version_of_groups_is_not_that_without(home: Home, masked: Path) -> None:
    assert manifest(home, masked).dataset_digest != manifest(home, masked, group_by=r"00(\d)").dataset_digest


def test_bad_images_and_bad_masks_count_together(home: Home, masked: Path) -> None:
    for path in sorted((masked / "test").rglob("*.png"))[:4]:
        path.write_bytes(b"no image")
    for path in sorted((masked / "ground_truth").rglob("*.png"))[-4:]:
        path.write_bytes(b"no mask")
    assert manifest(home, masked).invalid == 0
    with pytest.raises(DataError, match="8 of 34 images are bad"):
        manifest(home, masked, "detection")


def test_nothing_for_the_task_is_one_sentence(home: Home, tmp_path: Path) -> None:
    paint_class_folders(tmp_path / "boxed", images_per_label=2)
    rows = [f"{path.relative_to(tmp_path / 'boxed').as_posix()},,,,," for path in (tmp_path / "boxed").rglob("*.png")]
    (tmp_path / "boxed" / "truth.csv").write_text("\n".join(["image,label,left,top,width,height", *rows]))
    with pytest.raises(DataError, match="says nothing for the task classification of any of its 4 images"):
        manifest(home, tmp_path / "boxed", "auto")


def test_a_home_may_be_moved(home: Home, masked: Path, tmp_path: Path) -> None:
    first = manifest(home, masked, "detection")
    moved = Home(home.root.rename(tmp_path / "moved"), home.tracking_uri, home.registry_uri)
    again = manifest(moved, masked, "detection")
    assert again.reused
    assert again.dataset_digest == first.dataset_digest
    assert again.groups_path.is_relative_to(moved.root)
    assert again.groups_path.exists()
