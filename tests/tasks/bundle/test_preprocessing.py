import numpy as np
import pytest
from pydantic import ValidationError

from tasks.bundle.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STANDARD_DEVIATION,
    Normalise,
    Resize,
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
        (Normalise, {"mean": (0.5, 0.5)}),
        (Normalise, {"version": 2}),
        (Normalise, {"standard_deviation": (0.0, 1.0, 1.0)}),
        (Normalise, {"standard_deviation": (-1.0, 1.0, 1.0)}),
        (Normalise, {"standard_deviation": (float("nan"), 1.0, 1.0)}),
        (Normalise, {"mean": (float("inf"), 1.0, 1.0)}),
    ],
    ids=str,
)
def test_senseless_settings_are_refused(step: type[Resize] | type[Normalise], settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        step.model_validate(settings)
