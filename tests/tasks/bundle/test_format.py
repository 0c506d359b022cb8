import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.bundle import format as bundle_format
from tasks.bundle.adjustments import Clahe, Crop, Denoise, Grey
from tasks.bundle.format import (
    MODEL_FILE,
    ModelCard,
    Network,
    WeightsFile,
    bundle_digest,
    file_sha256,
    read_model_card,
    write_model_card,
)
from tasks.bundle.predictor import Predictor
from tasks.bundle.preprocessing import detection_steps, standard_steps
from tasks.errors import BundleError
from tests.tasks.bundle.made_detector import silent_outputs, write_detector
from tests.tasks.conftest import Made

Content = dict[str, Any]


@pytest.fixture
def bundle(trained: Made, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained.model.bundle_path, tmp_path / "bundle"))


def test_card_comes_back_as_written(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"net")
    network = Network(file="net.onnx", sha256=file_sha256(tmp_path / "net.onnx"))
    card = ModelCard(
        task="classification",
        labels=("ü b", "a/c", "汉字"),
        thresholds={"ü b": 0.0, "a/c": 1.0, "汉字": 1 / 3},
        steps=standard_steps(96),
        networks={"backbone": network, "head": network},
        dataset_digest="d" * 64,
        provenance={"seed": 0, "strength": 0.1, "keeneye": "0.1.0", "tried": True},
    )
    digest = write_model_card(tmp_path, card)
    assert digest == bundle_digest(tmp_path) == file_sha256(tmp_path / MODEL_FILE)
    assert read_model_card(tmp_path) == card
    assert read_model_card(tmp_path, expected_digest=digest) == card
    assert write_model_card(tmp_path, card) == digest


def test_one_label_is_enough_where_an_image_may_have_none(tmp_path: Path) -> None:
    parts = {
        "labels": ("cut",),
        "thresholds": {"cut": 0.5},
        "steps": standard_steps(96),
        "networks": dict.fromkeys(("backbone", "head"), Network(file="net.onnx", sha256="0" * 64)),
        "dataset_digest": "d" * 64,
        "provenance": {},
    }
    card = ModelCard(task="classification", labels_per_image="any", **parts)
    assert card.is_multi_label
    with pytest.raises(ValidationError, match="at least 2 labels"):
        ModelCard(task="classification", **parts)
    with pytest.raises(ValidationError, match="anomaly knows no labels_per_image"):
        ModelCard(task="anomaly", labels_per_image="any", **parts)


CLASSIFIER_JSON = """{
  "dataset_digest": "0000000000000000000000000000000000000000000000000000000000000000",
  "labels": [
    "blue",
    "red"
  ],
  "networks": {
    "backbone": {
      "file": "backbone.onnx",
      "sha256": "1111111111111111111111111111111111111111111111111111111111111111"
    },
    "head": {
      "file": "head.onnx",
      "sha256": "2222222222222222222222222222222222222222222222222222222222222222"
    }
  },
  "provenance": {
    "seed": 0
  },
  "schema_version": 1,
  "steps": [
    {
      "height": 224,
      "name": "resize",
      "version": 1,
      "width": 224
    },
    {
      "mean": [
        0.485,
        0.456,
        0.406
      ],
      "name": "normalise",
      "standard_deviation": [
        0.229,
        0.224,
        0.225
      ],
      "version": 1
    }
  ],
  "task": "classification",
  "thresholds": {
    "blue": 0.25,
    "red": 0.5
  }
}
"""


def test_bytes_of_a_classifiers_card_stay_as_they_are(tmp_path: Path) -> None:
    card = ModelCard(
        task="classification",
        labels=("blue", "red"),
        thresholds={"red": 0.5, "blue": 0.25},
        steps=standard_steps(224),
        networks={
            "backbone": Network(file="backbone.onnx", sha256="1" * 64),
            "head": Network(file="head.onnx", sha256="2" * 64),
        },
        dataset_digest="0" * 64,
        provenance={"seed": 0},
    )
    digest = write_model_card(tmp_path, card)
    assert (tmp_path / MODEL_FILE).read_text(encoding="utf-8") == CLASSIFIER_JSON
    assert digest == "c4feb2d68bbde952b0b5d2fd792825c4ac2069c9f2bcc86095c3ce77e1153d23"
    assert ModelCard.model_validate_json(CLASSIFIER_JSON) == card


def test_classifier_may_be_one_network() -> None:
    card = ModelCard.model_validate_json(CLASSIFIER_JSON)
    network = Network(file="network.onnx", sha256="1" * 64)
    whole = card.model_copy(update={"networks": {"network": network}})
    assert ModelCard.model_validate_json(whole.model_dump_json(exclude_none=True)) == whole
    both = card.model_copy(update={"networks": {**card.networks, "network": network}})
    with pytest.raises(ValidationError, match="needs backbone and head, or network"):
        ModelCard.model_validate_json(both.model_dump_json(exclude_none=True))


def test_classifier_may_pad_its_images() -> None:
    card = ModelCard.model_validate_json(CLASSIFIER_JSON)
    padded = card.model_copy(update={"steps": detection_steps(224)})
    assert ModelCard.model_validate_json(padded.model_dump_json(exclude_none=True)) == padded


def test_adjustments_come_first_in_the_card(tmp_path: Path) -> None:
    card = ModelCard.model_validate_json(CLASSIFIER_JSON)
    adjustments = [Crop(left=0.25, width=0.5), Denoise(), Clahe(), Grey()]
    steps = standard_steps(224, adjustments)
    write_model_card(tmp_path, card.model_copy(update={"steps": steps}))
    content = json.loads((tmp_path / MODEL_FILE).read_text(encoding="utf-8"))
    assert [step["name"] for step in content["steps"]] == ["crop", "denoise", "clahe", "grey", "resize", "normalise"]
    assert content["steps"][4:] == json.loads(CLASSIFIER_JSON)["steps"]
    assert ModelCard.model_validate(content).steps == steps


def test_trained_bundle_holds_only_what_the_card_names(bundle: Path, trained: Made) -> None:
    card = read_model_card(bundle, expected_digest=trained.model.bundle_digest)
    assert {path.name for path in bundle.iterdir()} == {MODEL_FILE, *(net.file for net in card.networks.values())}
    assert card.labels == trained.manifest.labels
    assert card.dataset_digest == trained.manifest.dataset_digest


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


def _make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to("/no/such/file")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut short": _truncate,
    "one bit": _flip,
    "folder": _make_folder,
    "dangling link": _dangle,
    "pickle": lambda path: path.write_bytes(pickle.dumps({"a": 1})),
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 4),
}


@pytest.mark.parametrize("name", [MODEL_FILE, "backbone.onnx", "head.onnx"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_bundle_is_refused(damage: Callable[[Path], None], name: str, bundle: Path, trained: Made) -> None:
    damage(bundle / name)
    with pytest.raises(BundleError):
        Predictor.open(bundle, expected_digest=trained.model.bundle_digest)


@pytest.mark.parametrize("folder", ["empty", "absent", "file"])
def test_folder_without_a_bundle_is_refused(folder: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BundleError, match=MODEL_FILE):
        read_model_card(tmp_path / folder)


def test_other_digest_is_refused(bundle: Path, trained: Made) -> None:
    _edit(bundle, lambda content: content["provenance"].update(seed=99))
    read_model_card(bundle)
    with pytest.raises(BundleError, match=trained.model.bundle_digest[:12]):
        read_model_card(bundle, expected_digest=trained.model.bundle_digest)


@pytest.mark.parametrize("limit", ["MAX_MODEL_JSON_BYTES", "MAX_NETWORK_BYTES"])
def test_oversized_file_is_refused(limit: str, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_format, limit, 100)
    with pytest.raises(BundleError, match="larger than 100 bytes"):
        read_model_card(bundle)


GREY = {"name": "grey", "version": 1}


def _first_network(content: Content) -> Content:
    networks: Content = content["networks"]
    return networks.get("head") or networks["detector"]


EDITS: dict[str, Callable[[Content], object]] = {
    "newer schema": lambda c: c.update(schema_version=2),
    "much newer schema": lambda c: c.update(schema_version=10**30),
    "older schema": lambda c: c.update(schema_version=0),
    "negative schema": lambda c: c.update(schema_version=-1),
    "schema in words": lambda c: c.update(schema_version="one"),
    "other task": lambda c: c.update(task="detection"),
    "unknown field": lambda c: c.update(run="rm -rf"),
    "no labels": lambda c: c.pop("labels"),
    "one label": lambda c: c.update(labels=["red"], thresholds={"red": 0.5}),
    "label twice": lambda c: c.update(labels=["red", "red", "blue"]),
    "labels no list": lambda c: c.update(labels="red"),
    "threshold missing": lambda c: c["thresholds"].pop("red"),
    "threshold of a stranger": lambda c: c["thresholds"].update(stranger=0.5),
    "threshold too high": lambda c: c["thresholds"].update(red=1.01),
    "threshold negative": lambda c: c["thresholds"].update(red=-0.01),
    "threshold no number": lambda c: c["thresholds"].update(red=float("nan")),
    "threshold infinite": lambda c: c["thresholds"].update(red=float("inf")),
    "threshold null": lambda c: c["thresholds"].update(red=None),
    "steps turned round": lambda c: c["steps"].reverse(),
    "step missing": lambda c: c["steps"].pop(),
    "step twice": lambda c: c["steps"].append(c["steps"][0]),
    "step of a later version": lambda c: c["steps"][0].update(version=2),
    "adjustment behind the framing": lambda c: c["steps"].insert(1, {"name": "grey", "version": 1}),
    "adjustment twice": lambda c: c.update(steps=[GREY, GREY, *c["steps"]]),
    "adjustment of a later version": lambda c: c["steps"].insert(0, {**GREY, "version": 2}),
    "unknown adjustment": lambda c: c["steps"].insert(0, {**GREY, "name": "invert"}),
    "crop beyond the image": lambda c: c["steps"].insert(0, {"name": "crop", "left": 0.5, "width": 0.6}),
    "crop to nothing": lambda c: c["steps"].insert(0, {"name": "crop", "width": 0.0}),
    "even median": lambda c: c["steps"].insert(0, {"name": "denoise", "diameter": 4}),
    "thousand tiles": lambda c: c["steps"].insert(0, {"name": "clahe", "tiles": 1000}),
    "size 0": lambda c: c["steps"][0].update(width=0),
    "size too large": lambda c: c["steps"][0].update(width=10**6),
    "deviation 0": lambda c: c["steps"][1].update(standard_deviation=[0.0, 0.2, 0.2]),
    "parent folder": lambda c: _first_network(c).update(file="../head.onnx"),
    "absolute path": lambda c: _first_network(c).update(file="/etc/passwd"),
    "subfolder": lambda c: _first_network(c).update(file="a/head.onnx"),
    "backslash": lambda c: _first_network(c).update(file="..\\head.onnx"),
    "line break": lambda c: _first_network(c).update(file="head.onnx\n"),
    "NUL": lambda c: _first_network(c).update(file="head.onnx\0"),
    "dots only": lambda c: _first_network(c).update(file="..onnx"),
    "pickle file": lambda c: _first_network(c).update(file="head.pkl"),
    "digest too short": lambda c: _first_network(c).update(sha256="ab"),
    "digest of another file": lambda c: _first_network(c).update(sha256="0" * 64),
    "file that is not there": lambda c: _first_network(c).update(file="other.onnx"),
    "unknown role": lambda c: c["networks"].update(neck=_first_network(c)),
    "no head": lambda c: c["networks"].pop("head"),
    "no network": lambda c: c.update(networks={}),
    "nested provenance": lambda c: c["provenance"].update(deep={"a": 1}),
    "more labels than the head has": lambda c: c.update(
        labels=[*c["labels"], "violet"], thresholds={**c["thresholds"], "violet": 0.5}
    ),
    "fewer labels than the head has": lambda c: c.update(
        labels=["blue", "green"], thresholds={"blue": 0.5, "green": 0.5}
    ),
    "head in the backbone's place": lambda c: c["networks"].update(backbone=_first_network(c)),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_senseless_card_is_refused(edit: Callable[[Content], object], bundle: Path) -> None:
    _edit(bundle, edit)
    with pytest.raises(BundleError):
        Predictor.open(bundle)


TEXTS = {
    "nothing": b"",
    "null": b"null",
    "list": b"[]",
    "number": b"7",
    "cut short": b'{"labels": [',
    "not UTF-8": b"\xff\xfe{}",
    "deep": b"[" * 100_000,
    "endless schema number": b'{"schema_version": ' + b"9" * 5000 + b"}",
    "byte order mark": b"\xef\xbb\xbf{}",
    "lone surrogate": b'{"schema_version": 1, "labels": ["\\ud800", "a"]}',
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_text_that_is_no_card_is_refused(text: bytes, bundle: Path) -> None:
    (bundle / MODEL_FILE).write_bytes(text)
    with pytest.raises(BundleError):
        read_model_card(bundle)


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", pickle.dumps([1, 2]), b"\x08\x07" + b"\0" * 100],
    ids=["empty", "text", "pickle", "zeros"],
)
@pytest.mark.parametrize("role", ["backbone", "head"])
def test_garbage_with_the_right_digest_is_refused(role: str, content: bytes, bundle: Path) -> None:
    (bundle / f"{role}.onnx").write_bytes(content)
    digest = file_sha256(bundle / f"{role}.onnx")
    _edit(bundle, lambda card: card["networks"][role].update(sha256=digest))
    with pytest.raises(BundleError):
        Predictor.open(bundle)


def test_newer_schema_asks_for_an_update(bundle: Path) -> None:
    _edit(bundle, EDITS["newer schema"])
    with pytest.raises(BundleError, match="update Keeneye"):
        read_model_card(bundle)


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"tensors")
    return write_detector(tmp_path, silent_outputs(), weights=WeightsFile(sha256=file_sha256(weights)))


def test_detectors_card_comes_back_as_written(detector: Path) -> None:
    card = read_model_card(detector, expected_digest=bundle_digest(detector))
    assert card.task == "detection"
    assert card.decoding is not None
    assert card.weights == WeightsFile(sha256=file_sha256(detector / "weights.safetensors"))
    assert write_model_card(detector, card) == bundle_digest(detector)
    assert read_model_card(detector) == card


def test_detector_needs_no_weights(detector: Path) -> None:
    _edit(detector, lambda card: card.pop("weights"))
    (detector / "weights.safetensors").unlink()
    assert read_model_card(detector).weights is None


def test_detector_may_have_one_label(tmp_path: Path) -> None:
    bundle = write_detector(tmp_path, silent_outputs(1), labels=("dent",), thresholds={"dent": 0.5})
    assert Predictor.open(bundle).card.labels == ("dent",)


@pytest.mark.parametrize("name", [MODEL_FILE, "detector.onnx", "weights.safetensors"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_detector_is_refused(damage: Callable[[Path], None], name: str, detector: Path) -> None:
    digest = bundle_digest(detector)
    Predictor.open(detector, expected_digest=digest)
    damage(detector / name)
    with pytest.raises(BundleError):
        Predictor.open(detector, expected_digest=digest)


def test_oversized_weights_are_refused(detector: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_format, "MAX_NETWORK_BYTES", (detector / "detector.onnx").stat().st_size)
    read_model_card(detector)
    (detector / "weights.safetensors").write_bytes(bytes(bundle_format.MAX_NETWORK_BYTES + 1))
    with pytest.raises(BundleError, match=r"weights\.safetensors is larger"):
        read_model_card(detector)


def _decode_with(**fields: object) -> Callable[[Content], object]:
    return lambda card: card["decoding"].update(fields)


RESIZE = {"name": "resize", "version": 1, "width": 64, "height": 64}
DETECTOR_EDITS: dict[str, Callable[[Content], object]] = {
    "no decoding": lambda c: c.pop("decoding"),
    "decoding null": lambda c: c.update(decoding=None),
    "other decoder": _decode_with(name="yolo"),
    "later decoder": _decode_with(version=2),
    "unknown setting": _decode_with(eval="1"),
    "no strides": _decode_with(strides=[]),
    "stride 0": _decode_with(strides=[0]),
    "stride negative": _decode_with(strides=[-8, 8]),
    "stride huge": _decode_with(strides=[512]),
    "stride twice": _decode_with(strides=[16, 16]),
    "strides descend": _decode_with(strides=[32, 16]),
    "too many strides": _decode_with(strides=list(range(1, 10))),
    "stride that does not divide the input": _decode_with(strides=[16, 24]),
    "stride larger than the input": _decode_with(strides=[16, 128]),
    "billion candidates": _decode_with(candidates_per_level=10**9),
    "no candidates": _decode_with(candidates_per_level=0),
    "billion boxes": _decode_with(max_boxes=10**9),
    "no boxes": _decode_with(max_boxes=0),
    "floor negative": _decode_with(score_floor=-0.1),
    "floor 1": _decode_with(score_floor=1.0),
    "floor no number": _decode_with(score_floor=float("nan")),
    "overlap 0": _decode_with(nms_iou=0.0),
    "overlap above 1": _decode_with(nms_iou=1.5),
    "overlap no number": _decode_with(nms_iou=float("nan")),
    "stretched": lambda c: c["steps"].__setitem__(0, RESIZE),
    "letterbox of a later version": lambda c: c["steps"][0].update(version=2),
    "input too large": lambda c: c["steps"][0].update(size=2**20),
    "classifier's networks": lambda c: c.update(
        networks=dict.fromkeys(("backbone", "head"), c["networks"]["detector"])
    ),
    "a head besides": lambda c: c["networks"].update(head=c["networks"]["detector"]),
    "no network": lambda c: c.update(networks={}),
    "classification": lambda c: c.update(task="classification"),
    "no labels": lambda c: c.update(labels=[], thresholds={}),
    "weights elsewhere": lambda c: c["weights"].update(file="../weights.safetensors"),
    "weights pickled": lambda c: c["weights"].update(file="weights.pt"),
    "weights without a digest": lambda c: c["weights"].pop("sha256"),
    "digest of other weights": lambda c: c["weights"].update(sha256="0" * 64),
}


@pytest.mark.parametrize("edit", DETECTOR_EDITS.values(), ids=DETECTOR_EDITS.keys())
def test_senseless_card_of_a_detector_is_refused(edit: Callable[[Content], object], detector: Path) -> None:
    _edit(detector, edit)
    with pytest.raises(BundleError):
        read_model_card(detector)


@pytest.mark.parametrize(
    "edit",
    [
        lambda c: c.update(decoding={"strides": [16]}),
        lambda c: c["networks"].update(detector=_first_network(c)),
    ],
    ids=["decoding", "detector"],
)
def test_parts_of_a_detector_in_a_classifier_are_refused(edit: Callable[[Content], object], bundle: Path) -> None:
    _edit(bundle, edit)
    with pytest.raises(BundleError, match="no valid model card"):
        read_model_card(bundle)


def _edit(bundle: Path, edit: Callable[[Content], object]) -> None:
    path = bundle / MODEL_FILE
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")
