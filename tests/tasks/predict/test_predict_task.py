"""Folders as they come, through the prediction stages: what is told, what is found, what is done again."""

import io
import os
import shutil
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tasks.bundle.predictor import Predictor
from tasks.errors import BundleError, DataError, RequestError, SourceChanged
from tasks.predict.records import FINDINGS_FILE, PREDICTIONS_MARKER_NAME
from tasks.predict.shards import READ_AHEAD, SHARD_STAGE
from tasks.predict.tables import JSON_FILE, PARQUET_FILE
from tasks.stores.content import MARKER_NAME as ENTRY_MARKER
from tasks.stores.home import Home
from tests.makers import jpeg_bytes, png_bytes
from tests.tasks.bundle.made_detector import put_box, silent_outputs, write_detector
from tests.tasks.predict.predicting import COLOURS, fetched, lines_of, paint, pixels, run, write_colour_classifier

FILES = {JSON_FILE, PARQUET_FILE, FINDINGS_FILE, "summary.html"}
NAMES = ("a b/c d.png", "grün/é.png", "line\nbreak.png", "'quoted' \"too\".png", "日本語.png")


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home", "", "")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return fetched(write_colour_classifier(tmp_path_factory.mktemp("classifier") / "bundle"))


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector") / "bundle"
    folder.mkdir()
    outputs = silent_outputs()
    put_box(outputs, 5, 1, (0.5, 0.5, 0.5, 0.5), 0.9)
    put_box(outputs, 10, 2, (0.7, 0.3, 0.7, 0.3), 0.3)
    return fetched(write_detector(folder, outputs), "parts")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for number in range(10):
        paint(folder / f"{number:02}.png", ("red", "green", "blue", "grey")[number % 4], number)
    return folder


def header_bomb(side=60_000):
    """A PNG whose header promises more pixels than memory holds."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def table_of(written):
    return pd.read_parquet(Path(written.folder) / PARQUET_FILE)


def findings_of(written):
    return {line["source_ref"]: line["code"] for line in lines_of(Path(written.folder) / FINDINGS_FILE)}


def shard_times(home):
    return {path.name: (path / ENTRY_MARKER).stat().st_mtime_ns for path in home.store.entries_of(SHARD_STAGE)}


def files_below(folder):
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}


def test_classifier_tells_labels_that_reach_their_thresholds(home, classifier, photos, tmp_path):
    _, predicted, written = run(home, classifier, photos, tmp_path / "out")
    table = table_of(written)
    assert table.image.tolist() == [f"{number:02}.png" for number in range(10)]
    expected = ["red", "green", "blue", None] * 2 + ["red", "green"]
    assert [None if pd.isna(label) else label for label in table.label] == expected
    assert table.given.tolist() == [label is not None for label in expected]
    told = table.dropna(subset="label")
    assert told.confidence.between(60, 100).all()
    assert table[["left", "width", "left_ratio", "width_ratio"]].isna().all(axis=None)
    assert set(table.image_width) == {40}
    assert set(table.image_height) == {30}
    assert set(zip(table.model, table.version, table.bundle_digest, strict=True)) == {
        ("colours", "3", classifier.bundle_digest)
    }
    assert (predicted.images, predicted.predicted, predicted.findings) == (10, 10, {})
    assert written.predictions == {"blue": 2, "green": 3, "red": 3}
    assert written.with_predictions == 8
    assert files_below(written.folder) == {*FILES, PREDICTIONS_MARKER_NAME}


def test_answers_are_the_predictors_own(home, classifier, photos, tmp_path):
    *_, written = run(home, classifier, photos, tmp_path / "out", min_confidence=0)
    predictor = Predictor.open(Path(classifier.bundle_path))
    files = sorted(photos.iterdir())
    alone = predictor.predict_bytes([file.read_bytes() for file in files])
    expected = [
        (file.name, label, pytest.approx(100 * value, abs=1e-3), label in one.labels)
        for file, one in zip(files, alone, strict=True)
        for label, value in one.confidences.items()
    ]
    table = table_of(written)
    assert list(zip(table.image, table.label, table.confidence, table.given, strict=True)) == expected


def test_each_label_has_its_own_threshold(home, photos, tmp_path):
    thresholds = {"red": 1.0, "green": 0.6, "blue": 0.0}
    strict = fetched(write_colour_classifier(tmp_path / "bundle", thresholds=thresholds))
    *_, written = run(home, strict, photos, tmp_path / "out")
    assert written.predictions == {"blue": 10, "green": 3, "red": 0}


def test_order_is_kept_beyond_what_is_read_ahead(home, classifier, tmp_path):
    numbers = range(2 * READ_AHEAD + 5)
    for number in numbers:
        paint(tmp_path / "photos" / f"{number:03}.png", COLOURS[number % 3], number, 8, 8)
    *_, written = run(home, classifier, tmp_path / "photos", tmp_path / "out")
    table = table_of(written)
    expected = [(f"{number:03}.png", COLOURS[number % 3]) for number in numbers]
    assert list(zip(table.image, table.label, strict=True)) == expected


@pytest.mark.parametrize(
    ("min_confidence", "labels"),
    [
        pytest.param(None, ["dent"], id="thresholds"),
        pytest.param(0, ["dent", "hole"], id="all"),
        pytest.param(30.01, ["dent"], id="between"),
        pytest.param(95, [None], id="none"),
    ],
)
def test_detector_tells_boxes(home, detector, tmp_path, min_confidence, labels):
    paint(tmp_path / "photos" / "one.png", "red", width=200, height=100)
    *_, written = run(home, detector, tmp_path / "photos", tmp_path / "out", min_confidence=min_confidence)
    table = table_of(written)
    assert [None if pd.isna(label) else label for label in table.label] == labels
    if labels == [None]:
        return
    answer = Predictor.open(Path(detector.bundle_path)).predict_bytes([(tmp_path / "photos" / "one.png").read_bytes()])
    for row, box in zip(table.itertuples(), answer[0].boxes, strict=False):
        assert (row.left, row.top) == pytest.approx((box.left, box.top), abs=0.006)
        assert (row.width, row.height) == pytest.approx((box.width, box.height), abs=0.011)
        assert row.left_ratio * 200 == pytest.approx(row.left, abs=0.01)
        assert row.top_ratio * 100 == pytest.approx(row.top, abs=0.01)
        assert row.width_ratio * 200 == pytest.approx(row.width, abs=0.02)
        assert row.height_ratio * 100 == pytest.approx(row.height, abs=0.02)
        assert row.confidence == pytest.approx(100 * box.confidence, abs=1e-4)
        assert row.given == box.is_given


def test_json_lines_hold_the_same_rows(home, detector, photos, tmp_path):
    *_, written = run(home, detector, photos, tmp_path / "out", min_confidence=20)
    table = table_of(written).astype(object)
    assert lines_of(Path(written.folder) / JSON_FILE) == table.where(table.notna(), None).to_dict("records")


def test_bad_images_are_findings_and_the_others_are_predicted(home, classifier, tmp_path):
    photos, outside = tmp_path / "photos", paint(tmp_path / "outside.png", "red")
    for name in NAMES:
        paint(photos / name, "green")
    good = png_bytes(pixels("blue"))
    (photos / "bomb.png").write_bytes(header_bomb())
    (photos / "cut.png").write_bytes(good[: len(good) // 2])
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "text.jpg").write_text("no image")
    (photos / "notes.txt").write_text("no image, and not named like one")
    (photos / "large.bmp").write_bytes(bytes(1_100_000))
    (photos / "out.png").symlink_to(outside)
    (photos / "gone.png").symlink_to(photos / "nowhere.png")
    os.mkfifo(photos / "pipe.png")
    *_, predicted, written = run(
        home, classifier, photos, tmp_path / "out", images={"max_file_megabytes": 1}, shard_size=4
    )
    assert findings_of(written) == {
        "bomb.png": "ERROR_INVALID_IMAGE_DIMENSION",
        "cut.png": "ERROR_TRUNCATED_IMAGE",
        "empty.jpg": "ERROR_EMPTY_FILE",
        "text.jpg": "ERROR_INVALID_IMAGE",
        "notes.txt": "WARNING_IGNORED_FILE",
        "large.bmp": "ERROR_FILE_TOO_LARGE",
        "out.png": "ERROR_OUTSIDE_SOURCE",
        "gone.png": "ERROR_UNREADABLE_FILE",
    }
    table = table_of(written)
    assert sorted(table.image) == sorted(NAMES)
    assert set(table.label) == {"green"}
    assert (predicted.images, predicted.predicted) == (len(NAMES) + 7, len(NAMES))


def test_images_are_upright_and_of_any_depth(home, detector, classifier, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    (photos / "turned.jpg").write_bytes(jpeg_bytes(pixels("red", width=80, height=50), exif=exif))
    (photos / "wide.png").write_bytes(png_bytes(np.full((30, 44), 40_000, np.uint16)))
    (photos / "thin.png").write_bytes(png_bytes(np.zeros((3000, 1, 3), np.uint8)))
    *_, written = run(home, detector, photos, tmp_path / "out")
    sizes = table_of(written).set_index("image")[["image_width", "image_height"]].T.to_dict("list")
    assert sizes == {"turned.jpg": [50, 80], "wide.png": [44, 30], "thin.png": [1, 3000]}
    assert findings_of(written) == {}
    *_, written = run(home, classifier, photos, tmp_path / "labels")
    assert table_of(written).set_index("image").label["turned.jpg"] == "red"


def test_changed_image_redoes_its_shard_only(home, classifier, photos, tmp_path):
    _, first, before = run(home, classifier, photos, tmp_path / "out", shard_size=3)
    assert (first.shards, first.shards_reused, first.reused) == (4, 0, False)
    kept = shard_times(home)
    _, again, _ = run(home, classifier, photos, tmp_path / "out", shard_size=3)
    assert (again.shards_reused, again.reused) == (4, True)
    assert shard_times(home) == kept
    state = (photos / "05.png").stat()
    paint(photos / "05.png", "red", 99)
    os.utime(photos / "05.png", ns=(state.st_atime_ns, state.st_mtime_ns))
    _, changed, after = run(home, classifier, photos, tmp_path / "out", shard_size=3)
    assert (changed.shards, changed.shards_reused) == (4, 3)
    assert {name: time for name, time in shard_times(home).items() if name in kept} == kept
    assert len(shard_times(home)) == 5
    assert (before.predictions["red"], after.predictions["red"]) == (3, 4)


@pytest.mark.parametrize(
    ("fields", "reused"),
    [
        pytest.param({"min_confidence": 10}, 1, id="what is told"),
        pytest.param({"images": {"max_megapixels": 50}}, 0, id="what is read"),
    ],
)
def test_settings_redo_what_they_shape(home, classifier, photos, tmp_path, fields, reused):
    run(home, classifier, photos, tmp_path / "out")
    assert run(home, classifier, photos, tmp_path / "out", **fields)[1].shards_reused == reused


def test_other_model_redoes_all(home, classifier, photos, tmp_path):
    run(home, classifier, photos, tmp_path / "out")
    other = fetched(write_colour_classifier(tmp_path / "other", sharpness=8.0))
    assert run(home, other, photos, tmp_path / "out")[1].shards_reused == 0


@pytest.mark.parametrize("shard_size", [1, 7, 100])
def test_equal_inputs_give_equal_bytes(home, detector, photos, tmp_path, shard_size):
    *_, first = run(home, detector, photos, tmp_path / "one", min_confidence=1, manifest=True, overlays="all")
    other = Home(tmp_path / "other-home", "", "")
    *_, second = run(
        other,
        detector,
        photos,
        tmp_path / "two",
        min_confidence=1,
        manifest=True,
        overlays="all",
        shard_size=shard_size,
    )
    assert first.files == second.files
    for name in first.files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_archive_is_predicted_like_its_folder(home, classifier, photos, tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for file in photos.iterdir():
            archive.write(file, f"deep/{file.name}")
    *_, unpacked = run(home, classifier, tmp_path / "photos.zip", tmp_path / "one")
    *_, plain = run(home, classifier, photos, tmp_path / "two")
    columns = ["label", "confidence"]
    assert table_of(unpacked)[columns].equals(table_of(plain)[columns])
    assert table_of(unpacked).image.tolist() == [f"deep/{name}" for name in table_of(plain).image]


def test_archive_writes_nothing_outside(home, classifier, photos, tmp_path):
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        archive.add(photos / "00.png", "00.png")
        data = (photos / "01.png").read_bytes()
        member = tarfile.TarInfo("../../escaped.png")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    *_, written = run(home, classifier, tmp_path / "photos.tar", tmp_path / "out")
    assert set(findings_of(written).values()) == {"ERROR_OUTSIDE_SOURCE"}
    assert table_of(written).image.tolist() == ["00.png"]
    assert not list(tmp_path.rglob("escaped.png"))


@pytest.mark.parametrize("content", ["nothing", "a text"])
def test_source_without_images_is_refused(home, classifier, tmp_path, content):
    (tmp_path / "photos").mkdir()
    if content == "a text":
        (tmp_path / "photos" / "a.txt").write_text("x")
    with pytest.raises(DataError, match="holds no image"):
        run(home, classifier, tmp_path / "photos", tmp_path / "out")


def test_nothing_usable_is_refused_with_the_findings(home, classifier, tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.jpg"):
        (tmp_path / "photos" / name).write_bytes(b"nothing")
    with pytest.raises(DataError, match="none of 2 images can be used") as refused:
        run(home, classifier, tmp_path / "photos", tmp_path / "out")
    assert [line["source_ref"] for line in lines_of(Path(refused.value.findings_path))] == ["a.png", "b.jpg"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("fraction", "passes"), [(0.1, False), (0.2, True)])
def test_limit_of_bad_images(home, classifier, photos, tmp_path, fraction, passes):
    for name in ("00.png", "01.png"):
        (photos / name).write_bytes(b"nothing")
    fields = {"images": {"max_invalid_fraction": fraction}}
    if passes:
        assert run(home, classifier, photos, tmp_path / "out", **fields)[1].predicted == 8
        return
    with pytest.raises(DataError, match=r"2 of 10 images are bad \(20%\), more than the 10%"):
        run(home, classifier, photos, tmp_path / "out", **fields)


def test_damaged_bundle_is_refused(home, photos, tmp_path):
    model = fetched(write_colour_classifier(tmp_path / "bundle"))
    shutil.copyfile(tmp_path / "bundle" / "backbone.onnx", tmp_path / "bundle" / "head.onnx")
    with pytest.raises(BundleError, match="does not have the digest"):
        run(home, model, photos, tmp_path / "out")


def test_output_within_the_source_is_refused(home, classifier, photos):
    with pytest.raises(RequestError, match="where images are read"):
        run(home, classifier, photos, photos / "out")


def test_file_that_changes_while_it_is_read_ends_the_run(home, classifier, photos, tmp_path, monkeypatch):
    import tasks.predict.shards as shards

    opened = shards._open

    def change_and_open(*args):
        paint(photos / "05.png", "red", 77)
        return opened(*args)

    monkeypatch.setattr(shards, "_open", change_and_open)
    with pytest.raises(SourceChanged, match=r"05\.png changed while it was read"):
        run(home, classifier, photos, tmp_path / "out")
    assert not home.store.entries_of(shards.SHARD_STAGE)
    monkeypatch.undo()
    assert run(home, classifier, photos, tmp_path / "out")[1].predicted == 10


def test_overlays(home, detector, classifier, photos, tmp_path):
    *_, drawn = run(home, detector, photos, tmp_path / "boxes", overlays="found", max_overlays=3)
    names = [name for name in drawn.files if name.startswith("overlays/")]
    assert names == [f"overlays/00000{number}-0{number - 1}.jpg" for number in (1, 2, 3)]
    with Image.open(tmp_path / "boxes" / names[0]) as picture:
        assert picture.size == (40, 30)
        changed = np.abs(np.asarray(picture).astype(int) - pixels("red", 0)).max(axis=2) > 90
    assert 0.01 < changed.mean() < 0.9
    *_, drawn = run(home, classifier, photos, tmp_path / "labels", overlays="found")
    assert len([name for name in drawn.files if name.startswith("overlays/")]) == 8
    *_, drawn = run(home, classifier, photos, tmp_path / "labels", overlays="all")
    assert len([name for name in drawn.files if name.startswith("overlays/")]) == 10
    *_, drawn = run(home, classifier, photos, tmp_path / "labels")
    assert files_below(tmp_path / "labels") == {*FILES, PREDICTIONS_MARKER_NAME}
