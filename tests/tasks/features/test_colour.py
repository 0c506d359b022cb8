import colorsys

import numpy as np
import pytest

from tasks.features.colour import Colour
from tests.makers import paint_shape


def named(step, image):
    return dict(zip(step.names(), step.extract(image), strict=True))


def test_moments_are_numpys():
    image = paint_shape("ring", 64, (3,))
    values = named(Colour(), image)
    for channel, plane in zip(("red", "green", "blue"), np.moveaxis(image, 2, 0) / 255, strict=True):
        assert values[f"colour/{channel}/mean"] == pytest.approx(plane.mean(), abs=1e-6)
        assert values[f"colour/{channel}/deviation"] == pytest.approx(plane.std(), abs=1e-6)
        third = np.cbrt(((plane - plane.mean()) ** 3).mean())
        assert values[f"colour/{channel}/skewness"] == pytest.approx(third, abs=1e-5)


@pytest.mark.parametrize("hue", [0, 45, 75, 135, 195, 285, 345])
def test_hue_falls_into_its_bin(hue):
    colour = [round(255 * part) for part in colorsys.hsv_to_rgb(hue / 360, 0.6, 0.8)]
    values = named(Colour(), np.full((20, 30, 3), colour, np.uint8))
    assert values[f"colour/hue_{hue // 30}"] == 1.0
    assert values["colour/saturation_4"] == 1.0
    assert values["colour/lightness_6"] == 1.0


def test_places_do_not_matter():
    image = paint_shape("square", 48, (5,))
    shuffled = np.random.default_rng(0).permutation(image.reshape(-1, 3)).reshape(image.shape)
    np.testing.assert_array_equal(Colour().extract(shuffled), Colour().extract(image))


def test_shares_sum_to_one():
    step = Colour(hues=5, saturations=3, lightnesses=4)
    values = step.extract(paint_shape("cross", 48, (6,)))
    assert [values[:5].sum(), values[5:8].sum(), values[8:12].sum()] == pytest.approx([1, 1, 1])
