"""Bundles whose head sees engineered features: what is refused, and that nothing of them is unpickled."""

import json
import pickle
import shutil

import numpy as np
import pytest

from tasks.bundle.format import MODEL_FILE, file_sha256, read_model_card
from tasks.bundle.predictor import BATCH_SIZE, Predictor
from tasks.bundle.preprocessing import standard_steps
from tasks.errors import BundleError
from tasks.features.keypoints import DESCRIPTOR_WIDTH
from tasks.features.vocabulary import VOCABULARY_FILE, write_vocabulary
from tests.makers import SHAPES, paint_shape
from tests.tasks.bundle.made_engineered import FEATURES, write_engineered_model


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write_engineered_model(tmp_path_factory.mktemp("engineered") / "bundle")


@pytest.fixture
def bundle(original, tmp_path):
    return shutil.copytree(original, tmp_path / "bundle")


def edit(bundle, change):
    content = json.loads((bundle / MODEL_FILE).read_text())
    change(content)
    (bundle / MODEL_FILE).write_text(json.dumps(content))


def test_answers_are_the_heads_for_the_features_of_the_framed_image(original):
    predictor = Predictor.open(original)
    images = [paint_shape(SHAPES[number % 6], 40 + number, (number,)) for number in range(BATCH_SIZE + 1)]
    framed = [standard_steps(64)[0].apply(image) for image in images]
    rows = FEATURES.extract_all(framed).astype(np.float64)
    for row, prediction in zip(rows, predictor.predict(images), strict=True):
        odds = np.exp([0.0, row[:3].sum()])
        expected = dict(zip(("few", "many"), odds / odds.sum(), strict=True))
        assert prediction.confidences == pytest.approx(expected, abs=1e-5)


def test_image_is_small_while_it_waits(original):
    prepared = Predictor.open(original).prepare(paint_shape("ring", 900))
    assert prepared.pixels.nbytes + prepared.values.nbytes < 20_000
    assert prepared.values.shape == (FEATURES.width,)


def test_bundle_holds_what_the_card_names(original):
    card = read_model_card(original)
    assert {path.name for path in original.iterdir()} == {MODEL_FILE, "head.onnx", VOCABULARY_FILE}
    assert card.features.vocabulary.sha256 == file_sha256(original / VOCABULARY_FILE)
    assert card.features.steps == FEATURES.steps


def first(content):
    return content["features"]["steps"][0]


EDITS = {
    "step twice": lambda c: c["features"]["steps"].append(first(c)),
    "no step": lambda c: c["features"].update(steps=[]),
    "step of a later version": lambda c: first(c).update(version=2),
    "unknown step": lambda c: first(c).update(name="wavelets"),
    "unknown option": lambda c: first(c).update(code="import os"),
    "option beyond its limit": lambda c: first(c).update(words=10**9),
    "fewer words than the vocabulary": lambda c: first(c).update(words=3),
    "no vocabulary": lambda c: c["features"].pop("vocabulary"),
    "vocabulary of nothing": lambda c: c["features"]["steps"].pop(0),
    "vocabulary elsewhere": lambda c: c["features"]["vocabulary"].update(file="../vocabulary.npy"),
    "digest of another file": lambda c: c["features"]["vocabulary"].update(sha256="0" * 64),
    "other options, other width": lambda c: c["features"]["steps"][1].update(hues=5),
    "one step less than the head takes": lambda c: c["features"]["steps"].pop(),
    "another one in its place": lambda c: c["features"]["steps"].__setitem__(1, {"name": "hog"}),
    "nothing to see": lambda c: c.pop("features"),
    "a network that sees none": lambda c: c.update(networks={"network": c["networks"]["head"]}),
    "other task": lambda c: c.update(task="anomaly"),
}


@pytest.mark.parametrize("change", EDITS.values(), ids=EDITS.keys())
def test_senseless_card_is_refused(change, bundle):
    edit(bundle, change)
    with pytest.raises(BundleError):
        Predictor.open(bundle)


OBJECTS = np.array([{"a": 1}], object)
CONTENTS = {
    "missing": lambda path: path.unlink(),
    "changed": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "folder": lambda path: (path.unlink(), path.mkdir()),
}
FORGERIES = {
    "pickle": lambda path: path.write_bytes(pickle.dumps(OBJECTS)),
    "array of objects": lambda path: np.save(path, OBJECTS, allow_pickle=True),
    "garbage": lambda path: path.write_bytes(b"words"),
    "empty": lambda path: path.write_bytes(b""),
    "other number of words": lambda path: write_vocabulary(path.parent, np.ones((5, DESCRIPTOR_WIDTH), np.float32)),
    "no numbers": lambda path: write_vocabulary(path.parent, np.full((4, DESCRIPTOR_WIDTH), np.nan, np.float32)),
}


@pytest.mark.parametrize("damage", [*CONTENTS.values(), *FORGERIES.values()], ids=[*CONTENTS, *FORGERIES])
def test_damaged_vocabulary_is_refused(damage, bundle):
    damage(bundle / VOCABULARY_FILE)
    with pytest.raises(BundleError):
        Predictor.open(bundle)


@pytest.mark.parametrize("damage", FORGERIES.values(), ids=FORGERIES.keys())
def test_forged_vocabulary_with_the_right_digest_is_refused(damage, bundle):
    damage(bundle / VOCABULARY_FILE)
    digest = file_sha256(bundle / VOCABULARY_FILE)
    edit(bundle, lambda content: content["features"]["vocabulary"].update(sha256=digest))
    with pytest.raises(BundleError):
        Predictor.open(bundle)
