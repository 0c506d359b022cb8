"""Machine labels as Ground Truth lines: read back by Keeneye, accepted by the managed service's rules, trained on."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.config import DataConfig, MaskConfig, TrainConfig
from tasks.dataset.entries import read_index
from tasks.ground_truth.lines import parse_line
from tasks.ingest.records import IMAGES_FILE
from tasks.ingest.task import ingest_images
from tasks.manifest.task import build_manifest
from tasks.predict.answers import ImageAnswer, all_told, choose_told
from tasks.predict.machine_labels import MANIFEST_FILE, machine_line
from tasks.predict.records import FetchedModel
from tasks.stores.home import Home
from tasks.train.task import train_model
from tasks.vision.boxes import DetectedBox
from tests.tasks.conftest import QUICK
from tests.tasks.predict.predicting import COLOURS, fetched, lines_of, paint, run, write_colour_classifier

MODEL = FetchedModel(
    model_name="parts",
    model_version="7",
    model_uri="models:/parts/7",
    bundle_digest="b" * 64,
    bundle_path="",
    task="detection",
    labels=("hole", "cut"),
    thresholds={"hole": 0.5, "cut": 0.5},
)


def answer_with(*boxes, width=200, height=100):
    return ImageAnswer("a/1.png", "c" * 64, width, height, {}, (), boxes)


def read(answer, mode="open", reference="s3://bucket/a/1.png"):
    return parse_line(machine_line(answer, all_told(answer), MODEL, reference).encode(), mode)


@pytest.mark.parametrize("mode", ["open", "aws"])
def test_boxes_are_read_back(mode):
    answer = answer_with(
        DetectedBox("cut", 10.4, 20.6, 30.2, 40.0, 0.91234567, True),
        DetectedBox("hole", 150.0, 60.0, 50.0, 40.0, 0.625, True),
    )
    line = read(answer, mode)
    assert (line.status, line.problems) == ("valid", ())
    assert [(box.label, box.left, box.top, box.width, box.height, box.confidence) for box in line.boxes] == [
        ("cut", 10, 21, 31, 40, 0.912346),
        ("hole", 150, 60, 50, 40, 0.625),
    ]
    assert (line.stated_width, line.stated_height) == (200, 100)
    assert line.is_human is False
    assert line.job_name == "keeneye/parts/7"
    metadata = line.value["boxes-metadata"]
    assert metadata["type"] == "groundtruth/object-detection"
    assert metadata["human-annotated"] == "no"
    assert metadata["class-map"] == {"0": "hole", "1": "cut"}
    assert metadata["objects"] == [{"confidence": 0.912346}, {"confidence": 0.625}]


def test_image_without_boxes_is_a_machines_true_negative():
    line = read(answer_with())
    assert (line.status, line.boxes, line.is_human) == ("valid", (), False)


@pytest.mark.parametrize(("given", "labels"), [((), ()), (("cut",), ("cut",)), (("cut", "hole"), ("cut", "hole"))])
def test_any_number_of_labels_is_read_back(given, labels):
    model = MODEL.model_copy(update={"task": "classification", "is_multi_label": True})
    answer = ImageAnswer("a/1.png", "c" * 64, 200, 100, {"cut": 0.9, "hole": 0.7}, given)
    line = parse_line(machine_line(answer, choose_told(answer, None), model, "a/1.png").encode(), "open")
    assert (line.status, line.labels, line.boxes, line.is_human) == ("valid", labels, None, False)


def test_image_of_no_label_waits_for_one_where_each_has_one():
    model = MODEL.model_copy(update={"task": "classification"})
    assert machine_line(answer_with(), [], model, "ü.png") == '{"source-ref":"ü.png"}'


@pytest.mark.parametrize(
    ("left", "width", "expected"),
    [
        pytest.param(199.7, 0.3, (199, 1), id="thin, at the right edge"),
        pytest.param(10.2, 0.2, (10, 1), id="thin, within"),
        pytest.param(10.6, 20.8, (11, 20), id="edges rounded, not sizes"),
    ],
)
def test_boxes_in_whole_pixels(left, width, expected):
    (whole,) = read(answer_with(DetectedBox("cut", left, 5.0, width, 9.0, 0.7, True))).boxes
    assert (whole.left, whole.width) == expected


edges = st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))


@settings(max_examples=50, deadline=None)
@given(edges, st.integers(1, 300), st.integers(1, 300))
def test_whole_boxes_lie_within_the_image(shares, width, height):
    (left, right), (top, bottom) = sorted(shares[:2]), sorted(shares[2:])
    box = DetectedBox("cut", left * width, top * height, (right - left) * width, (bottom - top) * height, 0.7, True)
    (whole,) = read(answer_with(box, width=width, height=height)).boxes
    assert min(whole.left, whole.top) >= 0
    assert min(whole.width, whole.height) >= 1
    assert whole.left + whole.width <= width
    assert whole.top + whole.height <= height
    # Half a pixel of rounding, and one more where a box is thinner than a pixel.
    assert abs(whole.left - box.left) <= 1
    assert abs(whole.left + whole.width - box.right) <= 1.5


@pytest.fixture(scope="module")
def labelled(tmp_path_factory, exported_home):
    """Pictures of three colours and grey, with the manifest of a classifier, in a home that can train."""
    folder = tmp_path_factory.mktemp("labelled")
    model = fetched(write_colour_classifier(folder / "bundle"))
    for place, colour in enumerate((*COLOURS, "grey")):
        for number in range(10 if colour in COLOURS else 2):
            paint(folder / "photos" / f"{colour}-{number}.png", colour, 100 * place + number, 64, 64)
    home = Home(folder / "home", "", "")
    # The exported backbone is read through a link; nothing is written into its entries.
    (home.root / "store").mkdir(parents=True)
    (home.root / "store" / "entries").mkdir()
    for stage in (exported_home.root / "store" / "entries").iterdir():
        (home.root / "store" / "entries" / stage.name).symlink_to(stage)
    run(home, model, folder / "photos", folder / "out", manifest=True)
    return home, folder


def data_of(folder: Path, manifest: Path, **fields) -> DataConfig:
    return DataConfig(source=str(manifest), image_root=str(folder / "photos"), **fields)


def test_labels_are_read_back(labelled):
    home, folder = labelled
    lines = lines_of(folder / "out" / MANIFEST_FILE)
    assert len(lines) == 32
    (blue,) = [line for line in lines if line["source-ref"] == "blue-0.png"]
    metadata = blue["label-metadata"]
    assert (blue["label"], metadata["class-name"]) == (COLOURS.index("blue"), "blue")
    assert (metadata["type"], metadata["human-annotated"]) == ("groundtruth/image-classification", "no")
    assert 0.6 < metadata["confidence"] <= 1
    assert {"source-ref": "grey-0.png"} in lines
    ingested = ingest_images.fn(home, data_of(folder, folder / "out" / MANIFEST_FILE))
    entries = list(read_index(Path(ingested.entry_path) / IMAGES_FILE))
    assert {entry.source_ref: entry.truth.labels for entry in entries} == {
        f"{colour}-{number}.png": (colour,) for colour in COLOURS for number in range(10)
    }
    assert not any(entry.is_human for entry in entries)
    assert ingested.findings == {"WARNING_UNANNOTATED_RECORD": 2}


def test_corrected_manifest_trains_a_model(labelled):
    home, folder = labelled
    lines = lines_of(folder / "out" / MANIFEST_FILE)
    (wrong,) = [line for line in lines if line["source-ref"] == "red-3.png"]
    wrong["label-metadata"] |= {"class-name": "blue", "confidence": 1.0, "human-annotated": "yes"}
    corrected = folder / "corrected.manifest"
    corrected.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    data = data_of(folder, corrected)
    ingested = ingest_images.fn(home, data)
    entries = {entry.source_ref: entry for entry in read_index(Path(ingested.entry_path) / IMAGES_FILE)}
    assert (entries["red-3.png"].truth.labels, entries["red-3.png"].is_human) == (("blue",), True)
    manifest = build_manifest.fn(home, ingested, data, MaskConfig(), "classification")
    model = train_model.fn(home, manifest, TrainConfig(data=data, training=QUICK))
    assert manifest.labels == COLOURS
    assert model.bundle_digest


def test_managed_service_accepts_the_lines(labelled):
    home, folder = labelled
    model = fetched(folder / "bundle")
    prefix = "s3://bucket/photos/"
    run(home, model, folder / "photos", folder / "strict", manifest=True, reference_prefix=prefix)
    manifest = folder / "strict" / MANIFEST_FILE
    statuses = [parse_line(line, "aws") for line in manifest.read_bytes().splitlines()]
    assert [one.status for one in statuses].count("valid") == 30
    assert {problem.code for one in statuses for problem in one.problems} == {"WARNING_UNANNOTATED_RECORD"}
    data = data_of(folder, manifest, rules="aws", rewrite=(f"{prefix}=",))
    assert ingest_images.fn(home, data).usable == 30


def test_manifest_as_source_keeps_its_references(labelled, tmp_path):
    home, folder = labelled
    stated = [f"s3://bucket/photos/{name}.png" for name in ("red-1", "blue-2", "grey-0")]
    source = tmp_path / "job.manifest"
    lines = [{"source-ref": stated[0], "old": 1, "old-metadata": {"class-name": "cat"}}, {"source-ref": stated[1]}]
    source.write_text("".join(json.dumps(line) + "\n" for line in [*lines, {"source-ref": stated[2]}]), "utf-8")
    images = {"image_root": str(folder / "photos"), "rewrite": ("s3://bucket/photos/=",)}
    run(home, fetched(folder / "bundle"), source, tmp_path / "out", manifest=True, images=images)
    written = lines_of(tmp_path / "out" / MANIFEST_FILE)
    assert [(line["source-ref"], line.get("label-metadata", {}).get("class-name")) for line in written] == [
        (stated[1], "blue"),
        (stated[2], None),
        (stated[0], "red"),
    ]


def test_regions_are_told_in_place_of_the_label():
    regions = (DetectedBox("anomaly", 1, 2, 30, 40, 0.75, True), DetectedBox("anomaly", 60, 2, 30, 40, 0.75, True))
    answer = ImageAnswer("a/1.png", "c" * 64, 200, 100, {"anomaly": 0.75}, ("anomaly",), regions)
    assert [one.box for one in all_told(answer)] == list(regions)


@pytest.mark.parametrize(
    ("answer", "labels", "boxes"),
    [
        pytest.param(answer_with(), (), 0, id="normal: a true negative"),
        pytest.param(answer_with(DetectedBox("anomaly", 1, 2, 30, 40, 0.75, True)), (), 1, id="with a region"),
        pytest.param(
            ImageAnswer("a/1.png", "c" * 64, 200, 100, {"anomaly": 0.75}, ("anomaly",)),
            ("anomaly",),
            None,
            id="abnormal, but nowhere in particular",
        ),
    ],
)
def test_anomaly_is_told_with_or_without_a_place(answer, labels, boxes):
    model = MODEL.model_copy(update={"task": "anomaly", "labels": ("anomaly",), "thresholds": {"anomaly": 0.5}})
    told = [one for one in all_told(answer) if one.is_given]
    line = parse_line(machine_line(answer, told, model, "s3://bucket/a/1.png").encode(), "open")
    assert line.status == "valid"
    assert line.labels == labels
    assert (None if line.boxes is None else len(line.boxes)) == boxes
