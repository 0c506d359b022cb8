import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from flows.config import DataConfig
from tasks.dataset.entries import ImageEntry, read_index
from tasks.dataset.findings import Finding, read_findings
from tasks.errors import DataError, RequestError
from tasks.ingest.demo import EXTRA_FILES
from tasks.ingest.records import IngestedImages
from tasks.ingest.task import ingest_images
from tasks.stores.home import Home
from tests.makers import paint_class_folders, paint_mvtec, paint_shape, png_bytes

SHARED = Path(__file__).resolve().parents[3] / "../shared/data/mvtec_transistor"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return paint_class_folders(tmp_path / "my parts", images_per_label=4)


def ingest(home: Home, source: Path | str, **options: object) -> IngestedImages:
    return ingest_images.fn(home, DataConfig(source=str(source), **options))  # type: ignore[arg-type]


def index_of(record: IngestedImages, name: str = "images.jsonl") -> list[ImageEntry]:
    return list(read_index(Path(record.entry_path) / name))


def findings_of(record: IngestedImages) -> list[Finding]:
    return read_findings(Path(record.entry_path) / "findings.jsonl")


def test_clean_folder(home: Home, source: Path) -> None:
    record = ingest(home, source)
    assert (record.listed, record.usable, record.invalid, record.findings) == (8, 8, 0, {})
    assert record.dataset_name == "my-parts"
    assert record.root == str(source.resolve())
    assert record.test_root == ""
    assert record.layout == "class folders"
    assert not record.reused
    entries = index_of(record)
    assert [entry.source_ref for entry in entries] == sorted(
        path.relative_to(source).as_posix() for path in source.rglob("*.png")
    )
    assert all(entry.group == "" for entry in entries)
    assert not (Path(record.entry_path) / "test_images.jsonl").exists()


def test_same_again_is_reused(home: Home, source: Path) -> None:
    first, second = ingest(home, source), ingest(home, source)
    same = {"seconds": 0.0, "reused": False}
    assert second.reused
    assert first.model_copy(update=same) == second.model_copy(update=same)


def test_another_home_makes_the_same_bytes(home: Home, source: Path, tmp_path: Path) -> None:
    (source / "round" / "bad.png").write_bytes(b"")
    one = Path(ingest(home, source).entry_path)
    other = Path(ingest(Home(tmp_path / "other", "sqlite:///x", "sqlite:///x"), source).entry_path)
    for name in ("images.jsonl", "findings.jsonl"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"min_side_pixels": 47}, id="smallest side"),
        pytest.param({"max_megapixels": 50.0}, id="most pixels"),
        pytest.param({"max_file_megabytes": 1.0}, id="largest file"),
        pytest.param({"name": "other"}, id="name"),
    ],
)
def test_other_settings_are_another_entry(home: Home, source: Path, options: dict[str, object]) -> None:
    assert ingest(home, source).key != ingest(home, source, **options).key


def test_limit_of_bad_files_is_judged_on_reuse_too(home: Home, source: Path) -> None:
    (source / "round" / "bad.png").write_bytes(b"")
    assert not ingest(home, source).reused
    assert ingest(home, source, max_invalid_fraction=0.5).reused
    with pytest.raises(DataError):
        ingest(home, source, max_invalid_fraction=0.1)


def test_changed_picture_is_checked_anew(home: Home, source: Path) -> None:
    first = ingest(home, source)
    shutil.copyfile(source / "round" / "000.png", source / "round" / "001.png")
    second = ingest(home, source)
    assert not second.reused
    assert second.content_digest != first.content_digest
    assert second.findings == {"WARNING_DUPLICATE_IMAGE": 1}
    assert (second.usable, second.invalid) == (7, 0)


def test_bad_files_below_the_limit_are_left_out(home: Home, source: Path) -> None:
    (source / "round" / "empty.png").write_bytes(b"")
    (source / "round" / "notes.txt").write_text("x")
    record = ingest(home, source)
    assert (record.listed, record.usable, record.invalid) == (9, 8, 1)
    assert record.findings == {"ERROR_EMPTY_FILE": 1, "WARNING_IGNORED_FILE": 1}
    assert {finding.source_ref: finding.code for finding in findings_of(record)} == {
        "round/empty.png": "ERROR_EMPTY_FILE",
        "round/notes.txt": "WARNING_IGNORED_FILE",
    }


def test_too_many_bad_files_stop_and_name_the_findings(home: Home, source: Path) -> None:
    for number in range(4):
        (source / "round" / f"bad{number}.png").write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        ingest(home, source)
    path = Path(caught.value.findings_path)
    assert str(path) in str(caught.value)
    assert "4 of 12" in str(caught.value)
    assert len(read_findings(path)) == 4


def test_warnings_do_not_count_as_bad(home: Home, source: Path) -> None:
    for number in range(8):
        shutil.copyfile(source / "round" / "000.png", source / "round" / f"copy{number}.png")
    assert ingest(home, source, max_invalid_fraction=0.0).findings == {"WARNING_DUPLICATE_IMAGE": 8}


def test_files_refused_by_name_count_among_all_files(home: Home, source: Path) -> None:
    for number in range(4):
        (source / os.fsdecode(b"round/\xff%d.png" % number)).write_bytes(b"x")
    record = ingest(home, source, max_invalid_fraction=0.4)
    assert (record.listed, record.usable, record.invalid) == (12, 8, 4)


def test_same_name_bad_in_both_sources_counts_twice(home: Home, source: Path, tmp_path: Path) -> None:
    test_source = paint_class_folders(tmp_path / "tested", images_per_label=2, seed=1)
    for folder in (source, test_source):
        (folder / "round" / "bad.png").write_bytes(b"")
    record = ingest(home, source, test_source=str(test_source))
    assert (record.listed, record.usable, record.invalid) == (14, 12, 2)


def test_findings_with_odd_names_can_be_read_again(home: Home, source: Path) -> None:
    (source / "round" / "line\u2028break\x85.png").write_bytes(b"")
    record = ingest(home, source)
    assert [finding.source_ref for finding in findings_of(record)] == ["round/line\u2028break\x85.png"]


def test_link_whose_name_is_no_text_is_a_finding(home: Home, source: Path) -> None:
    (source / os.fsdecode(b"round/\xff")).symlink_to("/")
    record = ingest(home, source)
    assert record.usable == 8
    assert [finding.code for finding in findings_of(record)] == ["ERROR_OUTSIDE_SOURCE"]


def test_damaged_exif_does_not_stop_the_run(home: Home, source: Path) -> None:
    (source / "round" / "exif.png").write_bytes(png_bytes(paint_shape("round", 48, (9,)), exif=b"garbage"))
    assert ingest(home, source).usable >= 8


def test_separate_test_source(home: Home, source: Path, tmp_path: Path) -> None:
    test_source = paint_class_folders(tmp_path / "tested", images_per_label=2, seed=1)
    shutil.copyfile(source / "round" / "000.png", test_source / "round" / "same.png")
    record = ingest(home, source, test_source=str(test_source))
    assert record.test_root == str(test_source.resolve())
    assert (record.listed, record.usable) == (13, 12)
    assert record.findings == {"WARNING_IMAGE_IN_TEST_SOURCE": 1}
    assert "round/000.png" not in [entry.source_ref for entry in index_of(record)]
    assert len(index_of(record, "test_images.jsonl")) == 5
    assert record.key != ingest(home, source).key


def test_test_source_that_is_the_source_leaves_nothing_to_train_on(home: Home, source: Path) -> None:
    record = ingest(home, source, test_source=str(source))
    assert index_of(record) == []
    assert len(index_of(record, "test_images.jsonl")) == 8


@pytest.mark.parametrize("field", ["source", "test_source"])
def test_missing_source_is_the_requests_fault(home: Home, source: Path, field: str) -> None:
    sources = {"source": str(source), field: "/nowhere/at/all"}
    with pytest.raises(RequestError, match="/nowhere/at/all"):
        ingest_images.fn(home, DataConfig(**sources))  # type: ignore[arg-type]


def test_source_without_images_is_one_sentence(home: Home, tmp_path: Path) -> None:
    (tmp_path / "none" / "a").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no image"):
        ingest(home, tmp_path / "none")
    assert home.store.entries_of("ingest") == []


def test_source_whose_path_is_no_text_is_the_requests_fault(
    home: Home, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = source.with_name(os.fsdecode(b"\xff"))
    source.rename(odd)
    monkeypatch.chdir(odd)
    with pytest.raises(RequestError):
        ingest(home, ".")


def test_interrupted_ingest_leaves_no_entry(home: Home, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tasks.ingest.check_shards.check_file", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ingest(home, source)
    assert home.store.entries_of("ingest") == []
    assert ingest(home, source).usable == 8


def test_mvtec_layout(home: Home, tmp_path: Path) -> None:
    record = ingest(home, paint_mvtec(tmp_path / "parts"))
    entries = index_of(record)
    assert record.layout == "MVTec"
    assert sum(bool(entry.mask_ref) for entry in entries) == 12
    assert Counter(entry.given_split for entry in entries) == {"train": 8, "test": 16}


def test_demo_set_shows_every_finding(home: Home) -> None:
    record = ingest(home, "demo://transistors?images=20&seed=7", max_invalid_fraction=0.3)
    assert record.dataset_name == "transistors"
    assert record.listed == 20 + len(EXTRA_FILES)
    assert record.findings == {
        "ERROR_EMPTY_FILE": 1,
        "ERROR_INVALID_IMAGE": 1,
        "ERROR_INVALID_IMAGE_DIMENSION": 1,
        "ERROR_TRUNCATED_IMAGE": 1,
        "WARNING_CONFLICTING_LABELS": 2,
        "WARNING_DUPLICATE_IMAGE": 1,
        "WARNING_WRONG_SUFFIX": 1,
    }
    assert record.usable == 20


@pytest.mark.skipif(not SHARED.is_dir(), reason="the MVTec transistors are not here")
def test_mvtec_transistors(home: Home) -> None:
    record = ingest(home, SHARED)
    entries = index_of(record)
    assert (record.layout, record.usable, record.invalid) == ("MVTec", 313, 0)
    counts = Counter(label for entry in entries for label in entry.truth.labels)
    assert counts == {"good": 273, "bent_lead": 10, "cut_lead": 10, "damaged_case": 10, "misplaced": 10}
    assert len({entry.mask_ref for entry in entries if entry.mask_ref}) == 40
    assert [finding for finding in findings_of(record) if finding.severity == "error"] == []
