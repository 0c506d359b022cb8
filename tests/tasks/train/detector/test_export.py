import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tasks.bundle.adjustments import Crop, Grey
from tasks.bundle.format import read_model_card, write_model_card
from tasks.bundle.predictor import Predictor
from tasks.bundle.preprocessing import detection_steps
from tasks.errors import TrainingError
from tasks.metrics.matching import edge_difference
from tasks.train.detector.export import MAX_BOX_DIFFERENCE, MAX_SCORE_DIFFERENCE, require_parity, write_bundle
from tasks.train.detector.learn import DECODING
from tasks.train.detector.predict import detect
from tasks.vision.boxes import BoundingBox
from tasks.vision.images import decode_rgb
from tests.conftest import TRANSISTORS
from tests.makers import paint_with_boxes
from tests.tasks.train.detector.painted import INPUT_SIZE, SIDE, STEPS, first_network, paint_entries, samples_of

LABELS = ("cut", "dent")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A bundle whose network has learned nothing, yet answers as many boxes as a bundle tells."""
    network = first_network(labels=len(LABELS), seed=3).eval()
    torch.nn.init.constant_(network.head.classification_head.cls_logits.bias, -1.0)
    torch.nn.init.normal_(network.head.classification_head.cls_logits.weight, std=0.2)
    torch.nn.init.constant_(network.head.regression_head.bbox_reg.bias, 1.0)
    torch.nn.init.normal_(network.head.regression_head.bbox_reg.weight, std=0.2)
    folder = tmp_path_factory.mktemp("exported") / "bundle"
    digest = write_bundle(
        folder,
        network,
        labels=LABELS,
        thresholds={"cut": 0.3, "dent": 0.6},
        steps=STEPS,
        decoding=DECODING,
        dataset_digest="d" * 64,
        provenance={"seed": 3},
    )
    return SimpleNamespace(folder=folder, network=network, digest=digest)


def pictures(count, side=96):
    return [paint_with_boxes([(10 + place, 12, 30, 24)], side + place, (place,)) for place in range(count)]


def parity(exported, images, network=None):
    return require_parity(exported.folder, network or exported.network, images, LABELS, STEPS, DECODING)


def test_bundle_is_whole(exported):
    card = read_model_card(exported.folder, expected_digest=exported.digest)
    assert (card.task, card.labels, card.decoding, card.steps) == ("detection", LABELS, DECODING, STEPS)
    assert {path.name for path in exported.folder.iterdir()} == {"model.json", "detector.onnx", "weights.safetensors"}
    stored = load_file(exported.folder / card.weights.file)
    assert stored.keys() == exported.network.state_dict().keys()


def test_bundle_finds_what_the_network_finds(exported):
    images = [*pictures(4), *pictures(2, 40), np.ascontiguousarray(pictures(1, 200)[0][:60])]
    assert sum(len(answer.boxes) for answer in Predictor.open(exported.folder).predict(images)) > 100
    scores, pixels = parity(exported, images)
    assert scores <= 1e-5
    assert pixels <= 1e-3


def test_part_of_an_image_is_searched_by_all_alike(exported, tmp_path):
    steps = detection_steps(INPUT_SIZE, [Crop(left=0.25, top=0.5, width=0.5, height=0.5), Grey()])
    copied = shutil.copytree(exported.folder, tmp_path / "bundle")
    write_model_card(copied, read_model_card(copied).model_copy(update={"steps": steps}))
    entries = paint_entries(tmp_path, [[BoundingBox("cut", 10, 12, 30, 24)]] * 2, width=120)
    images = [decode_rgb((tmp_path / entry.source_ref).read_bytes()) for entry in entries]
    scores, pixels = require_parity(copied, exported.network, images, LABELS, steps, DECODING)
    assert scores <= 1e-5
    assert pixels <= 1e-3
    answers = [answer.boxes for answer in Predictor.open(copied).predict(images)]
    found = detect(exported.network, samples_of(tmp_path, entries, LABELS, steps), LABELS, steps, DECODING)
    for boxes, others in zip(answers, found, strict=True):
        assert len(boxes) == len(others) > 3
        for box, other in zip(boxes, others, strict=True):
            assert box.left >= 30
            assert box.right <= 90
            assert box.top >= SIDE / 2
            assert edge_difference(box, other) < 1e-2


@pytest.mark.skipif(not TRANSISTORS.is_dir(), reason="the transistor photographs are not beside the project")
def test_bundle_finds_what_the_network_finds_in_photographs(exported):
    paths = sorted((TRANSISTORS / "test").rglob("*.png"))[::12]
    scores, pixels = parity(exported, [decode_rgb(path.read_bytes()) for path in paths])
    assert scores <= MAX_SCORE_DIFFERENCE / 10
    assert pixels <= MAX_BOX_DIFFERENCE / 10


def test_boxes_without_width_are_told_by_neither(exported):
    """They are many where the regression is silent; torchvision's own decoding keeps them."""
    answers = Predictor.open(exported.folder).predict(pictures(3))
    assert all(box.width > 0 and box.height > 0 for answer in answers for box in answer.boxes)
    head = exported.network.head.regression_head.bbox_reg
    with torch.inference_mode():
        maps = list(exported.network.backbone(torch.zeros(1, 3, 64, 64)).values())
        assert (exported.network.head(maps)["bbox_regression"] == 0).any(), head
    parity(exported, pictures(3))


def nudged(network, part, by):
    with torch.no_grad():
        dict(network.named_parameters())[part].add_(by)
    return network


@pytest.mark.parametrize(
    ("part", "by"),
    [
        ("head.classification_head.cls_logits.bias", 0.05),
        ("head.regression_head.bbox_reg.bias", 0.2),
        ("head.regression_head.bbox_ctrness.bias", -2.0),
        ("backbone.body.blocks.4.0.conv_pw.weight", 0.02),
    ],
)
def test_network_that_changed_after_export_is_noticed(part, by, exported):
    network = first_network(labels=len(LABELS)).eval()
    network.load_state_dict(load_file(exported.folder / "weights.safetensors"))
    parity(exported, pictures(2), network)
    with pytest.raises(TrainingError, match="torch and onnxruntime"):
        parity(exported, pictures(2), nudged(network, part, by))


def test_other_order_of_labels_is_noticed(exported):
    with pytest.raises(TrainingError):
        require_parity(exported.folder, exported.network, pictures(2), LABELS[::-1], STEPS, DECODING)


@pytest.mark.parametrize("count", [1, 3, 17])
def test_boxes_do_not_depend_on_the_batch(count, exported):
    predictor, images = Predictor.open(exported.folder), pictures(count)
    for image, together in zip(images, predictor.predict(images), strict=True):
        (alone,) = predictor.predict([image])
        assert len(together.boxes) == len(alone.boxes) > 0
        for box, other in zip(together.boxes, alone.boxes, strict=True):
            assert box.confidence == pytest.approx(other.confidence, abs=1e-5)


def test_damaged_weights_are_noticed(exported, tmp_path):
    copied = shutil.copytree(exported.folder, tmp_path / "bundle")
    (copied / "weights.safetensors").write_bytes(b"other")
    with pytest.raises(Exception, match=r"weights\.safetensors"):
        read_model_card(copied)
