import cv2
import numpy as np
import pytest
from skimage.feature import hog

from tasks.features.gradients import Corners, Edges, Hog
from tests.makers import paint_shape


def named(step, image):
    return dict(zip(step.names(), step.extract(image), strict=True))


def board(side, field):
    """A chessboard with fields of the given side."""
    rows, columns = np.indices((side, side)) // field
    return np.repeat((((rows + columns) % 2) * 200 + 20).astype(np.uint8)[..., None], 3, axis=2)


def half_plane(angle, side=64):
    """Bright on one side of a line whose normal has this angle, clockwise from the right (degrees)."""
    y, x = np.indices((side, side)) - (side - 1) / 2
    bright = x * np.cos(np.deg2rad(angle)) + y * np.sin(np.deg2rad(angle)) > 0
    return np.repeat((bright * 200 + 20).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize(
    "step",
    [Hog(), Hog(side=64, cell=8, block=3, orientations=6), Hog(side=32, cell=16, block=1, orientations=12)],
    ids=["defaults", "three by three", "one cell a block"],
)
def test_hog_is_that_of_scikit_image(step):
    image = paint_shape("triangle", step.side, (4,))
    expected = hog(
        cv2.cvtColor(image, cv2.COLOR_RGB2GRAY),
        step.orientations,
        (step.cell, step.cell),
        (step.block, step.block),
        block_norm="L2-Hys",
    )
    np.testing.assert_allclose(step.extract(image), expected, atol=1e-5)


def test_hog_finds_a_line_in_its_cells_and_direction():
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, 40] = 255
    values = named(Hog(side=64, cell=16, block=1), image)
    found = {name for name, value in values.items() if value > 0.5}
    assert found == {f"hog/block_{row}_2/cell_0_0/angle_0" for row in range(4)}


@pytest.mark.parametrize("angle", [0, 45, 90, 135])
def test_edges_run_in_their_direction(angle):
    values = named(Edges(orientations=4), cv2.GaussianBlur(half_plane(angle + 22), (0, 0), 1.5))
    shares = {at: values[f"edges/angle_{at}"] for at in (0, 45, 90, 135)}
    assert max(shares, key=shares.get) == angle
    assert shares[angle] > 0.8
    assert sum(shares.values()) == pytest.approx(1.0)


def test_edges_are_counted_where_they_are():
    image = np.full((64, 64, 3), 20, np.uint8)
    image[2:14, 50:62] = 220
    values = named(Edges(), image)
    fields = {name for name, value in values.items() if name.startswith("edges/density_") and value > 0}
    assert fields == {"edges/density_0_3"}
    assert values["edges/density"] == pytest.approx(values["edges/density_0_3"] / 16)
    assert 30 <= values["edges/density"] * 64 * 64 <= 60
    assert values["edges/gradient/mean"] == pytest.approx(200 / 255, abs=0.1)


def test_more_contrast_more_edges():
    image = paint_shape("cross", 80, (2,))
    faint = (100 + (image.astype(int) - 100) // 5).astype(np.uint8)
    assert Edges().extract(faint)[0] < Edges().extract(image)[0]


def test_chessboard_has_the_corners_of_its_fields():
    values = named(Corners(grid=1), board(80, 20))
    crossings = 3 * 3
    assert values["corners/density"] * 80 * 80 / 1000 / crossings == pytest.approx(1, abs=3.1)
    assert values["corners/strength"] > 0.1
    lines = named(Corners(grid=1), half_plane(0))
    assert lines["corners/density"] == 0
    assert lines["corners/response/deviation"] > 0


def test_corners_are_counted_where_they_are():
    image = np.full((80, 80, 3), 20, np.uint8)
    image[64:72, 4:14] = 220
    values = named(Corners(), image)
    fields = {name for name, value in values.items() if name.startswith("corners/density_") and value > 0}
    assert fields == {"corners/density_3_0"}


def test_strength_of_corners_follows_the_contrast():
    strong = board(80, 20)
    weak = (strong // 2 + 60).astype(np.uint8)
    ratio = Corners().extract(strong)[1] / Corners().extract(weak)[1]
    assert ratio == pytest.approx(2.0, rel=0.05)
