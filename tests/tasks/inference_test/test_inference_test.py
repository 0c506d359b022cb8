import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from mlflow import MlflowClient

from flows.config import GateConfig
from flows.environment_config import EnvironmentConfig, PolicyConfig
from tasks.bundle.format import ModelCard, Network, file_sha256, read_model_card, write_model_card
from tasks.bundle.predictor import Prediction, Predictor
from tasks.bundle.preprocessing import Normalise, Resize
from tasks.bundle_export.records import ExportSource
from tasks.errors import DataError
from tasks.evaluate.records import ImagePrediction
from tasks.ground_truth.manifests import read_manifest
from tasks.inference_test import task as inference_task
from tasks.inference_test.probe import EvaluatedImages, ProbeRequest, judge, probe
from tasks.inference_test.records import InferenceTest
from tasks.inference_test.task import check_version, check_version_again, run_inference_test, run_probe
from tasks.register.records import RegisteredVersion
from tasks.register.task import register_version
from tasks.vision.boxes import DetectedBox
from tasks.vision.heat_maps import HeatMap
from tests.tasks.conftest import LENIENT, Made


@pytest.fixture(scope="module")
def registered(trained: Made) -> RegisteredVersion:
    return _register(trained, "inference-test")


@pytest.fixture
def stored_bundle(trained: Made, registered: RegisteredVersion, tmp_path: Path) -> Iterator[Path]:
    """The registered bundle where MLflow keeps it; what a test does to it is undone."""
    folder = _stored_files(trained, registered) / "artifacts" / "bundle"
    kept = shutil.copytree(folder, tmp_path / "kept")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(kept, folder)


def test_good_version_passes_from_any_folder(
    trained: Made, registered: RegisteredVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = _test(trained, registered).outcome
    assert outcome.passed
    assert outcome.reasons == ()
    assert outcome.images == sum(trained.manifest.images["test"].values())
    assert outcome.accuracy == trained.evaluation.metrics.accuracy
    assert outcome.max_confidence_drift < 1e-5
    assert 0.0 < outcome.latency_ms_p50 <= outcome.latency_ms_p95


@pytest.mark.parametrize("most", [1, 2, 4])
def test_some_images_are_answered_as_they_were(most: int, trained: Made, registered: RegisteredVersion) -> None:
    outcome = probe(_request(trained, registered).model_copy(update={"max_images": most}))
    assert outcome.reasons == ()
    assert 0 < outcome.images <= most


def test_version_evaluated_elsewhere_is_refused_before_a_move(trained: Made, registered: RegisteredVersion) -> None:
    source = ExportSource(
        model_name=registered.model_name,
        model_version=registered.model_version,
        model_uri=registered.model_uri,
        bundle_digest=registered.bundle_digest,
        bundle_path=str(trained.model.bundle_path),
        manifest=trained.manifest,
        model=trained.model,
    )
    with pytest.raises(DataError, match="holds no evaluation of it that this Keeneye can read"):
        check_version.fn(trained.home, source, EnvironmentConfig())
    here = source.model_copy(update={"predictions_path": str(trained.evaluation.predictions_path)})
    slow = EnvironmentConfig(policy=PolicyConfig(max_latency_ms=0.001))
    (reason,) = check_version.fn(trained.home, here, slow).outcome.reasons
    assert "policy.max_latency_ms 0.001" in reason
    back = check_version_again.fn(trained.home, here, slow).outcome
    assert (back.passed, back.reasons, len(back.warnings)) == (True, (), 1)
    assert "policy.max_latency_ms 0.001" in back.warnings[0]


@pytest.fixture
def evaluated_copy(trained: Made, tmp_path: Path) -> EvaluatedImages:
    """Images, manifest and answers of the test's own, which may be damaged."""
    shutil.copytree(trained.manifest.roots["test"], tmp_path / "images")
    shutil.copy(trained.manifest.manifest_path("test"), tmp_path / "test.manifest")
    shutil.copy(trained.evaluation.predictions_path, tmp_path / "predictions.jsonl")
    return EvaluatedImages(
        manifest=tmp_path / "test.manifest", root=tmp_path / "images", predictions=tmp_path / "predictions.jsonl"
    )


def _lose_one_image(images: EvaluatedImages) -> None:
    next(_image_paths(images)).unlink()


def _change_all_images(images: EvaluatedImages) -> None:
    for path in _image_paths(images):
        path.write_bytes(b"another picture")


def _lose_the_answers(images: EvaluatedImages) -> None:
    images.predictions.unlink()


def _answers_of_an_older_keeneye(images: EvaluatedImages) -> None:
    images.predictions.write_text('{"schema_version": 0}\n', encoding="utf-8")


def _fewer_answers(images: EvaluatedImages) -> None:
    images.predictions.write_bytes(images.predictions.read_bytes().splitlines(keepends=True)[0])


def _image_paths(images: EvaluatedImages) -> Iterator[Path]:
    return (images.root / entry.source_ref for entry in read_manifest(images.manifest))


@pytest.mark.parametrize(
    ("damage", "asked_of", "words"),
    [
        pytest.param(_lose_one_image, -1, "1 of {all} test images are gone or changed, the first", id="one image"),
        pytest.param(_change_all_images, 0, "{all} of {all} test images are gone or changed", id="all images"),
        pytest.param(_lose_the_answers, 0, "nothing was compared with the evaluation: ", id="answers"),
        pytest.param(_answers_of_an_older_keeneye, 0, "nothing was compared", id="other answers"),
        pytest.param(_fewer_answers, 0, "nothing was compared", id="fewer answers"),
    ],
)
def test_rollback_does_without_what_is_gone(
    damage: Callable[[EvaluatedImages], None],
    asked_of: int,
    words: str,
    evaluated_copy: EvaluatedImages,
    trained: Made,
    registered: RegisteredVersion,
) -> None:
    everything = trained.manifest.totals["test"]
    request = _request(trained, registered).model_copy(update={"evaluated": evaluated_copy, "is_rollback": True})
    damage(evaluated_copy)
    outcome = probe(request)
    assert (outcome.passed, outcome.images) == (True, everything + asked_of if asked_of else 0)
    (warning,) = outcome.warnings
    assert words.format(all=everything) in warning
    assert "\n" not in warning


def test_rollback_of_another_bundle_or_other_answers_is_refused(
    stored_bundle: Path, trained: Made, registered: RegisteredVersion
) -> None:
    card = read_model_card(stored_bundle)
    digest = write_model_card(stored_bundle, card.model_copy(update=_other_mean(card)))
    request = _request(trained, registered).model_copy(update={"is_rollback": True})
    outcome = probe(request)
    assert (outcome.passed, len(outcome.reasons)) == (False, 1)
    assert "digest" in outcome.reasons[0]
    assert not probe(request.model_copy(update={"expected_digest": digest})).passed


def test_good_version_passes_where_the_folder_holds_a_package_of_the_same_name(
    trained: Made, registered: RegisteredVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "__init__.py").write_text("raise RuntimeError('another package')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert _test(trained, registered).outcome.reasons == ()


@pytest.mark.parametrize("name", ["head.onnx", "backbone.onnx", "model.json"])
def test_corrupted_file_fails(name: str, stored_bundle: Path, trained: Made, registered: RegisteredVersion) -> None:
    path = stored_bundle / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 8] = b"\0corrupt"
    path.write_bytes(data)
    outcome = probe(_request(trained, registered))
    assert not outcome.passed
    assert len(outcome.reasons) == 1
    assert "digest" in outcome.reasons[0]
    assert outcome.images == 0


def test_corrupted_file_fails_in_a_fresh_process(
    stored_bundle: Path, trained: Made, registered: RegisteredVersion
) -> None:
    path = stored_bundle / "head.onnx"
    path.write_bytes(path.read_bytes()[:-8] + b"corrupt!")
    trial = _test(trained, registered)
    assert not trial.outcome.passed
    assert "head.onnx" in trial.outcome.reasons[0]


def _permuted_labels(card: ModelCard) -> dict[str, object]:
    return {"labels": (*card.labels[1:], card.labels[0])}


def _swapped_labels(card: ModelCard) -> dict[str, object]:
    return {"labels": (card.labels[1], card.labels[0], *card.labels[2:])}


def _other_mean(card: ModelCard) -> dict[str, object]:
    return {"steps": (card.steps[0], Normalise(mean=(0.5, 0.5, 0.5), standard_deviation=(0.5, 0.5, 0.5)))}


def _channels_reversed(card: ModelCard) -> dict[str, object]:
    resize, normalise = card.steps
    turned = Normalise(mean=normalise.mean[::-1], standard_deviation=normalise.standard_deviation[::-1])
    return {"steps": (resize, turned)}


def _other_size(card: ModelCard) -> dict[str, object]:
    return {"steps": (Resize(width=96, height=96), card.steps[1])}


@pytest.mark.parametrize("change", [_permuted_labels, _swapped_labels, _other_mean, _channels_reversed, _other_size])
def test_consistent_but_altered_bundle_fails(
    change: Callable[[ModelCard], dict[str, object]],
    stored_bundle: Path,
    trained: Made,
    registered: RegisteredVersion,
) -> None:
    card = read_model_card(stored_bundle)
    digest = write_model_card(stored_bundle, card.model_copy(update=change(card)))
    assert digest != registered.bundle_digest
    outcome = probe(_request(trained, registered.model_copy(update={"bundle_digest": digest})))
    assert not outcome.passed
    assert all("digest" not in reason for reason in outcome.reasons)
    if change is not _other_size:
        assert outcome.images == sum(trained.manifest.images["test"].values())
        assert outcome.max_confidence_drift > 0.001


def test_altered_bundle_fails_by_its_digest(stored_bundle: Path, trained: Made, registered: RegisteredVersion) -> None:
    card = read_model_card(stored_bundle)
    write_model_card(stored_bundle, card.model_copy(update=_permuted_labels(card)))
    outcome = probe(_request(trained, registered))
    assert not outcome.passed
    assert registered.bundle_digest[:12] in outcome.reasons[0]


def test_slow_model_fails_by_its_latency_alone(
    stored_bundle: Path, trained: Made, registered: RegisteredVersion
) -> None:
    card = read_model_card(stored_bundle)
    _slow_down(stored_bundle / "backbone.onnx")
    backbone = Network(file="backbone.onnx", sha256=file_sha256(stored_bundle / "backbone.onnx"))
    networks = {**card.networks, "backbone": backbone}
    digest = write_model_card(stored_bundle, card.model_copy(update={"networks": networks}))
    slow = _milliseconds(stored_bundle)
    version = registered.model_copy(update={"bundle_digest": digest})
    limit = slow / 4
    outcome = probe(_request(trained, version, max_latency_ms=limit))
    assert not outcome.passed
    assert len(outcome.reasons) == 1
    assert "max_latency_ms" in outcome.reasons[0]
    assert outcome.latency_ms_p95 > limit
    assert outcome.accuracy == trained.evaluation.metrics.accuracy
    assert probe(_request(trained, version, max_latency_ms=100 * slow)).passed


def test_deleted_version_fails(trained: Made) -> None:
    version = _register(trained, "inference-deleted")
    MlflowClient(trained.home.tracking_uri).delete_model_version(version.model_name, version.model_version)
    outcome = probe(_request(trained, version))
    assert not outcome.passed
    assert len(outcome.reasons) == 1


@pytest.mark.parametrize("part", ["", "artifacts", "artifacts/bundle", "artifacts/bundle/model.json"])
def test_version_without_its_files_fails(part: str, trained: Made) -> None:
    version = _register(trained, f"inference-gone{part.count('/')}{bool(part):d}")
    gone = _stored_files(trained, version) / part
    if gone.is_dir():
        shutil.rmtree(gone)
    else:
        gone.unlink()
    outcome = probe(_request(trained, version))
    assert not outcome.passed
    assert len(outcome.reasons) == 1


@pytest.mark.parametrize("ending", ["os.kill(os.getpid(), 9)", "os._exit(0)", "raise SystemExit(3)"])
def test_process_that_dies_is_a_failed_test(
    ending: str, trained: Made, registered: RegisteredVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _at_start_of_a_process(f"import os\n{ending}", tmp_path, monkeypatch)
    outcome = run_probe(_request(trained, registered))
    assert not outcome.passed
    assert len(outcome.reasons) == 1


def test_process_that_hangs_is_a_failed_test(
    trained: Made, registered: RegisteredVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _at_start_of_a_process("import time\ntime.sleep(60)", tmp_path, monkeypatch)
    monkeypatch.setattr(inference_task, "TIMEOUT_SECONDS", 1)
    start = time.monotonic()
    outcome = run_probe(_request(trained, registered))
    assert not outcome.passed
    assert time.monotonic() - start < 20


def test_probe_imports_no_training_library() -> None:
    code = (
        "import sys, tasks.inference_test.probe\n"
        "print([n for n in ('torch', 'timm', 'sklearn', 'prefect', 'skl2onnx') if n in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


NAN = float("nan")


@pytest.mark.parametrize(
    ("answers", "milliseconds", "word"),
    [
        pytest.param([(0.7, 0.3), (0.2, 0.8)], [10.0, 10.0], "", id="same answers"),
        pytest.param([(0.75, 0.25), (0.2, 0.8)], [10.0, 10.0], "", id="drift at the limit"),
        pytest.param([(0.8125, 0.1875), (0.2, 0.8)], [10.0, 10.0], "max_confidence_drift", id="drift above the limit"),
        pytest.param([(0.7, 0.3), (0.51, 0.49)], [10.0, 10.0], "accuracy", id="fewer right"),
        pytest.param([(0.7, 0.3), (0.2, 0.8)], [20.0, 20.0], "", id="latency at the limit"),
        pytest.param([(0.7, 0.3), (0.2, 0.8)], [20.1, 20.1], "max_latency_ms", id="latency above the limit"),
        pytest.param([(0.7, 0.3), (0.2, NAN)], [10.0, 10.0], "", id="one confidence is no number"),
        pytest.param([(NAN, NAN), (0.2, 0.8)], [10.0, 10.0], "", id="all confidences of the first are no number"),
        pytest.param([(0.7, 0.3), (NAN, NAN)], [10.0, 10.0], "", id="all confidences of the last are no number"),
    ],
)
def test_judge(answers: list[tuple[float, float]], milliseconds: list[float], word: str, tmp_path: Path) -> None:
    evaluated = [_evaluated("a", (0.6875, 0.3125), ("a",)), _evaluated("b", (0.1875, 0.8125), ("b",))]
    given = [Prediction(dict(sorted(zip("ab", row, strict=True), key=lambda item: -item[1])), ()) for row in answers]
    request = _bare_request(tmp_path, max_confidence_drift=0.0625, max_latency_ms=20.0)
    outcome = judge(given, evaluated, milliseconds, request)
    assert outcome.passed == (not word and not np.isnan(answers).any())
    assert outcome.passed == (not outcome.reasons)
    assert any(word in reason for reason in outcome.reasons) or not word


def test_answers_that_are_no_numbers_survive_the_way_between_the_processes(tmp_path: Path) -> None:
    evaluated = [_evaluated("a", (0.7, 0.3), ("a",))]
    outcome = judge([Prediction({"a": NAN, "b": NAN}, ())], evaluated, [1.0], _bare_request(tmp_path))
    assert not type(outcome).model_validate_json(outcome.model_dump_json()).passed


def _box(left: float, confidence: float, label: str = "a") -> DetectedBox:
    return DetectedBox(label, left, 10.0, 20.0, 20.0, confidence, is_given=False)


@pytest.mark.parametrize(
    ("boxes", "word"),
    [
        pytest.param([_box(5, 0.5), _box(60, 0.5 - 4e-4)], "", id="the same"),
        pytest.param([_box(60, 0.5), _box(5, 0.5 - 4e-4)], "", id="about equally sure, in another order"),
        pytest.param([_box(5, 0.5), _box(60, 0.5), _box(90, 0.0505)], "", id="one more at the floor"),
        pytest.param([_box(5, 0.5)], "max_confidence_drift", id="one is missing"),
        pytest.param([_box(5, 0.5), _box(60, 0.5), _box(90, 0.06)], "max_confidence_drift", id="one more"),
        pytest.param([_box(5, 0.5), _box(60, 0.5, "b")], "max_confidence_drift", id="another label"),
        pytest.param([_box(5, 0.5), _box(61, 0.5)], "pixels from where it was", id="moved"),
    ],
)
def test_judge_pairs_boxes(boxes: list[DetectedBox], word: str, tmp_path: Path) -> None:
    before = ImagePrediction(
        source_ref="x.png",
        sha256="0" * 64,
        truth=("a",),
        confidences={"a": 0.5, "b": 0.0},
        given=(),
        true_boxes=(),
        boxes=(_box(5, 0.5), _box(60, 0.5 - 4e-4)),
    )
    answer = Prediction({"a": 0.5, "b": 0.0}, (), tuple(boxes))
    outcome = judge([answer], [before], [1.0], _bare_request(tmp_path), score_floor=0.05)
    assert outcome.passed == (not word), outcome.reasons
    assert any(word in reason for reason in outcome.reasons) or not word


@pytest.mark.parametrize(
    ("heat", "boxes", "word"),
    [
        pytest.param([[0.0, 10.0], [0.02, 60.0]], [], "", id="a box less, for a rounding at the limit"),
        pytest.param([[0.09, 10.09], [0.0, 59.5]], [_box(5, 0.5), _box(60, 0.5)], "", id="within 1 %"),
        pytest.param([[0.11, 10.0], [0.0, 60.0]], [_box(5, 0.5)], "a heat map differs by 1.1 %", id="warmer"),
        pytest.param([[0.0, 10.0], [0.0, 61.0]], [_box(5, 0.5)], "a heat map differs by 1.64 %", id="hotter"),
        pytest.param([[0.0, 60.0], [0.0, 10.0]], [_box(5, 0.5)], "a heat map differs by 83.3 %", id="elsewhere"),
        pytest.param([[0.0, 10.0, 0.0, 60.0]], [_box(5, 0.5)], "a heat map differs by 100 %", id="another grid"),
        pytest.param(None, [_box(5, 0.5)], "a heat map differs by 100 %", id="none"),
    ],
)
def test_judge_compares_heat_maps_and_not_the_boxes_around_them(
    heat: list[list[float]] | None, boxes: list[DetectedBox], word: str, tmp_path: Path
) -> None:
    before = ImagePrediction(
        source_ref="x.png",
        sha256="0" * 64,
        truth=("a",),
        confidences={"a": 0.5},
        given=("a",),
        true_boxes=(),
        boxes=(_box(5, 0.5),),
        heat_map=HeatMap.of(np.array([[0.0, 10.0], [0.0, 60.0]], np.float32)),
    )
    found = HeatMap.of(np.array(heat, np.float32)) if heat else None
    answer = Prediction({"a": 0.5}, ("a",), tuple(boxes), found)
    outcome = judge([answer], [before], [1.0], _bare_request(tmp_path), region_limit=10.0)
    assert outcome.passed == (not word), outcome.reasons
    assert word in "".join(outcome.reasons)


def test_judge_refuses_other_labels(tmp_path: Path) -> None:
    evaluated = [_evaluated("a", (0.7, 0.3), ("a",))]
    outcome = judge([Prediction({"a": 0.7, "c": 0.3}, ())], evaluated, [1.0], _bare_request(tmp_path))
    assert not outcome.passed
    assert outcome.max_confidence_drift == 1.0


def _register(made: Made, name: str) -> RegisteredVersion:
    return register_version.fn(made.home, made.manifest, made.model, made.evaluation, made.named(name))


def _test(made: Made, version: RegisteredVersion, gate: GateConfig = LENIENT) -> InferenceTest:
    return run_inference_test.fn(made.home, made.manifest, made.evaluation, version, gate)


def _request(made: Made, version: RegisteredVersion, *, max_latency_ms: float = 60_000.0) -> ProbeRequest:
    return ProbeRequest(
        home=made.home.root,
        tracking_uri=made.home.tracking_uri,
        registry_uri=made.home.registry_uri,
        model_uri=version.model_uri,
        expected_digest=version.bundle_digest,
        evaluated=EvaluatedImages(
            manifest=made.manifest.manifest_path("test"),
            root=Path(made.manifest.roots["test"]),
            predictions=made.evaluation.predictions_path,
        ),
        max_confidence_drift=0.001,
        max_latency_ms=max_latency_ms,
    )


def _bare_request(root: Path, *, max_confidence_drift: float = 0.001, max_latency_ms: float = 1000.0) -> ProbeRequest:
    return ProbeRequest(
        home=root,
        tracking_uri="",
        registry_uri="",
        model_uri="",
        expected_digest="",
        evaluated=None,
        max_confidence_drift=max_confidence_drift,
        max_latency_ms=max_latency_ms,
    )


def _evaluated(ref: str, confidences: tuple[float, float], truth: tuple[str, ...]) -> ImagePrediction:
    ordered = dict(sorted(zip("ab", confidences, strict=True), key=lambda item: -item[1]))
    return ImagePrediction(source_ref=ref, sha256="", truth=truth, confidences=ordered, given=())


def _stored_files(made: Made, version: RegisteredVersion) -> Path:
    client = MlflowClient(made.home.tracking_uri)
    model_id = client.get_model_version(version.model_name, version.model_version).source.removeprefix("models:/")
    return Path(client.get_logged_model(model_id).artifact_location.removeprefix("file://"))


def _milliseconds(bundle: Path) -> float:
    predictor = Predictor.open(bundle)
    image = np.zeros((64, 64, 3), np.uint8)
    predictor.predict([image])
    times = []
    for _ in range(5):
        start = time.perf_counter()
        predictor.predict([image])
        times.append((time.perf_counter() - start) * 1e3)
    return float(np.median(times))


def _slow_down(path: Path, times: int = 800) -> None:
    """Multiply the features by the unit matrix many times over."""
    model = onnx.load(path)
    graph = model.graph
    width = graph.output[0].type.tensor_type.shape.dim[-1].dim_value
    final = graph.output[0].name
    for node in graph.node:
        node.output[:] = ["step0" if name == final else name for name in node.output]
    graph.initializer.append(onnx.numpy_helper.from_array(np.eye(width, dtype=np.float32), "unit"))
    for step in range(times):
        target = final if step == times - 1 else f"step{step + 1}"
        graph.node.append(onnx.helper.make_node("MatMul", [f"step{step}", "unit"], [target]))
    onnx.save(model, path)


def _at_start_of_a_process(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(folder))
