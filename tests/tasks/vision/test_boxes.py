import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.vision.boxes import BoundingBox


@settings(deadline=None)
@given(left=st.integers(0, 10**6), top=st.integers(0, 10**6), width=st.integers(1, 10**6), height=st.integers(1, 10**6))
def test_box_is_half_open(left: int, top: int, width: int, height: int) -> None:
    box = BoundingBox("crack", left, top, width, height)
    assert len(range(box.left, box.right)) == width
    assert len(range(box.top, box.bottom)) == height


@pytest.mark.parametrize(
    ("left", "top", "width", "height"),
    [
        pytest.param(0, 0, 0, 1, id="no width"),
        pytest.param(0, 0, 1, 0, id="no height"),
        pytest.param(0, 0, -1, 5, id="negative width"),
        pytest.param(5, 5, 5, -5, id="negative height"),
        pytest.param(-1, 0, 4, 4, id="left of the image"),
        pytest.param(0, -1, 4, 4, id="above the image"),
    ],
)
def test_impossible_boxes_are_refused(left: int, top: int, width: int, height: int) -> None:
    with pytest.raises(ValueError, match="box"):
        BoundingBox("crack", left, top, width, height)


def test_smallest_box() -> None:
    box = BoundingBox("crack", 0, 0, 1, 1)
    assert (box.right, box.bottom) == (1, 1)


def test_boxes_are_values() -> None:
    box = BoundingBox("crack", 1, 2, 3, 4)
    assert box == BoundingBox("crack", 1, 2, 3, 4)
    assert len({box, BoundingBox("crack", 1, 2, 3, 4)}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        box.left = 0  # type: ignore[misc]
