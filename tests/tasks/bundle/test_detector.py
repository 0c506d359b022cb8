"""A detector bundle from its folder to boxes in pixels of the image."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead

from tasks.bundle.adjustments import Crop
from tasks.bundle.format import BoxDecoding, Network, file_sha256
from tasks.bundle.predictor import BATCH_SIZE, Prediction, Predictor
from tasks.bundle.preprocessing import Letterbox, detection_steps
from tasks.errors import BundleError
from tests.makers import paint_shape, png_bytes
from tests.tasks.bundle.made_detector import LABELS, Outputs, put_box, silent_outputs, write_detector

TORCH_SIZE = 96
TORCH_LABELS = ("a", "b", "c", "d")
TORCH_STRIDES = (8, 16, 32)
MAX_BOXES = 20


def _grey(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), 100, np.uint8)


@pytest.fixture
def seen() -> Outputs:
    outputs = silent_outputs()
    put_box(outputs, 1 * 4 + 2, 1, (0.5, 0.5, 0.5, 0.5), 0.9)  # point (32, 16)
    put_box(outputs, 0, 0, (1, 1, 0.25, 0.25), 0.4)  # point (0, 0): clipped at both edges
    put_box(outputs, 16 + 1, 1, (0.5, 0, 0, 0.25), 0.7)  # coarse level, point (32, 0)
    put_box(outputs, 3 * 4 + 3, 2, (0.125, 0.125, 4, 4), 0.8)  # point (48, 48): lies below the content of wide images
    return outputs


def test_boxes_are_told_in_pixels_of_the_image(seen: Outputs, tmp_path: Path) -> None:
    prediction = Predictor.open(write_detector(tmp_path, seen)).predict([_grey(160, 80)])[0]
    told = [(box.label, box.left, box.top, box.right, box.bottom, box.is_given) for box in prediction.boxes]
    assert told == [
        ("dent", 60, 20, 100, 60, True),
        ("dent", 40, 0, 80, 20, True),
        ("cut", 0, 0, 10, 10, False),
    ]
    assert [box.confidence for box in prediction.boxes] == pytest.approx([0.9, 0.7, 0.4], abs=1e-6)
    assert prediction.confidences == pytest.approx({"dent": 0.9, "cut": 0.4, "hole": 0.0}, abs=1e-6)
    assert list(prediction.confidences) == ["dent", "cut", "hole"]
    assert prediction.labels == ("dent",)
    assert prediction.top_label == "dent"


def test_boxes_of_a_cropped_image_are_told_in_pixels_of_the_whole(seen: Outputs, tmp_path: Path) -> None:
    steps = detection_steps(64, [Crop(left=0.25, top=0.5, width=0.5, height=0.25)])
    whole = Predictor.open(write_detector(tmp_path, seen)).predict([_grey(160, 80)])[0]
    cropped = Predictor.open(write_detector(tmp_path, seen, steps=steps)).predict([_grey(320, 320)])[0]
    moved = [replace(box, left=box.left + 80, top=box.top + 160) for box in whole.boxes]
    assert list(cropped.boxes) == moved
    assert cropped.confidences == whole.confidences


def test_image_without_boxes_has_no_confidence(tmp_path: Path) -> None:
    bundle = write_detector(tmp_path, silent_outputs(), thresholds=dict.fromkeys(LABELS, 0.0))
    assert Predictor.open(bundle).predict([_grey(30, 40)]) == [Prediction(dict.fromkeys(LABELS, 0.0), (), ())]


@pytest.mark.parametrize("offset", [-1e-6, 0.0, 1e-6], ids=str)
def test_thresholds_give_boxes(offset: float, seen: Outputs, tmp_path: Path) -> None:
    exact = Predictor.open(write_detector(tmp_path, seen)).predict([_grey(64, 64)])[0].confidences
    thresholds = {label: value + offset for label, value in exact.items()}
    prediction = Predictor.open(write_detector(tmp_path, seen, thresholds=thresholds)).predict([_grey(64, 64)])[0]
    assert prediction.labels == (() if offset > 0 else tuple(exact))
    for box in prediction.boxes:
        assert box.is_given == (box.confidence >= thresholds[box.label])


@pytest.fixture(scope="module")
def wild(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """A detector that sees boxes of all sizes everywhere, many of them beyond the edges."""
    rng = np.random.default_rng(0)
    outputs = {name: rng.normal(0, 3, values.shape).astype(np.float32) for name, values in silent_outputs().items()}
    outputs["box_regression"] = np.abs(outputs["box_regression"])
    return Predictor.open(write_detector(tmp_path_factory.mktemp("wild"), outputs))


@given(st.integers(1, 2000), st.integers(1, 2000))
@settings(max_examples=100, deadline=None)
def test_boxes_lie_within_the_image(wild: Predictor, width: int, height: int) -> None:
    boxes = wild.predict([_grey(width, height)])[0].boxes
    assert boxes
    for box in boxes:
        assert box.width > 0
        assert box.height > 0
        assert box.left >= 0
        assert box.top >= 0
        assert box.right <= width
        assert box.bottom <= height


@pytest.mark.parametrize("count", [0, 1, BATCH_SIZE + 1])
def test_batch_answers_each_image_in_its_own_pixels(count: int, seen: Outputs, tmp_path: Path) -> None:
    predictor = Predictor.open(write_detector(tmp_path, seen))
    images = [_grey(20 + 30 * number, 200) for number in range(count)]
    assert predictor.predict(images) == [predictor.predict([image])[0] for image in images]


def test_files_are_answered_like_their_pixels(seen: Outputs, tmp_path: Path) -> None:
    predictor = Predictor.open(write_detector(tmp_path, seen))
    image = paint_shape("ring", 90)
    assert predictor.predict_bytes([png_bytes(image)]) == predictor.predict([image])


def _rename(outputs: Outputs) -> None:
    outputs["scores"] = outputs.pop("centreness")


WRONG_OUTPUTS: dict[str, Callable[[Outputs], object]] = {
    "output missing": lambda outputs: outputs.pop("centreness"),
    "output too many": lambda outputs: outputs.update(extra=outputs["centreness"]),
    "output of another name": _rename,
    "locations missing": lambda outputs: outputs.update({name: rows[1:] for name, rows in outputs.items()}),
    "label too many": lambda outputs: outputs.update(class_logits=silent_outputs(4)["class_logits"]),
    "label missing": lambda outputs: outputs.update(class_logits=silent_outputs(2)["class_logits"]),
    "three edges": lambda outputs: outputs.update(box_regression=outputs["box_regression"][:, :3]),
    "NaN logits": lambda outputs: outputs["class_logits"].fill(np.nan),
    "one NaN edge": lambda outputs: outputs["box_regression"].put(5, np.nan),
    "infinite centreness": lambda outputs: outputs["centreness"].fill(np.inf),
}


@pytest.mark.parametrize("change", WRONG_OUTPUTS.values(), ids=WRONG_OUTPUTS.keys())
def test_network_with_other_outputs_is_refused(change: Callable[[Outputs], object], tmp_path: Path) -> None:
    outputs = silent_outputs()
    Predictor.open(write_detector(tmp_path, outputs))
    change(outputs)
    with pytest.raises(BundleError, match=r"answer .*register the model anew"):
        Predictor.open(write_detector(tmp_path, outputs))


@pytest.mark.parametrize(
    "fields",
    [
        {"steps": detection_steps(128)},
        {"decoding": BoxDecoding(strides=(16,))},
        {"decoding": BoxDecoding(strides=(8, 32))},
    ],
    ids=["input size", "level missing", "other stride"],
)
def test_network_that_does_not_fit_the_card_is_refused(fields: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        Predictor.open(write_detector(tmp_path, silent_outputs(), **fields))


class _Pyramid(torch.nn.Module):
    out_channels = 32

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 32, 9, stride=8, padding=4)
        self.next = torch.nn.Conv2d(32, 32, 3, stride=2, padding=1)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        fine = torch.relu(self.first(images))
        middle = torch.relu(self.next(fine))
        return {"0": fine, "1": middle, "2": torch.relu(self.next(middle))}


class _Graph(torch.nn.Module):
    def __init__(self, model: FCOS) -> None:
        super().__init__()
        self.backbone, self.head = model.backbone, model.head

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = self.head(list(self.backbone(images).values()))
        return outputs["cls_logits"], outputs["bbox_regression"], outputs["bbox_ctrness"]


@pytest.fixture(scope="module")
def fcos() -> FCOS:
    torch.manual_seed(0)
    model = FCOS(
        _Pyramid(),
        num_classes=len(TORCH_LABELS),
        min_size=TORCH_SIZE,
        max_size=TORCH_SIZE,
        anchor_generator=AnchorGenerator(sizes=((8,), (16,), (32,)), aspect_ratios=((1.0,),) * 3),
        score_thresh=0.05,
        nms_thresh=0.6,
        topk_candidates=100,
        detections_per_img=10**6,
    )
    model.head = FCOSHead(32, 1, len(TORCH_LABELS), num_convs=1)
    for layer in (model.head.classification_head.cls_logits, model.head.regression_head.bbox_ctrness):
        torch.nn.init.normal_(layer.weight, std=0.1)
        torch.nn.init.zeros_(layer.bias)
    torch.nn.init.normal_(model.head.regression_head.bbox_reg.weight, std=0.05)
    torch.nn.init.constant_(model.head.regression_head.bbox_reg.bias, 1.0)
    return model.eval()


@pytest.fixture(scope="module")
def fcos_bundle(fcos: FCOS, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fcos")
    path = folder / "detector.onnx"
    torch.onnx.export(
        _Graph(fcos).eval(),
        (torch.rand(2, 3, TORCH_SIZE, TORCH_SIZE),),
        str(path),
        input_names=["images"],
        output_names=["class_logits", "box_regression", "centreness"],
        dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}},
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    network = Network(file=path.name, sha256=file_sha256(path))
    (folder / "bundle").mkdir()
    bundle = write_detector(
        folder / "bundle",
        silent_outputs(),
        labels=TORCH_LABELS,
        thresholds=dict.fromkeys(TORCH_LABELS, 0.6),
        steps=detection_steps(TORCH_SIZE),
        networks={"detector": network},
        decoding=BoxDecoding(strides=TORCH_STRIDES, candidates_per_level=100, max_boxes=MAX_BOXES),
    )
    path.replace(bundle / path.name)
    return bundle


def _torch_answer(model: FCOS, image: np.ndarray) -> list[tuple[str, float, list[float]]]:
    """torchvision's answer on the letterboxed image, clipped to its content, in pixels of the image."""
    letterbox = Letterbox(size=TORCH_SIZE)
    height, width = image.shape[:2]
    content_width, content_height = letterbox.content_size(width, height)
    pixels = torch.from_numpy(letterbox.apply(image)).permute(2, 0, 1) / 255
    with torch.inference_mode():
        batch, _ = model.transform([pixels])
        features = list(model.backbone(batch.tensors).values())
        counts = [values.shape[2] * values.shape[3] for values in features]
        outputs = {name: list(values.split(counts, dim=1)) for name, values in model.head(features).items()}
        anchors = [list(model.anchor_generator(batch, features)[0].split(counts))]
        found = model.postprocess_detections(outputs, anchors, [(content_height, content_width)])[0]
    scale = torch.tensor([width / content_width, height / content_height] * 2)
    answers = zip(found["labels"].tolist(), found["scores"].tolist(), found["boxes"], strict=True)
    whole = [(label, score, box) for label, score, box in answers if (box[2:] - box[:2] > 1e-3).all()]
    return [(TORCH_LABELS[label], score, (box * scale).tolist()) for label, score, box in whole[:MAX_BOXES]]


@pytest.mark.parametrize(
    ("width", "height"), [(96, 96), (300, 300), (400, 150), (120, 777), (30, 41), (90, 3), (1, 50)], ids=str
)
def test_boxes_are_those_of_the_trained_network(width: int, height: int, fcos: FCOS, fcos_bundle: Path) -> None:
    images = [np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8) for seed in (7, 8)]
    for image, prediction in zip(images, Predictor.open(fcos_bundle).predict(images), strict=True):
        expected = _torch_answer(fcos, image)
        assert len(expected) == MAX_BOXES
        assert [box.label for box in prediction.boxes] == [label for label, _, _ in expected]
        scores = [score for _, score, _ in expected]
        assert [box.confidence for box in prediction.boxes] == pytest.approx(scores, abs=1e-5)
        edges = [[box.left, box.top, box.right, box.bottom] for box in prediction.boxes]
        np.testing.assert_allclose(edges, [box for _, _, box in expected], atol=0.05)


def test_square_image_is_answered_like_the_whole_torch_model(fcos: FCOS, fcos_bundle: Path) -> None:
    image = np.random.default_rng(5).integers(0, 256, (TORCH_SIZE, TORCH_SIZE, 3), np.uint8)
    with torch.inference_mode():
        expected = fcos([torch.from_numpy(image).permute(2, 0, 1) / 255])[0]
    boxes = Predictor.open(fcos_bundle).predict([image])[0].boxes
    assert len(boxes) == MAX_BOXES
    assert [box.label for box in boxes] == [TORCH_LABELS[label] for label in expected["labels"][:MAX_BOXES].tolist()]
    edges = [[box.left, box.top, box.right, box.bottom] for box in boxes]
    np.testing.assert_allclose(edges, expected["boxes"][:MAX_BOXES].numpy(), atol=0.05)
