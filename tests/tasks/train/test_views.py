import numpy as np
import pytest

from tasks.train.views import VIEWS, Mirror, Turn, View

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_view_has_the_size_of_the_image_and_shows_something_else(view: View) -> None:
    seen = view.apply(IMAGE)
    assert (seen.shape, seen.dtype) == (IMAGE.shape, IMAGE.dtype)
    assert not np.array_equal(seen, IMAGE)


def test_mirrored_twice_is_the_image() -> None:
    np.testing.assert_array_equal(Mirror().apply(Mirror().apply(IMAGE)), IMAGE)


@pytest.mark.parametrize(("degrees", "quarters"), [(0.0, 0), (90.0, 1), (180.0, 2), (-90.0, -1)])
def test_quarter_turns_are_counter_clockwise_and_lose_nothing(degrees: float, quarters: int) -> None:
    np.testing.assert_array_equal(Turn(degrees=degrees).apply(IMAGE), np.rot90(IMAGE, quarters))


def test_small_turn_brings_no_black_corners() -> None:
    white = np.full((40, 40, 3), 255, np.uint8)
    np.testing.assert_array_equal(Turn(degrees=4.0).apply(white), white)
