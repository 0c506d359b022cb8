"""What is exported is a source again: the same boxes, labels, negatives and splits."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from tasks.dataset.entries import SPLITS, ImageEntry
from tasks.errors import RequestError
from tasks.ground_truth.manifests import read_manifest
from tasks.manifest.records import Manifest
from tasks.stores.home import Home
from tests.homes import home_at
from tests.makers import paint_mvtec, paint_shape, save
from tests.tasks.export.exporting import Exported, build, export, lines_of

FORMATS = ("ground-truth", "coco", "yolo", "voc", "csv")
REFERRING = {"ground-truth", "coco", "csv"}
"""Formats whose files refer to images in the source's folder; the others hold copies."""
BOXES = {
    "a.png": [("bent", 0, 0, 1, 1), ("bent", 4, 5, 60, 43), ("cut", 10, 10, 7, 9)],
    "b.png": [("cut", 63, 47, 1, 1)],
    "deep/c.png": [("bent", 4, 5, 13, 11), ("bent", 4, 5, 13, 11)],
    "deep/er/d.png": [],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return home_at(tmp_path_factory.mktemp("home") / "home")


@pytest.fixture(scope="module")
def other_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return home_at(tmp_path_factory.mktemp("other") / "home")


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint_mvtec(tmp_path_factory.mktemp("masked") / "parts", images_per_defect=5)


@pytest.fixture(scope="module")
def boxed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images with several boxes each, of sizes that fractions do not hit, in folders; a quarter has none."""
    root = tmp_path_factory.mktemp("boxed") / "photos"
    rows = ["image,label,left,top,width,height,group"]
    for copy in range(5):
        for place, (ref, boxes) in enumerate(BOXES.items()):
            name = f"{copy}/{ref}"
            save(root / name, paint_shape("ring", 64, (copy, place))[:48])
            rows += [f"{name},{','.join(map(str, box))},lot {place}" for box in boxes or [("", "", "", "", "")]]
    (root / "boxes.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(params=["masked", "boxed"])
def source(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def photograph(root: Path, count: int, seed: int, *, doubled: bool = False) -> Path:
    """Write x/0.png and so on with a box each, and a table; `doubled` adds a paler copy of the first."""
    rows = ["image,label,left,top,width,height"]
    for number in range(count):
        save(root / f"x/{number}.png", paint_shape("ring", 64, (seed, number))[:48])
        rows.append(f"x/{number}.png,{'bent' if number % 2 else 'cut'},{number},{seed},20,30")
    if doubled:
        save(root / "y/0.png", paint_shape("ring", 64, (seed, 0))[:48].clip(25, 240))
        rows.append(f"y/0.png,cut,0,{seed},20,30")
    (root / "boxes.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="module")
def two_sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A source and a test source whose images have the same relative names."""
    root = tmp_path_factory.mktemp("two")
    return photograph(root / "photos", 10, seed=7), photograph(root / "other", 4, seed=8)


def again(home: Home, exported: Exported, source: Path, name: str, task: str = "auto", **data: object) -> Manifest:
    """Build a dataset of what was exported, with the splits that it names."""
    image_root = str(source) if exported.record.format in REFERRING else ""
    data = {"source": exported.record.folder, "image_root": image_root, "split": "given", "name": name, **data}
    return build(home, data, task)


def again_beside_images(home: Home, exported: Exported, sources: tuple[Path, Path], place: Path) -> Manifest:
    """Likewise of two sources, which no one image_root holds: the files of each are put beside copies of its images."""
    for source, splits in zip(sources, (("train", "validation"), ("test",)), strict=True):
        shutil.copytree(source / "x", place / source.name / "x")
        for path in (path for split in splits for path in exported.folder.rglob(f"{split}.*")):
            shutil.copy(path, place / source.name)
    source, test_source = (str(place / source.name) for source in sources)
    return build(home, {"source": source, "test_source": test_source, "split": "given", "name": place.parent.name})


def known(divided: dict[str, list[ImageEntry]]) -> dict[tuple[str, str], tuple]:
    """What is known of each image."""
    return {
        (split, entry.sha256): (entry.truth, entry.width, entry.height)
        for split, entries in divided.items()
        for entry in entries
    }


def read(record: Manifest) -> dict[str, list[ImageEntry]]:
    return {split: list(read_manifest(record.manifest_path(split))) for split in SPLITS}


@pytest.mark.parametrize("format_name", FORMATS)
def test_export_is_a_source_of_the_same(home: Home, source: Path, tmp_path: Path, format_name: str) -> None:
    exported = export(home, source, tmp_path / "out", format=format_name)
    record = again(home, exported, source, f"{source.name}-{format_name}")
    assert known(read(record)) == known(exported.divided)
    assert record.labels == exported.manifest.labels
    assert (record.boxes, record.negatives) == (exported.manifest.boxes, exported.manifest.negatives)
    assert sum(record.negatives.values()) in (12, 5)
    assert record.task == "detection"


@pytest.mark.parametrize("format_name", ["ground-truth", "csv"])
def test_labels_of_whole_images_too(home: Home, masked: Path, tmp_path: Path, format_name: str) -> None:
    exported = export(home, masked, tmp_path / "out", format=format_name, task="classification")
    record = again(home, exported, masked, f"labels-{format_name}", "classification")
    assert known(read(record)) == known(exported.divided)
    assert record.images == exported.manifest.images


@pytest.mark.parametrize("format_name", ["ground-truth", "csv"])
def test_groups_where_the_format_has_room(home: Home, boxed: Path, tmp_path: Path, format_name: str) -> None:
    exported = export(home, boxed, tmp_path / "out", format=format_name, data={"group_by": "group", "name": "lots"})
    record = again(home, exported, boxed, f"lots-{format_name}")
    groups = {entry.sha256: entry.group for entries in read(record).values() for entry in entries}
    assert groups == {digest: entry.group for digest, entry in exported.entries.items()}
    assert set(groups.values()) == {f"group:lot {place}" for place in range(4)}


@pytest.mark.parametrize("format_name", ["ground-truth", "csv"])
def test_groups_of_near_duplicates_too(home: Home, tmp_path: Path, format_name: str) -> None:
    photos = photograph(tmp_path / "photos", 10, seed=9, doubled=True)
    exported = export(home, photos, tmp_path / "out", format=format_name, data={"name": f"near-{format_name}"})
    groups = {digest: entry.group for digest, entry in exported.entries.items()}
    assert (len(groups), len(set(groups.values()))) == (11, 10)
    record = again(home, exported, photos, f"near-{format_name}-again", near_duplicates=False)
    assert {entry.sha256: entry.group for entries in read(record).values() for entry in entries} == groups


@pytest.mark.parametrize("format_name", sorted({*FORMATS} - {"csv"}))
def test_test_source_of_the_same_names(
    home: Home, two_sources: tuple[Path, Path], tmp_path: Path, format_name: str
) -> None:
    source, test_source = two_sources
    data = {"test_source": str(test_source), "name": f"two-{format_name}"}
    exported = export(home, source, tmp_path / "out", format=format_name, data=data)
    assert {split: len(entries) for split, entries in exported.divided.items()} == {
        "train": 8, "validation": 2, "test": 4,
    }  # fmt: skip
    if format_name in REFERRING:
        record = again_beside_images(home, exported, two_sources, tmp_path / "again")
    else:
        record = again(home, exported, source, f"two-{format_name}-again")
    assert known(read(record)) == known(exported.divided)


def test_test_source_of_the_same_names_does_not_fit_a_table(
    home: Home, two_sources: tuple[Path, Path], tmp_path: Path
) -> None:
    source, test_source = two_sources
    data = {"test_source": str(test_source), "name": "two-csv"}
    with pytest.raises(RequestError, match=r"source and test source both have x/\d\.png, and a table cannot"):
        export(home, source, tmp_path / "out", format="csv", data=data)
    assert not list((tmp_path / "out").rglob("*"))


def test_masks_and_dates_stay_in_ground_truth(home: Home, masked: Path, tmp_path: Path) -> None:
    exported = export(home, masked, tmp_path / "out")
    returned = {
        entry.sha256: entry for entries in read(again(home, exported, masked, "masks")).values() for entry in entries
    }
    assert {(entry.mask_ref, entry.mask_sha256, entry.mask_classes) for entry in returned.values()} == {
        (entry.mask_ref, entry.mask_sha256, entry.mask_classes) for entry in exported.entries.values()
    }
    assert {entry.creation_date for entry in returned.values()} == {""}


@pytest.mark.parametrize("format_name", FORMATS)
def test_twice_is_byte_for_byte_the_same(
    home: Home, other_home: Home, masked: Path, tmp_path: Path, format_name: str
) -> None:
    contents = []
    for name, each in (("one", home), ("other", other_home)):
        exported = export(each, masked, tmp_path / name, format=format_name)
        files = [ref for ref in exported.record.files if not ref.endswith(".html")]
        contents.append({ref: (exported.folder / ref).read_bytes() for ref in files})
    assert contents[0] == contents[1]


LOSSES = {
    "ground-truth": Counter(),
    "coco": Counter({"lose their mask": 10}),
    "yolo": Counter({"lose their mask": 10}),
    "voc": Counter({"lose their mask": 10}),
    "csv": Counter({"lose their mask": 10}),
}


@pytest.mark.parametrize("format_name", FORMATS)
def test_what_the_format_cannot_hold_is_told(home: Home, masked: Path, tmp_path: Path, format_name: str) -> None:
    exported = export(home, masked, tmp_path / "out", format=format_name)
    assert losses_of(exported) == LOSSES[format_name]


def losses_of(exported: Exported) -> Counter[str]:
    """What is lost, to the number of images."""
    losses: Counter[str] = Counter()
    for finding in exported.findings:
        if finding.code == "WARNING_NOT_IN_FORMAT":
            count, _, rest = finding.message.partition(" images ")
            losses[rest.partition(":")[0]] += int(count)
    return losses


@pytest.mark.parametrize(
    ("format_name", "lost"),
    [
        pytest.param("ground-truth", set(), id="ground-truth"),
        pytest.param(
            "coco", {"lose the name of their labelling job", "lose the note that no person confirmed them"}, id="coco"
        ),
        pytest.param(
            "csv",
            {
                "lose the name of their labelling job",
                "lose the note that no person confirmed them",
                "lose the date of their annotation",
            },
            id="csv",
        ),
    ],
)
def test_jobs_and_dates_of_the_source_are_kept_or_told(
    home: Home, masked: Path, tmp_path: Path, format_name: str, lost: set[str]
) -> None:
    first = export(home, masked, tmp_path / "first", data={"name": "first"})
    dated = tmp_path / "dated"
    dated.mkdir()
    for split in SPLITS:
        text = (first.folder / f"{split}.manifest").read_text()
        text = text.replace("keeneye/first", "labeling-job/x").replace(
            '"human-annotated":"yes"', '"human-annotated":"no"'
        )
        (dated / f"{split}.manifest").write_text(text.replace("1970-01-01T00:00:00.000000", "2020-02-03T04:05:06Z"))
    data = {"image_root": str(masked), "split": "given", "name": "dated"}
    exported = export(home, dated, tmp_path / "out", data=data, format=format_name)
    assert set(losses_of(exported)) - {"lose their mask"} == lost
    if format_name == "ground-truth":
        about = lines_of(exported.folder / "train.manifest")[0]["boxes-metadata"]
        assert (about["job-name"], about["human-annotated"]) == ("labeling-job/x", "no")
        assert about["creation-date"] == "2020-02-03T04:05:06.000000"
        returned = read(again(home, exported, masked, "dated-again"))
        assert {entry.job_name for entries in returned.values() for entry in entries} == {"labeling-job/x"}


@pytest.mark.parametrize("format_name", ["coco", "yolo", "voc"])
def test_formats_of_boxes_refuse_labels_of_whole_images(
    home: Home, masked: Path, tmp_path: Path, format_name: str
) -> None:
    with pytest.raises(RequestError, match=f"the format {format_name} holds boxes") as refused:
        export(home, masked, tmp_path / "out", format=format_name, task="classification")
    assert "\n" not in refused.value.message
    assert not (tmp_path / "out").exists()


def test_80_20_leaves_an_empty_split(home: Home, masked: Path, tmp_path: Path) -> None:
    for format_name in FORMATS:
        exported = export(home, masked, tmp_path / format_name, format=format_name, data={"split": "80/20"})
        record = again(home, exported, masked, f"two-splits-{format_name}")
        assert known(read(record)) == known(exported.divided)
        assert record.totals["validation"] == 0


def test_copies_are_no_links(home: Home, masked: Path, tmp_path: Path) -> None:
    exported = export(home, masked, tmp_path / "out", format="yolo")
    copies = [exported.folder / ref for ref in exported.record.files if ref.startswith("images/")]
    assert len(copies) == 22
    assert not any(path.is_symlink() or path.stat().st_nlink > 1 for path in copies)


@pytest.mark.parametrize("place", ["", "out", "train/out"])
def test_output_inside_the_source_is_refused(home: Home, tmp_path: Path, place: str) -> None:
    source = paint_mvtec(tmp_path / "parts", images_per_defect=3)
    before = sorted(source.rglob("*"))
    with pytest.raises(RequestError, match="where images are read; name a folder elsewhere"):
        export(home, source, source / place, data={"name": "inside"})
    assert sorted(source.rglob("*")) == before


def test_one_mlflow_run_for_all_formats(home: Home, masked: Path, tmp_path: Path) -> None:
    runs = {export(home, masked, tmp_path / name, format=name).record.mlflow_run_id for name in ("ground-truth", "csv")}
    assert len(runs) == 1
