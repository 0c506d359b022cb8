import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tasks.bundle.adjustments import Crop, Grey
from tasks.bundle.format import read_model_card, write_model_card
from tasks.bundle.predictor import BATCH_SIZE, OnnxNetwork, Prediction, Predictor
from tasks.errors import BundleError
from tasks.vision.images import ImageError, RgbImage
from tests.makers import SHAPES, paint_shape, png_bytes
from tests.tasks.conftest import Made

MANY = BATCH_SIZE + 1


@pytest.fixture(scope="module")
def predictor(trained: Made) -> Predictor:
    return Predictor.open(trained.model.bundle_path, expected_digest=trained.model.bundle_digest)


@pytest.fixture(scope="module")
def images() -> list[RgbImage]:
    return [paint_shape(SHAPES[number % len(SHAPES)], 40 + 3 * number, (number,)) for number in range(MANY)]


@pytest.mark.parametrize("count", [0, 1, 2, BATCH_SIZE, MANY])
def test_batch_answers_like_single_calls(count: int, predictor: Predictor, images: list[RgbImage]) -> None:
    together = predictor.predict(images[:count])
    alone = [predictor.predict([image])[0] for image in images[:count]]
    assert len(together) == count
    for one, other in zip(together, alone, strict=True):
        assert one.confidences == pytest.approx(other.confidences, abs=1e-5)


def test_prepared_image_is_small_and_answers_alike(predictor: Predictor) -> None:
    large = paint_shape("round", 900)
    prepared = predictor.prepare(large)
    assert prepared.pixels.nbytes < 60_000
    assert (prepared.width, prepared.height) == (900, 900)
    assert predictor.predict_prepared([prepared]) == predictor.predict([large])
    assert predictor.predict_prepared([]) == []


def test_adjustments_are_made_before_the_framing(trained: Made, predictor: Predictor, tmp_path: Path) -> None:
    bundle = shutil.copytree(trained.model.bundle_path, tmp_path / "bundle")
    card = read_model_card(bundle)
    crop = Crop(left=0.5, top=0.25, width=0.5, height=0.5)
    write_model_card(bundle, card.model_copy(update={"steps": (crop, Grey(), *card.steps)}))
    image = paint_shape("ring", 80)
    part = Grey().apply(image[20:60, 40:])
    assert Predictor.open(bundle).predict([image]) == predictor.predict([part])
    assert predictor.predict([image]) != predictor.predict([part])


def test_confidences_are_sorted_probabilities_of_all_labels(predictor: Predictor, images: list[RgbImage]) -> None:
    for prediction in predictor.predict(images):
        values = list(prediction.confidences.values())
        assert values == sorted(values, reverse=True)
        assert sum(values) == pytest.approx(1.0, abs=1e-5)
        assert set(prediction.confidences) == set(predictor.card.labels)
        assert prediction.top_label == next(iter(prediction.confidences))


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
def test_thresholds_are_applied(threshold: float, trained: Made, images: list[RgbImage], tmp_path: Path) -> None:
    bundle = shutil.copytree(trained.model.bundle_path, tmp_path / "bundle")
    card = read_model_card(bundle)
    cuts = {label: threshold for label in card.labels} | {card.labels[0]: 0.0}
    write_model_card(bundle, card.model_copy(update={"thresholds": cuts}))
    for prediction in Predictor.open(bundle).predict(images):
        expected = [label for label, value in prediction.confidences.items() if value >= cuts[label]]
        assert list(prediction.labels) == expected
        assert card.labels[0] in prediction.labels


def test_confidence_at_the_threshold_is_given(trained: Made, images: list[RgbImage], tmp_path: Path) -> None:
    bundle = shutil.copytree(trained.model.bundle_path, tmp_path / "bundle")
    card = read_model_card(bundle)
    exact = Predictor.open(bundle).predict(images[:1])[0].confidences
    write_model_card(bundle, card.model_copy(update={"thresholds": exact}))
    assert set(Predictor.open(bundle).predict(images[:1])[0].labels) == set(card.labels)


def test_files_are_answered_like_their_pixels(predictor: Predictor, images: list[RgbImage]) -> None:
    from_files = predictor.predict_bytes([png_bytes(image) for image in images[:3]])
    assert from_files == predictor.predict(images[:3])


@pytest.mark.parametrize("data", [b"", b"no image", png_bytes(paint_shape("ring"))[:-40]], ids=["empty", "text", "cut"])
def test_unusable_file_is_an_image_error(data: bytes, predictor: Predictor) -> None:
    with pytest.raises(ImageError):
        predictor.predict_bytes([data])


def test_threads_do_not_change_the_answers(trained: Made, predictor: Predictor, images: list[RgbImage]) -> None:
    single = Predictor.open(trained.model.bundle_path, threads=1).predict(images)
    for one, other in zip(single, predictor.predict(images), strict=True):
        assert one.confidences == pytest.approx(other.confidences, abs=1e-5)


def test_top_label_of_a_tie_is_the_first() -> None:
    assert Prediction({"b": 0.5, "a": 0.5}, ()).top_label == "b"


def test_network_cannot_take_weights_from_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outside.bin").write_bytes(np.ones(3, np.float32).tobytes())
    weights = TensorProto(name="w", dims=[3], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    weights.external_data.add(key="location", value="outside.bin")
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    onnx.save(model, tmp_path / "net.onnx")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError):
        OnnxNetwork((tmp_path / "net.onnx").read_bytes())


@pytest.mark.parametrize("module", ["tasks.bundle.predictor", "tasks.bundle.format", "tasks.bundle.preprocessing"])
def test_module_imports_no_heavy_library(module: str) -> None:
    code = (
        f"import sys, {module}\n"
        "heavy = ('torch', 'timm', 'sklearn', 'skl2onnx', 'mlflow', 'prefect', 'pandas', 'matplotlib', 'onnx')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
