"""What is true of every engineered feature."""

import cv2
import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from tasks.features.colour import Colour
from tasks.features.feature_set import FEATURES, FeatureSet, FeatureStep
from tasks.features.gradients import Corners, Edges, Hog
from tasks.features.keypoints import DESCRIPTOR_WIDTH, Blobs, SiftWords
from tasks.features.texture import Gabor, LocalBinaryPatterns, Tamura
from tests.makers import paint_shape

OTHERS = {
    "hog of other cells": Hog(side=64, cell=8, block=3, orientations=6),
    "hog of one block": Hog(side=16, cell=16, block=1),
    "gabor of other bands": Gabor(octaves=2, orientations=4),
    "edges on another grid": Edges(grid=1, orientations=3, low=10, high=20),
    "corners on another grid": Corners(grid=7, window=5),
    "blobs of one scale": Blobs(scales=1),
    "few words": SiftWords(words=5, keypoints=20),
    "one circle": LocalBinaryPatterns(radii=(5,)),
    "coarse tamura": Tamura(scales=8, orientations=4),
    "few colours": Colour(hues=2, saturations=3, lightnesses=5),
}
STEPS = {name: feature() for name, feature in FEATURES.items()} | OTHERS
EVERY = pytest.mark.parametrize("step", STEPS.values(), ids=STEPS.keys())


def noise(height, width):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def even(height, width, colour=(40, 130, 90)):
    return np.full((height, width, 3), colour, np.uint8)


def grey(image):
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


IMAGES = {
    "one pixel": noise(1, 1),
    "one row": noise(1, 50),
    "one column": noise(50, 1),
    "tiny": noise(32, 32),
    "tiny, even": even(32, 32),
    "black": even(40, 60, (0, 0, 0)),
    "white": even(40, 60, (255, 255, 255)),
    "grey": grey(noise(45, 33)),
    "painted": paint_shape("ring", 96, (1,)),
    "large": cv2.resize(noise(60, 80), (1200, 900)),
    "part of another": noise(90, 70)[7:60, 5:64],
}


def set_of(step):
    words = step.words if isinstance(step, SiftWords) else 0
    vocabulary = np.random.default_rng(0).random((words, DESCRIPTOR_WIDTH), np.float32) if words else None
    return FeatureSet((step,), vocabulary)


@EVERY
def test_any_image_gives_finite_values(step):
    features = set_of(step)
    for name, image in IMAGES.items():
        before = image.copy()
        values = features.extract(image)
        assert (values.shape, values.dtype) == ((step.width,), np.float32), name
        assert np.isfinite(values).all(), name
        np.testing.assert_array_equal(image, before, name)
        np.testing.assert_array_equal(features.extract(image.copy()), values, name)


@EVERY
def test_every_value_has_a_name_of_its_own(step):
    names = step.names()
    assert len(names) == len(set(names)) == step.width
    assert all(name.startswith(f"{step.name}/") for name in names)


@EVERY
def test_step_comes_back_from_json(step):
    kind = TypeAdapter(FeatureStep)
    assert kind.validate_json(kind.dump_json(step)) == step


@pytest.mark.parametrize("feature", FEATURES.values(), ids=FEATURES.keys())
def test_later_version_and_unknown_setting_are_refused(feature):
    for change in ({"version": 2}, {"sharpness": 1}, {"name": "other"}):
        with pytest.raises(ValidationError):
            feature(**change)


@pytest.mark.parametrize("name", sorted(FEATURES))
def test_even_light_shows_nothing(name):
    values = dict(zip(STEPS[name].names(), set_of(STEPS[name]).extract(even(64, 64)), strict=True))
    shares = {
        "lbp": {f"lbp/radius_{radius}/bright_8" for radius in (1, 2, 4)},
        "colour": {"colour/hue_5", "colour/saturation_5", "colour/lightness_4"},
        "tamura": {"tamura/coarseness"},
    }.get(name, set())
    means = {f"colour/{channel}/mean" for channel in ("red", "green", "blue")}
    assert {key for key, value in values.items() if abs(value) > 1e-6} == shares | (means & values.keys())
    assert all(values[key] == 1.0 for key in shares)


SENSELESS = {
    "cell that does not divide": (Hog, {"side": 100, "cell": 16}),
    "block larger than the image": (Hog, {"side": 32, "cell": 16, "block": 3}),
    "low above high": (Edges, {"low": 200, "high": 100}),
    "radii descend": (LocalBinaryPatterns, {"radii": (2, 1)}),
    "radius twice": (LocalBinaryPatterns, {"radii": (2, 2)}),
    "no radius": (LocalBinaryPatterns, {"radii": ()}),
    "radius that is not exact": (LocalBinaryPatterns, {"radii": (6,)}),
    "one word": (SiftWords, {"words": 1}),
    "no octave": (Gabor, {"octaves": 0}),
    "k that sees no corner": (Corners, {"k": 0.25}),
}


@pytest.mark.parametrize(("feature", "settings"), SENSELESS.values(), ids=SENSELESS.keys())
def test_senseless_settings_are_refused(feature, settings):
    with pytest.raises(ValidationError):
        feature(**settings)
