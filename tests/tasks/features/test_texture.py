import cv2
import numpy as np
import pytest
from skimage.feature import local_binary_pattern

from tasks.features.texture import Gabor, LocalBinaryPatterns, Tamura
from tests.makers import paint_shape


def named(step, image):
    return dict(zip(step.names(), step.extract(image), strict=True))


def wave(wavelength, angle, side=96, amplitude=80, phase=0.0):
    """A wave that travels at an angle, clockwise from the right (degrees)."""
    y, x = np.indices((side, side))
    along = x * np.cos(np.deg2rad(angle)) + y * np.sin(np.deg2rad(angle))
    plane = 128 + amplitude * np.cos(2 * np.pi * along / wavelength + phase)
    return np.repeat(np.round(plane).astype(np.uint8)[..., None], 3, axis=2)


def noise(side=96, low=0, high=256):
    grey = np.random.default_rng(0).integers(low, high, (side, side, 1), dtype=np.uint8)
    return np.repeat(grey, 3, axis=2)


@pytest.mark.parametrize("angle", [0, 30, 60, 90, 120, 150])
@pytest.mark.parametrize("wavelength", [4, 8, 16])
def test_gabor_answers_to_its_own_wave(wavelength, angle):
    values = named(Gabor(), wave(wavelength, angle))
    means = {name: value for name, value in values.items() if name.endswith("/mean")}
    assert max(means, key=means.get) == f"gabor/wavelength_{wavelength}/angle_{angle}/mean"


def test_gabors_magnitude_is_the_amplitude_whatever_the_phase():
    name = "gabor/wavelength_4/angle_0/mean"
    found = [named(Gabor(), wave(4, 0, amplitude=50, phase=phase))[name] for phase in (0.0, 1.0, 2.0)]
    assert found == pytest.approx([50 / 255] * 3, rel=0.1)
    assert named(Gabor(), wave(4, 0, amplitude=100))[name] == pytest.approx(2 * found[0], rel=0.02)


def test_gabor_does_not_see_light():
    image = paint_shape("ring", 64, (3,)) // 2
    np.testing.assert_allclose(Gabor().extract(image + 60), Gabor().extract(image), atol=1e-5)


@pytest.mark.parametrize("radius", [1, 2, 3, 5])
def test_patterns_are_those_of_scikit_image(radius):
    image = paint_shape("cross", 120, (5,))
    codes = local_binary_pattern(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 8, radius, "uniform")
    # Beyond the edge scikit-image sees black; here the edge goes on.
    expected = np.bincount(codes[radius:-radius, radius:-radius].astype(int).ravel(), minlength=10)
    found = LocalBinaryPatterns(radii=(radius,)).extract(image)
    np.testing.assert_allclose(found, expected / expected.sum(), atol=0.02)


def test_patterns_do_not_see_light():
    image = paint_shape("ring", 64, (3,)) // 2
    step = LocalBinaryPatterns()
    np.testing.assert_array_equal(step.extract(image + 100), step.extract(image))
    np.testing.assert_array_equal(step.extract(np.ascontiguousarray(np.rot90(image))), step.extract(image))
    assert not np.array_equal(step.extract(paint_shape("cross", 64, (3,))), step.extract(image))


def test_patterns_of_a_circle_sum_to_one():
    sums = LocalBinaryPatterns().extract(noise()).reshape(3, 10).sum(axis=1)
    np.testing.assert_allclose(sums, 1.0, atol=1e-6)


def test_spot_and_pit_have_their_patterns():
    grey = np.full((9, 9), 100, np.uint8)
    grey[4, 4] = 200
    values = named(LocalBinaryPatterns(radii=(1,)), np.repeat(grey[..., None], 3, axis=2))
    assert values["lbp/radius_1/bright_0"] == pytest.approx(1 / 81)
    grey[4, 4] = 50
    values = named(LocalBinaryPatterns(radii=(1,)), np.repeat(grey[..., None], 3, axis=2))
    assert values["lbp/radius_1/bright_0"] == 0


@pytest.mark.parametrize("angle", [0, 45, 90, 135])
def test_stripes_are_directed_and_noise_is_not(angle):
    directed = named(Tamura(), wave(12, angle))["tamura/directionality"]
    assert directed > 0.95
    assert abs(named(Tamura(), noise())["tamura/directionality"]) < 0.3


def test_broad_stripes_are_coarser():
    found = [named(Tamura(), wave(wavelength, 0))["tamura/coarseness"] for wavelength in (4, 8, 16, 32)]
    assert found == sorted(found)
    assert found[-1] > 3 * found[0]


def test_contrast_is_the_papers():
    image = paint_shape("triangle", 64, (7,))
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float) / 255
    kurtosis = ((grey - grey.mean()) ** 4).mean() / grey.var() ** 2
    assert named(Tamura(), image)["tamura/contrast"] == pytest.approx(grey.std() / kurtosis**0.25, rel=1e-5)
    assert named(Tamura(), noise(high=128))["tamura/contrast"] == pytest.approx(
        named(Tamura(), noise())["tamura/contrast"] / 2, rel=0.02
    )
