import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.bundle.adjustments import Clahe, Crop, Denoise, Grey, Region

STEPS = {
    "crop": Crop(left=0.3, top=0.2, width=0.5, height=0.6),
    "denoise 3": Denoise(),
    "denoise 7": Denoise(diameter=7),
    "clahe": Clahe(),
    "clahe of many tiles": Clahe(tiles=32, clip_limit=40.0),
    "grey": Grey(),
}


def _noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS.keys())
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 200), (200, 1), (8, 8), (33, 65), (700, 900)], ids=str)
def test_any_image_stays_8_bit_rgb_and_is_not_written_to(step, height, width):
    image = _noise(height, width)
    before = image.copy()
    changed = step.apply(image)
    assert changed.dtype == np.uint8
    assert changed.ndim == 3
    assert changed.shape[2] == 3
    assert changed.shape[:2] == (height, width) or isinstance(step, Crop)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(step.apply(image), changed)


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS.keys())
def test_part_of_an_image_is_taken_like_a_copy_of_it(step):
    part = _noise(60, 80)[5:50, 7:70]
    np.testing.assert_array_equal(step.apply(part), step.apply(part.copy()))


@pytest.mark.parametrize(
    ("crop", "region"),
    [
        pytest.param(Crop(), Region(0, 0, 200, 100), id="whole"),
        pytest.param(Crop(left=0.25, top=0.5, width=0.5, height=0.5), Region(50, 50, 100, 50), id="part"),
        pytest.param(Crop(left=0.1, width=0.9), Region(20, 0, 180, 100), id="sum of rounded ratios"),
        pytest.param(Crop(width=1e-9, height=1e-9), Region(0, 0, 1, 1), id="one pixel"),
        pytest.param(
            Crop(left=0.9999, width=0.0001, top=0.9999, height=0.0001), Region(199, 99, 1, 1), id="last pixel"
        ),
        pytest.param(Crop(left=0.333, width=0.334), Region(67, 0, 66, 100), id="rounded"),
    ],
)
def test_region_of_a_crop(crop, region):
    assert crop.region(200, 100) == region


@given(st.integers(1, 5000), st.floats(0, 0.999), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_crop_keeps_at_least_a_pixel_within_the_image(pixels, start, share):
    crop = Crop(left=start, width=max(1e-6, share * (1 - start)))
    region = crop.region(pixels, 1)
    assert region.left >= 0
    assert region.width >= 1
    assert region.left + region.width <= pixels
    assert crop.apply(np.zeros((1, pixels, 3), np.uint8)).shape == (1, region.width, 3)


@pytest.mark.parametrize("ratios", [{"left": 0.5, "width": 0.51}, {"top": 0.2, "height": 0.9}], ids=str)
def test_crop_beyond_the_image_is_refused(ratios):
    with pytest.raises(ValidationError, match="beyond the image"):
        Crop(**ratios)


def test_crop_gives_the_pixels_of_its_region():
    image = _noise(40, 60)
    np.testing.assert_array_equal(Crop(left=0.5, top=0.25, width=0.25, height=0.5).apply(image), image[10:30, 30:45])


def test_denoising_takes_specks_and_leaves_edges():
    clean = np.full((40, 40, 3), 50, np.uint8)
    clean[:, 20:] = 200
    specked = clean.copy()
    specked[5::9, 4::9] = 255
    assert (specked != clean).any()
    np.testing.assert_array_equal(Denoise().apply(specked), clean)


def test_equalising_raises_low_contrast_and_keeps_grey_grey():
    image = np.repeat((100 + np.arange(64) // 8)[None, :, None], 64, axis=0).repeat(3, axis=2).astype(np.uint8)
    even = Clahe(clip_limit=4.0, tiles=2).apply(image)
    assert np.ptp(even) > 2 * np.ptp(image)
    assert np.ptp(even.astype(int), axis=2).max() <= 1
    assert np.ptp(Clahe(clip_limit=40.0, tiles=2).apply(image)) > np.ptp(even)


def test_grey_is_the_luma_in_all_channels():
    image = _noise(20, 30)
    grey = Grey().apply(image)
    np.testing.assert_allclose(grey[..., 0], image @ [0.299, 0.587, 0.114], atol=0.51)
    assert (np.ptp(grey, axis=2) == 0).all()
    np.testing.assert_array_equal(Grey().apply(grey), grey)
    assert (grey[..., 0] == cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)).all()
