"""Heat maps travel as text, cover a part of an image, and are laid over it."""

import base64

import numpy as np
import pytest

from tasks.vision.heat_maps import HeatMap, draw_heat, heat_difference

GRID = np.array([[0.0, 1.5, 2.0], [70000.0, 0.25, 8.0]], np.float32)


def test_grid_comes_back_in_half_precision() -> None:
    kept = HeatMap.of(GRID)
    assert (kept.rows, kept.columns) == GRID.shape
    expected = np.minimum(GRID, 65504.0)
    np.testing.assert_array_equal(kept.heat(), expected)
    assert kept == HeatMap.of(GRID.copy())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param("!!", "base64", id="no base64"),
        pytest.param(base64.b64encode(b"12").decode(), "reshape", id="too short"),
    ],
)
def test_text_of_another_kind_is_refused(data: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HeatMap(2, 3, data).heat()


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        pytest.param(HeatMap.of(np.array([[2.0, 8.0]], np.float32)), 0.0, id="same"),
        pytest.param(HeatMap.of(np.array([[2.0, 10.0]], np.float32)), 0.2, id="hotter, as a share of the hotter"),
        pytest.param(HeatMap.of(np.array([[2.5, 8.0]], np.float32)), 0.125, id="cold, as a share of the least"),
        pytest.param(HeatMap.of(np.array([[2.0], [8.0]], np.float32)), 1.0, id="another grid"),
        pytest.param(HeatMap.of(np.array([[2.0, 8.0]], np.float32), (0.0, 0.0, 0.5, 1.0)), 1.0, id="another part"),
    ],
)
def test_difference_is_the_largest_share(other: HeatMap, expected: float) -> None:
    one = HeatMap.of(np.array([[2.0, 8.0]], np.float32))
    assert heat_difference(one, other, 4.0) == heat_difference(other, one, 4.0) == pytest.approx(expected)


def test_grid_of_a_part_leaves_the_rest_cold() -> None:
    over = HeatMap.of(np.full((2, 2), 4.0, np.float32), (0.5, 0.0, 0.5, 0.25)).over(40, 40)
    np.testing.assert_array_equal(over[:10, 20:], 4.0)
    assert over.sum() == 4.0 * 10 * 20


def test_only_what_is_hot_is_covered() -> None:
    image = np.full((40, 40, 3), 90, np.uint8)
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0] = 10.0
    drawn = draw_heat(image, HeatMap.of(heat), 5.0, 9.0)
    np.testing.assert_array_equal(drawn[12:], image[12:])
    assert drawn[0, 0].astype(int).sum() > 450
    assert image.max() == 90
