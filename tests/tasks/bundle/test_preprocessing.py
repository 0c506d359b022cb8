import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.bundle.adjustments import Crop, Grey
from tasks.bundle.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STANDARD_DEVIATION,
    PADDING_COLOUR,
    Letterbox,
    Normalise,
    Placement,
    Resize,
    detection_steps,
    prepare_batch,
    standard_steps,
)


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_shrinking_by_two_averages_four_pixels() -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    image[0:2, 0:2, 0] = [[10, 20], [30, 40]]
    image[2:4, 0:2, 1] = [[0, 100], [100, 200]]
    small = Resize(width=8, height=8).apply(image)
    assert small.shape == (8, 8, 3)
    assert small.dtype == np.uint8
    assert tuple(small[0, 0]) == (25, 0, 0)
    assert tuple(small[1, 0]) == (0, 100, 0)
    assert not small[2:].any()


@pytest.mark.parametrize(
    ("height", "width"), [(8, 8), (64, 64), (200, 300), (8, 300), (300, 8), (1, 1), (33, 65)], ids=str
)
def test_uniform_image_stays_uniform(height: int, width: int) -> None:
    image = np.full((height, width, 3), (7, 130, 255), np.uint8)
    resized = Resize(width=64, height=48).apply(image)
    assert resized.shape == (48, 64, 3)
    assert (resized == (7, 130, 255)).all()


def test_image_of_the_right_size_is_unchanged() -> None:
    image = _noise(64, 64, 3)
    assert (Resize(width=64, height=64).apply(image) == image).all()


def test_growing_interpolates() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, 4:] = 200
    row = Resize(width=32, height=8).apply(image)[0, :, 0].astype(int)
    assert row[0] == 0
    assert row[-1] == 200
    assert (np.diff(row) >= 0).all()
    assert len(set(row)) > 2


@pytest.mark.parametrize(
    ("width", "height", "content"),
    [
        pytest.param(64, 64, (64, 64), id="exact"),
        pytest.param(640, 640, (64, 64), id="square"),
        pytest.param(200, 100, (64, 32), id="wide"),
        pytest.param(100, 300, (21, 64), id="tall"),
        pytest.param(64, 30, (64, 30), id="fits as it is"),
        pytest.param(10, 5, (64, 32), id="small"),
        pytest.param(1, 1, (64, 64), id="one pixel"),
        pytest.param(500, 1, (64, 1), id="one pixel high"),
        pytest.param(1, 20_000, (1, 64), id="one pixel wide"),
        pytest.param(65, 64, (64, 63), id="rounded"),
    ],
)
def test_letterbox_keeps_the_shape_and_pads_right_and_below(width: int, height: int, content: tuple[int, int]) -> None:
    letterbox = Letterbox(size=64)
    padded = letterbox.apply(np.full((height, width, 3), (7, 130, 255), np.uint8))
    assert letterbox.content_size(width, height) == content
    assert padded.shape == (64, 64, 3)
    assert padded.dtype == np.uint8
    assert (padded[: content[1], : content[0]] == (7, 130, 255)).all()
    assert (padded[content[1] :] == PADDING_COLOUR).all()
    assert (padded[:, content[0] :] == PADDING_COLOUR).all()


def test_letterbox_leaves_pixels_of_the_right_size() -> None:
    image = _noise(40, 64, 3)
    assert (Letterbox(size=64).apply(image)[:40] == image).all()


@pytest.mark.parametrize(
    ("height", "width", "interpolation"),
    [(80, 160, cv2.INTER_AREA), (16, 32, cv2.INTER_LINEAR)],
    ids=["shrinks", "grows"],
)
def test_letterbox_interpolates_as_it_says(height: int, width: int, interpolation: int) -> None:
    image = _noise(height, width, 3)
    content = Letterbox(size=64).apply(image)[:32]
    assert (content == cv2.resize(image, (64, 32), interpolation=interpolation)).all()
    other = cv2.INTER_LINEAR if interpolation == cv2.INTER_AREA else cv2.INTER_AREA
    assert (content != cv2.resize(image, (64, 32), interpolation=other)).any()


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.integers(8, 4096))
@settings(max_examples=100, deadline=None)
def test_content_lies_within_the_letterbox(width: int, height: int, size: int) -> None:
    content = Letterbox(size=size).content_size(width, height)
    assert max(content) == size
    assert min(content) >= 1
    assert abs(content[0] * height - content[1] * width) <= max(width, height)


@given(
    st.integers(1, 10_000),
    st.integers(1, 10_000),
    st.integers(8, 1024),
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
@settings(max_examples=100, deadline=None)
def test_box_comes_back_from_the_input(width: int, height: int, size: int, shares: list[float]) -> None:
    letterbox = Letterbox(size=size)
    box = np.array([np.array(shares) * (width, height, width, height)], np.float32)
    within = letterbox.to_input(box, width, height)
    content = letterbox.content_size(width, height)
    assert (within <= np.array(content * 2) * (1 + 1e-6)).all()
    back = letterbox.to_image(within, width, height)
    np.testing.assert_allclose(back, box, rtol=1e-6, atol=1e-30)  # the smallest floats have few digits
    assert (back <= (width, height, width, height)).all()
    assert letterbox.to_image(np.array([[0, 0, *content]], np.float32), width, height).tolist() == [
        [0, 0, width, height]
    ]


@given(
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.lists(st.floats(0, 0.9), min_size=2, max_size=2),
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
@settings(max_examples=50, deadline=None)
def test_visible_part_of_a_box_comes_back(width: int, height: int, corner: list[float], shares: list[float]) -> None:
    crop = Crop(left=corner[0], top=corner[1], width=1 - corner[0], height=1 - corner[1])
    placement = Placement.of(detection_steps(64, [Grey(), crop]), width, height)
    region = placement.region
    assert region == crop.region(width, height)
    box = np.array([np.array(shares) * (width, height, width, height)], np.float32)
    lowest, highest = (region.left, region.top) * 2, (region.left + region.width, region.top + region.height) * 2
    back = placement.to_image(placement.to_input(box))
    np.testing.assert_allclose(back, np.clip(box, lowest, highest), rtol=1e-5, atol=1e-3)
    assert (back <= highest).all()
    content = np.array([[0, 0, *placement.content_size]], np.float32)
    assert placement.to_image(content)[0].tolist() == [*lowest[:2], *highest[:2]]


def test_mapped_box_covers_the_same_pixels() -> None:
    image = np.zeros((90, 120, 3), np.uint8)
    image[30:60, 40:100] = 255
    letterbox = Letterbox(size=60)
    left, top, right, bottom = letterbox.to_input(np.array([[40, 30, 100, 60]], np.float32), 120, 90)[0].astype(int)
    bright = letterbox.apply(image)[:45].min(axis=2) > 127
    assert bright[top:bottom, left:right].all()
    assert bright.sum() == (right - left) * (bottom - top)


def test_letterboxed_images_of_any_size_join_in_a_batch() -> None:
    images = [_noise(64, 64, 3), _noise(20, 90, 3), _noise(200, 1, 3)]
    batch = prepare_batch(images, detection_steps(64))
    assert batch.shape == (3, 3, 64, 64)
    for row, image in zip(batch, images, strict=True):
        np.testing.assert_array_equal(row, Normalise().apply_to_batch(Letterbox(size=64).apply(image)[None])[0])
    assert np.abs(batch[1, :, -1, -1]).max() < 0.02  # the padding is next to zero


def test_normalise_is_the_plain_formula() -> None:
    images = _noise(3, 10, 12, 3)
    mean, deviation = np.array(IMAGENET_MEAN), np.array(IMAGENET_STANDARD_DEVIATION)
    plain = ((images / 255.0 - mean) / deviation).transpose(0, 3, 1, 2)
    batch = Normalise().apply_to_batch(images)
    assert batch.dtype == np.float32
    assert batch.shape == (3, 3, 10, 12)
    np.testing.assert_allclose(batch, plain, atol=2e-6)


def test_normalise_uses_its_own_settings() -> None:
    step = Normalise(mean=(0.0, 0.5, 1.0), standard_deviation=(1.0, 0.5, 2.0))
    batch = step.apply_to_batch(np.full((1, 8, 8, 3), 255, np.uint8))
    np.testing.assert_allclose(batch[0, :, 0, 0], [1.0, 1.0, 0.0], atol=1e-6)


def test_batch_joins_images_of_any_size_in_order() -> None:
    images = [_noise(64, 64, 3), _noise(20, 90, 3), _noise(200, 65, 3)]
    steps = standard_steps(64)
    batch = prepare_batch(images, steps)
    assert batch.shape == (3, 3, 64, 64)
    for row, image in zip(batch, images, strict=True):
        np.testing.assert_array_equal(row, prepare_batch([image], steps)[0])


@pytest.mark.parametrize(
    ("step", "settings"),
    [
        (Resize, {"width": 0, "height": 64}),
        (Resize, {"width": 64, "height": 100_000}),
        (Resize, {"width": 64, "height": 64, "version": 2}),
        (Resize, {"width": 64, "height": 64, "crop": True}),
        (Letterbox, {"size": 0}),
        (Letterbox, {"size": 100_000}),
        (Letterbox, {"size": 64, "version": 2}),
        (Letterbox, {"size": 64, "colour": 0}),
        (Normalise, {"mean": (0.5, 0.5)}),
        (Normalise, {"version": 2}),
        (Normalise, {"standard_deviation": (0.0, 1.0, 1.0)}),
        (Normalise, {"standard_deviation": (-1.0, 1.0, 1.0)}),
        (Normalise, {"standard_deviation": (float("nan"), 1.0, 1.0)}),
        (Normalise, {"mean": (float("inf"), 1.0, 1.0)}),
    ],
    ids=str,
)
def test_senseless_settings_are_refused(
    step: type[Resize | Letterbox | Normalise], settings: dict[str, object]
) -> None:
    with pytest.raises(ValidationError):
        step.model_validate(settings)
