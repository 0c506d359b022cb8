import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from tasks.vision.components import enclose, find_components, find_runs, join_runs, merge_near

pictures = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=24), elements=st.integers(0, 2))
connectivities = st.sampled_from([4, 8])
STRUCTURES = {4: ndimage.generate_binary_structure(2, 1), 8: np.ones((3, 3))}
corner_lists = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 12), st.integers(1, 12)).map(
        lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
    ),
    max_size=12,
)


def components_of(picture, connectivity=8):
    found = find_components(find_runs([picture]), connectivity)
    return list(zip(found.kinds.tolist(), found.areas.tolist(), found.corners.tolist(), strict=True))


def scipy_components(picture, connectivity):
    for kind in np.unique(picture[picture > 0]).tolist():
        labelled, _ = ndimage.label(picture == kind, STRUCTURES[connectivity])
        for number, (rows, columns) in enumerate(ndimage.find_objects(labelled), 1):
            corners = [columns.start, rows.start, columns.stop, rows.stop]
            yield kind, int((labelled == number).sum()), corners


@settings(max_examples=100, deadline=None)
@given(pictures, connectivities)
def test_components_are_those_of_scipy(picture, connectivity):
    assert sorted(components_of(picture, connectivity)) == sorted(scipy_components(picture, connectivity))


@settings(max_examples=100, deadline=None)
@given(pictures, connectivities, st.integers(1, 9))
def test_boxes_hold_every_pixel_of_kept_components_and_every_side_touches(picture, connectivity, least):
    kept = [component for component in components_of(picture, connectivity) if component[1] >= least]
    for kind in (1, 2):
        labelled, count = ndimage.label(picture == kind, STRUCTURES[connectivity])
        boxes = [corners for other, _, corners in kept if other == kind]
        for number in range(1, count + 1):
            ys, xs = np.nonzero(labelled == number)
            if ys.size >= least:
                around = [
                    (left, top, right, bottom)
                    for left, top, right, bottom in boxes
                    if (xs >= left).all() and (xs < right).all() and (ys >= top).all() and (ys < bottom).all()
                ]
                # Of those around it, one is touched by the component on every side.
                assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) in around


def test_long_windings_are_one_component():
    """A spiral and a comb: runs that meet only after many rows."""
    comb = np.zeros((50, 99), np.uint8)
    comb[:, ::2] = comb[-1] = 1
    assert components_of(comb) == [(1, 50 * 50 + 49, [0, 0, 99, 50])]
    spiral = np.zeros((41, 41), np.uint8)
    y = x = 0
    dy, dx = 0, 1
    for step in [40, *itertools.chain.from_iterable((n, n) for n in range(40, 0, -2))]:
        for _ in range(step):
            spiral[y, x] = 1
            y, x = y + dy, x + dx
        dy, dx = dx, -dy
    assert components_of(spiral, 4) == [(1, int(spiral.sum()), [0, 0, 41, 41])]


def test_the_end_of_a_row_does_not_touch_the_start_of_the_next():
    picture = np.array([[0, 0, 1], [1, 0, 0], [0, 0, 1]], np.uint8)
    assert len(components_of(picture)) == 3


@settings(max_examples=50, deadline=None)
@given(pictures, st.integers(1, 24))
def test_bands_make_no_difference(picture, rows):
    bands = [picture[top : top + rows] for top in range(0, len(picture), rows)]
    whole, parts = find_runs([picture]), find_runs(bands)
    assert (parts.width, parts.height) == (whole.width, whole.height)
    assert np.array_equal(parts.starts, whole.starts)
    assert np.array_equal(parts.values, whole.values)


@settings(max_examples=50, deadline=None)
@given(pictures)
def test_runs_are_the_picture_and_none_goes_on_in_the_next(picture):
    runs = find_runs([picture])
    assert np.array_equal(np.repeat(runs.values, runs.lengths).reshape(picture.shape), picture)
    assert runs.lengths.max() <= picture.shape[1]
    joined = join_runs(runs, np.minimum(runs.values, 1))
    again = find_runs([np.minimum(picture, 1)])
    assert np.array_equal(joined.starts, again.starts)
    assert np.array_equal(joined.values, again.values)


@pytest.mark.parametrize(
    ("gap", "merged"),
    [
        pytest.param((3, 0), True, id="beside, near"),
        pytest.param((4, 0), False, id="beside, far"),
        pytest.param((0, 3), True, id="below, near"),
        pytest.param((0, 4), False, id="below, far"),
        pytest.param((3, 3), True, id="diagonal, near"),
        pytest.param((3, 4), False, id="diagonal, far on one axis"),
        pytest.param((-2, -2), True, id="overlapping"),
    ],
)
def test_boxes_merge_when_near_on_both_axes(gap, merged):
    first = [10, 10, 20, 20]
    second = [20 + gap[0], 20 + gap[1], 30 + gap[0], 30 + gap[1]]
    assert len(merge_near(np.array([first, second]), 3)) == (1 if merged else 2)


def test_merging_goes_on_until_nothing_is_near():
    """The first two are near only to what the third makes of itself with the fourth."""
    corners = np.array([[0, 0, 4, 4], [50, 0, 54, 4], [0, 8, 4, 12], [6, 6, 48, 10]])
    assert merge_near(corners, 2).tolist() == [[0, 0, 54, 12]]


@settings(max_examples=100, deadline=None)
@given(corner_lists, st.integers(1, 15), st.randoms(use_true_random=False))
def test_merged_boxes_are_apart_hold_all_and_do_not_depend_on_order(corners, distance, random):
    merged = sorted(merge_near(np.array(corners).reshape(-1, 4), distance).tolist())
    shuffled = random.sample(corners, len(corners))
    assert sorted(merge_near(np.array(shuffled).reshape(-1, 4), distance).tolist()) == merged
    for one, other in itertools.combinations(merged, 2):
        gap_x = max(one[0], other[0]) - min(one[2], other[2])
        gap_y = max(one[1], other[1]) - min(one[3], other[3])
        assert max(gap_x, gap_y) > distance
    for left, top, right, bottom in corners:
        assert any(m[0] <= left and m[1] <= top and m[2] >= right and m[3] >= bottom for m in merged)
    for left, top, right, bottom in merged:
        inside = np.array([c for c in corners if c[0] >= left and c[1] >= top and c[2] <= right and c[3] <= bottom])
        assert enclose(inside).tolist() == [left, top, right, bottom]
