"""A heat map is hot where the classifier looks, whatever happens to the image before."""

import numpy as np
import pytest

from tasks.bundle.adjustments import Crop
from tasks.bundle.occlusion import CELLS, HIDDEN_IMAGES, occlusion_map
from tasks.bundle.predictor import Predictor
from tasks.bundle.preprocessing import detection_steps, standard_steps
from tests.makers import SHAPES, paint_shape
from tests.tasks.bundle.made_engineered import write_engineered_model
from tests.tasks.bundle.made_looking import write_looking_model

SIZE = 64
DARK, RED = (20, 20, 20), (250, 20, 20)


def spotted(width, height, left, top, side):
    """A dark picture with a red spot."""
    image = np.full((height, width, 3), DARK, np.uint8)
    image[top : top + side, left : left + side] = RED
    return image


@pytest.fixture
def looking(tmp_path):
    def make(steps, rows, columns):
        return Predictor.open(write_looking_model(tmp_path / "bundle", steps, (slice(*rows), slice(*columns))))

    return make


def hottest(heat):
    """Middle of the hottest cells, as ratios of the width and height."""
    rows, columns = np.nonzero(heat >= 0.99 * heat.max())
    return (columns.mean() + 0.5) / heat.shape[1], (rows.mean() + 0.5) / heat.shape[0]


def test_it_is_hot_where_the_model_looks_and_cold_elsewhere(looking):
    # The spot is seen at 40..56 of 64, from the left; 8..24 from the top.
    predictor = looking(standard_steps(SIZE), (8, 24), (40, 56))
    found = occlusion_map(predictor, spotted(128, 128, 80, 16, 32), "red")
    heat = found.heat()
    assert (found.rows, found.columns, found.part) == (CELLS, CELLS, (0.0, 0.0, 1.0, 1.0))
    assert hottest(heat) == pytest.approx((48 / 64, 16 / 64), abs=1 / CELLS)
    assert heat.max() > 0.05
    assert (heat[4:] == 0.0).all()
    assert (heat[:, :3] == 0.0).all()


def test_what_speaks_against_a_label_is_not_hot(looking):
    predictor = looking(standard_steps(SIZE), (8, 24), (40, 56))
    assert (occlusion_map(predictor, spotted(128, 128, 80, 16, 32), "not").heat() == 0.0).all()


def test_padding_is_no_part_of_the_map(looking):
    # An image twice as wide as high fills the upper half of the input: half of its height are 16 pixels.
    predictor = looking(detection_steps(SIZE), (0, 16), (48, 64))
    found = occlusion_map(predictor, spotted(200, 100, 150, 0, 50), "red")
    assert found.part == (0.0, 0.0, 1.0, 1.0)
    assert hottest(found.heat()) == pytest.approx((7 / 8, 1 / 4), abs=1 / CELLS)
    assert (found.heat()[6:] == 0.0).all()


def test_a_crop_is_mapped_to_its_place(looking):
    steps = (Crop(left=0.5, top=0.0, width=0.5, height=1.0), *standard_steps(SIZE))
    predictor = looking(steps, (0, 16), (0, 16))
    found = occlusion_map(predictor, spotted(200, 100, 100, 0, 25), "red")
    assert found.part == (0.5, 0.0, 0.5, 1.0)
    over = found.over(200, 100)
    assert (over[:, :100] == 0.0).all()
    assert over[:25, 100:125].mean() > 10 * over[60:, 160:].mean()
    assert over.max() > 0.05


def test_engineered_features_are_computed_anew_and_maps_are_repeatable(tmp_path):
    predictor = Predictor.open(write_engineered_model(tmp_path / "bundle"))
    image = paint_shape(SHAPES[0], 80)
    label = predictor.predict([image])[0].top_label
    first = occlusion_map(predictor, image, label)
    assert first.heat().max() > 0.0
    assert occlusion_map(predictor, image, label) == first


def test_the_model_is_asked_as_often_as_is_said(looking):
    predictor, seen = looking(standard_steps(SIZE), (0, 8), (0, 8)), []
    inner = predictor.predict_prepared
    predictor.predict_prepared = lambda images: seen.append(len(images)) or inner(images)
    occlusion_map(predictor, spotted(64, 64, 0, 0, 8), "red")
    assert sum(seen) == HIDDEN_IMAGES + 1
