"""The stages of an export on a trained classifier, and on a detector over real boxes."""

import json
import shutil

import pytest

from flows.config import DataConfig, MaskConfig
from tasks.bundle.format import bundle_digest
from tasks.bundle.predictor import Predictor
from tasks.bundle_export.openvino_bundle import open_openvino
from tasks.bundle_export.records import ExportSource
from tasks.bundle_export.task import compare_export, find_version, make_export, publish_export, require_exportable
from tasks.errors import RequestError, SourceChanged
from tasks.evaluate.records import GateVerdict
from tasks.ground_truth.manifests import read_manifest
from tasks.ingest.task import ingest_images
from tasks.manifest.task import build_manifest
from tests.makers import paint_mvtec
from tests.tasks.bundle_export.conftest import NAME

PASSED = GateVerdict(passed=True, reasons=(), judged_on={})
FAILED = GateVerdict(passed=False, reasons=("recall 0.1 is below",), judged_on={})
FORMATS = ("onnx", "onnx-int8", "openvino")


@pytest.fixture(scope="module", params=FORMATS)
def made(request, exportable, source):
    exported = make_export.fn(exportable.home, source, request.param)
    return exported, compare_export.fn(source, exported)


def test_figures_are_those_of_the_evaluation(exportable, made):
    exported, compared = made
    evaluated = exportable.evaluation.metrics
    assert compared.original.metric == pytest.approx(evaluated.macro_f1, abs=1e-9)
    assert compared.metrics.cross_validated == evaluated.cross_validated
    if exported.format != "onnx-int8":
        assert compared.metrics.macro_f1 == pytest.approx(evaluated.macro_f1, abs=1e-9)
        assert compared.parity.confidence_difference <= 1e-4
    assert compared.parity.images == exportable.manifest.totals["test"]
    assert min(compared.original.milliseconds, compared.exported.milliseconds) > 0
    is_smaller = compared.exported.megabytes < 0.4 * compared.original.megabytes
    assert is_smaller == (exported.format == "onnx-int8")


def test_export_is_put_in_place_with_its_report(exportable, source, made, tmp_path):
    exported, compared = made
    output = tmp_path / "out"
    published = publish_export.fn(exportable.home, source, exported, compared, PASSED, 1.0, str(output)).report
    assert (published.status, published.folder, published.reasons) == ("exported", str(output), ())
    assert sorted(path.name for path in output.iterdir()) == list(published.files)
    assert json.loads((output / "export.json").read_text()) == json.loads(published.model_dump_json())
    table = (output / "export.md").read_text()
    assert f"| {exported.format} |" in table
    assert "| registered |" in table
    opened = open_openvino(output) if exported.format == "openvino" else Predictor.open(output)
    assert opened.card.labels == exportable.manifest.labels
    assert (bundle_digest(output) == source.bundle_digest) if exported.format == "onnx" else True
    # What a reader changes there must not change the store.
    (output / "predict.py").write_text("changed")
    assert (exported.folder / "predict.py").read_text() != "changed"


@pytest.mark.parametrize(
    ("verdict", "loss", "reason"),
    [pytest.param(FAILED, 1.0, "gate: recall", id="gate"), pytest.param(PASSED, -1.0, "falls by", id="loss")],
)
def test_refused_export_leaves_nothing(exportable, source, made, tmp_path, verdict, loss, reason):
    exported, compared = made
    output = tmp_path / "out" / "model"
    report = publish_export.fn(exportable.home, source, exported, compared, verdict, loss, str(output)).report
    assert (report.status, report.folder, report.files) == ("rejected", "", ())
    assert reason in report.reasons[0]
    assert report.exported == compared.exported
    assert not output.parent.exists()


def test_default_folder_is_in_the_home(exportable, source):
    exported = make_export.fn(exportable.home, source, "onnx")
    compared = compare_export.fn(source, exported)
    report = publish_export.fn(exportable.home, source, exported, compared, PASSED, 0.01, "").report
    assert report.folder == str(exportable.home.root / "exports" / NAME / "1" / "onnx")
    again = make_export.fn(exportable.home, source, "onnx")
    assert (again.reused, again.digest) == (True, exported.digest)


def test_only_training_images_are_looked_at(exportable, source, tmp_path):
    root = tmp_path / "photos"
    shutil.copytree(exportable.source, root)
    roots = dict.fromkeys(source.manifest.roots, str(root))
    moved = source.model_copy(
        update={"manifest": source.manifest.model_copy(update={"roots": roots}), "model_uri": "models:/moved/1"}
    )
    tested = list(read_manifest(moved.manifest.manifest_path("test")))
    for entry in tested:
        (root / entry.source_ref).unlink()
    exported = make_export.fn(exportable.home, moved, "onnx-int8")
    assert exported.calibration_images == min(64, moved.manifest.totals["train"])
    with pytest.raises(SourceChanged, match="put it back"):
        compare_export.fn(moved, exported)
    trained = next(read_manifest(moved.manifest.manifest_path("train")))
    (root / trained.source_ref).write_bytes(b"else")
    with pytest.raises(SourceChanged):
        make_export.fn(exportable.home, moved.model_copy(update={"model_uri": "models:/moved/2"}), "onnx-int8")


@pytest.mark.parametrize("format_name", FORMATS)
def test_detector(shared_home, exportable, detector, tmp_path_factory, format_name):
    parts = paint_mvtec(tmp_path_factory.mktemp("parts") / "parts", images_per_defect=7)
    data = DataConfig(source=str(parts), name="export-parts")
    manifest = build_manifest.fn(shared_home, ingest_images.fn(shared_home, data), data, MaskConfig(), "detection")
    source = ExportSource(
        model_name="parts",
        model_version="1",
        model_uri="models:/parts/1",
        bundle_digest=bundle_digest(detector),
        bundle_path=str(detector),
        manifest=manifest,
        model=exportable.model.model_copy(update={"cross_validated": None}),
    )
    exported = make_export.fn(shared_home, source, format_name)
    compared = compare_export.fn(source, exported)
    assert compared.metric_name == "mAP50"
    assert compared.original.metric == pytest.approx(compared.exported.metric, abs=0.1)
    assert sum(figures.support for figures in compared.metrics.per_label.values()) == sum(
        manifest.boxes["test"].values()
    )
    if format_name == "onnx-int8":
        assert 0 < compared.parity.confidence_difference < 0.1
    else:
        assert compared.parity.confidence_difference <= 1e-4
        assert compared.parity.unmatched_boxes == 0


def test_request_is_refused_before_any_work(exportable, tmp_path, monkeypatch):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RequestError, match="files of others"):
        require_exportable("onnx", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match="a folder of this machine"):
        require_exportable("onnx", "s3://bucket/edge")
    assert not (tmp_path / "s3:").exists()
    assert find_version.fn(exportable.home, f"{NAME}/1").model_version == "1"
