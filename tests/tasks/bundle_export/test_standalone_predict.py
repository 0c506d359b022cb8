"""The script in every export: in a bare process, without Keeneye, it answers as the predictor does."""

import ast
import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from tasks.bundle.adjustments import Clahe, Crop, Denoise, Grey
from tasks.bundle.format import BoxDecoding, read_model_card, write_model_card
from tasks.bundle.predictor import Predictor
from tasks.bundle.preprocessing import Resize, detection_steps
from tasks.bundle_export.formats import EXAMPLE
from tasks.bundle_export.openvino_bundle import convert_bundle
from tasks.vision.images import decode_rgb
from tests.tasks.bundle.made_anomaly_model import PLAIN, SCORING, write_anomaly_model
from tests.tasks.bundle.made_engineered import write_engineered_model
from tests.tasks.bundle_export.conftest import LABELS
from tests.tasks.bundle_export.conv_detector import SIDE, STRIDES, write_conv_detector

ADJUSTMENTS = (Crop(left=0.2, top=0.1, width=0.6, height=0.7), Denoise(diameter=5), Clahe(tiles=4), Grey())


@pytest.fixture(scope="module")
def photos(pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / f"{number}.png" for number in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        cv2.imwrite(str(path), picture)
    turned, clear = Image.fromarray(pictures[1]), Image.fromarray(np.dstack([pictures[0], pictures[0][..., 0]]))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(folder / "turned.jpg", exif=exif)
    clear.save(folder / "clear.png")
    return [*paths, folder / "turned.jpg", folder / "clear.png"]


@pytest.fixture(
    scope="module",
    params=[
        *("classifier", "adjusted classifier", "padded classifier"),
        *("detector", "detector that merges", "adjusted detector"),
        *("anomaly model", "adjusted anomaly model", "sharp anomaly model"),
    ],
)
def bundle(request, tmp_path_factory):
    if request.param == "classifier":
        return request.getfixturevalue("exportable").model.bundle_path
    if request.param == "detector":
        return request.getfixturevalue("detector")
    if request.param.endswith("anomaly model"):
        steps = (*(ADJUSTMENTS if request.param.startswith("adjusted") else ()), Resize(width=64, height=64), PLAIN)
        # The photographs are far from grey, each in places of its own.
        scoring = SCORING.model_copy(update={"limit": 40.0, "region_limit": 30.0, "smoothing_cells": 0.7})
        if request.param.startswith("sharp"):
            # What normal images that are all alike give.
            scoring = scoring.model_copy(update={"limit": 1e-6, "steepness": 100.0})
        return write_anomaly_model(tmp_path_factory.mktemp("anomaly") / "bundle", steps=steps, scoring=scoring)
    if request.param in {"adjusted classifier", "padded classifier"}:
        bundle = shutil.copytree(
            request.getfixturevalue("exportable").model.bundle_path, tmp_path_factory.mktemp("adjusted") / "bundle"
        )
        card, is_padded = read_model_card(bundle), request.param.startswith("padded")
        steps = detection_steps(card.steps[0].width) if is_padded else (*ADJUSTMENTS, *card.steps)
        write_model_card(bundle, card.model_copy(update={"steps": steps}))
        return bundle
    if request.param == "adjusted detector":
        folder = tmp_path_factory.mktemp("adjusted") / "bundle"
        return write_conv_detector(folder, LABELS, steps=detection_steps(SIDE, ADJUSTMENTS))
    decoding = BoxDecoding(strides=STRIDES, centreness_weight=0.25, nms_iou=0.3, merge_power=2.0, max_boxes=9)
    return write_conv_detector(tmp_path_factory.mktemp("merging") / "bundle", LABELS, decoding=decoding)


def run(folder, photos):
    # -I: neither the working folder nor PYTHONPATH nor the user's packages.
    command = [sys.executable, "-I", str(folder / "predict.py"), *map(str, photos)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.mark.parametrize("format_name", ["onnx", "openvino"])
def test_answers_as_the_predictor(bundle, photos, tmp_path, format_name):
    if format_name == "openvino":
        convert_bundle(bundle, tmp_path)
    else:
        for path in bundle.iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "predict.py").write_bytes(EXAMPLE.read_bytes())
    expected = Predictor.open(bundle).predict([decode_rgb(path.read_bytes()) for path in photos])
    found = run(tmp_path, photos)
    assert [one["image"] for one in found] == [str(path) for path in photos]
    for answer, one in zip(expected, found, strict=True):
        if "labels" in one:
            assert one["confidences"] == pytest.approx(answer.confidences, abs=1e-4)
            assert tuple(one["labels"]) == answer.labels
        assert len(one.get("boxes", ())) == len(answer.boxes)
        if "boxes" not in one:
            continue
        assert answer.boxes
        if "labels" not in one:
            assert len(answer.boxes) > 3
        for box, other in zip(one["boxes"], answer.boxes, strict=True):
            assert (box["label"], box["is_given"]) == (other.label, other.is_given)
            figures = [box[name] for name in ("left", "top", "width", "height", "confidence")]
            assert figures == pytest.approx(
                [other.left, other.top, other.width, other.height, other.confidence], abs=1e-3
            )


def test_engineered_features_are_left_to_keeneye(photos, tmp_path):
    bundle = write_engineered_model(tmp_path / "bundle")
    (bundle / "predict.py").write_bytes(EXAMPLE.read_bytes())
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run(bundle, photos[:1])
    assert caught.value.stderr.startswith("this script does not compute engineered features (sift_words, colour)")


def test_imports_nothing_of_keeneye():
    tree = ast.parse(EXAMPLE.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    foreign = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert foreign == {"PIL", "cv2", "numpy", "onnxruntime", "openvino"}
