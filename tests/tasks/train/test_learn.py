"""Learning from engineered features alone: no backbone is asked for, and images of one colour do no harm."""

import hashlib
from contextlib import nullcontext

import numpy as np
import pytest

from tasks.bundle.predictor import Predictor
from tasks.bundle.preprocessing import detection_steps, standard_steps
from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.errors import DataError
from tasks.stores.content import ContentStore
from tasks.train.candidates import Search
from tasks.train.gather import FeatureSources
from tasks.train.heads import forest
from tasks.train.learn import Lesson, learn
from tasks.train.views import VIEWS
from tests.makers import SHAPES, paint_shape, png_bytes

LABELS = ("round", "square", "stripes")
HUES = {"round": (200, 40, 40), "square": (40, 200, 40), "stripes": (40, 40, 200)}
COUNT = 8


def painted(label, number):
    return paint_shape(label, 60, (SHAPES.index(label), number))


def one_colour(label, number):
    return np.full((60, 60, 3), np.array(HUES[label]) + number, np.uint8)


def all_alike(label, number):
    return np.full((60, 60, 3), 90, np.uint8)


@pytest.fixture
def teach(tmp_path, monkeypatch):
    """Learn from images that a function paints for a label and a number; forests are small."""
    monkeypatch.setattr(forest, "TREES", 16)

    def run(paint, features, algorithm="svm", steps=None, views=()):
        entries = []
        for label in LABELS:
            for number in range(COUNT):
                data, name = png_bytes(paint(label, number)), f"{label}-{number}.png"
                (tmp_path / name).write_bytes(data)
                digest = hashlib.sha256(data).hexdigest()
                entries.append(ImageEntry(name, digest, 60, 60, Truth(labels=(label,)), group=name))
        lesson = Lesson("painted", "d" * 64, LABELS, tmp_path, entries, [], Search.of(algorithm, features, 0), 3)
        sources = FeatureSources(ContentStore(tmp_path / "store"), None, steps or standard_steps(64), views, 0)
        model = learn(tmp_path, lesson, sources, lambda *_: nullcontext(lambda *_: None))
        return model, Predictor.open(tmp_path / "bundle", expected_digest=model.bundle_digest)

    return run


@pytest.mark.parametrize(
    ("features", "algorithm", "views", "steps"),
    [
        pytest.param(("hog", "lbp", "colour"), "svm", VIEWS[:1], None, id="several, with views"),
        pytest.param(("sift_words", "blobs", "edges"), "logistic", VIEWS[:1], None, id="words, with views"),
        pytest.param(("gabor", "corners", "tamura"), "knn", (), detection_steps(64), id="padded images"),
        pytest.param(("hog", "sift_words"), "ensemble", (), None, id="an ensemble"),
    ],
)
def test_what_was_learned_is_what_the_bundle_says(features, algorithm, views, steps, teach):
    model, predictor = teach(painted, features, algorithm, steps, views)
    assert model.cross_validated.accuracy > 0.7
    assert model.parity_difference < 1e-5
    assert set(predictor.card.networks) == {"head"}
    assert tuple(step.name for step in predictor.card.features.steps) == features
    assert "backbone" not in predictor.card.provenance
    unseen = [(label, painted(label, COUNT + number)) for label in LABELS for number in range(4)]
    answers = predictor.predict([image for _, image in unseen])
    assert sum(one.top_label == label for one, (label, _) in zip(answers, unseen, strict=True)) >= 9


@pytest.mark.parametrize("algorithm", ["logistic", "svm", "knn", "random_forest"])
def test_features_that_are_constant_do_no_harm(algorithm, teach):
    """Images of one colour each have neither outlines nor textures; their colours tell them apart."""
    model, predictor = teach(one_colour, ("hog", "edges", "blobs", "colour"), algorithm)
    assert model.cross_validated.accuracy == 1.0
    image = one_colour("square", 3)
    image[20:30, 20:30] = 0  # what was constant varies all at once
    confidences = predictor.predict([image])[0].confidences
    assert np.isfinite(list(confidences.values())).all()
    assert sum(confidences.values()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("paint", "features", "says"),
    [
        pytest.param(one_colour, ("hog", "edges"), "hog and edges is the same for all 24", id="nothing to see"),
        pytest.param(all_alike, ("colour",), "colour is the same for all 24", id="one image again and again"),
        pytest.param(one_colour, ("sift_words", "colour"), "SIFT descriptors, fewer than", id="no keypoint"),
    ],
)
def test_images_without_anything_to_learn_from_are_told(paint, features, says, teach):
    with pytest.raises(DataError, match=says):
        teach(paint, features)
