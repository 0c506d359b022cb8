"""Boxes, labels and mask outlines: pixels of written pictures are read back."""

import io
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks.vision.boxes import BoundingBox, DetectedBox
from tasks.vision.overlays import (
    HALO_RGB,
    OUTLINE_RGB,
    PALETTE,
    draw_boxes,
    draw_labels,
    draw_mask_outline,
    drawn_edges,
    fit_mask,
    ink_on,
    label_colours,
)
from tests.makers import png_bytes

GREY, GREEN, RED = (90, 90, 90), (0, 255, 0), (255, 0, 0)
COLOURS = {"bent": GREEN, "cut": RED}
# What a colour-blind eye sees of linear RGB (Machado, Oliveira and Fernandes 2009, severity 1).
EYES = {
    "common": np.eye(3),
    "protanope": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranope": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
}


def ground(width=60, height=40, colour=GREY):
    return np.full((height, width, 3), colour, np.uint8)


def written(image):
    """The picture as it is read back from a PNG file."""
    return np.asarray(Image.open(io.BytesIO(png_bytes(image))))


def where(image, colour):
    return (image == np.array(colour, np.uint8)).all(axis=2)


def frame(width, height, left, top, right, bottom):
    """The outermost pixels of a half-open box."""
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    mask[top + 1 : bottom - 1, left + 1 : right - 1] = False
    return mask


@st.composite
def box_in_image(draw):
    width, height = draw(st.integers(1, 50)), draw(st.integers(1, 50))
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    right, bottom = draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height))
    return width, height, BoundingBox("bent", left, top, right - left, bottom - top)


@settings(max_examples=100, deadline=None)
@given(box_in_image())
def test_line_is_the_outermost_pixels_of_the_box(case):
    width, height, box = case
    image = written(draw_boxes(ground(width, height), [box], COLOURS))
    line = frame(width, height, box.left, box.top, box.right, box.bottom)
    assert np.array_equal(where(image, GREEN), line)
    assert np.array_equal(where(image, HALO_RGB), around(line, box))
    assert (image[box.top + 1 : box.bottom - 1, box.left + 1 : box.right - 1] == GREY).all()


def around(line, box):
    """The ring of one pixel outside a box, as far as the image goes."""
    ring = np.zeros((line.shape[0] + 2, line.shape[1] + 2), bool)
    ring[box.top : box.bottom + 2, box.left : box.right + 2] = True
    ring[box.top + 1 : box.bottom + 1, box.left + 1 : box.right + 1] = False
    return ring[1:-1, 1:-1]


@settings(max_examples=100, deadline=None)
@given(box_in_image(), st.floats(0.02, 3.0))
def test_scaled_line_lies_on_the_rounded_edges(case, scale):
    width, height, box = case
    shown = max(1, round(width * scale)), max(1, round(height * scale))
    line = where(written(draw_boxes(ground(*shown), [box], COLOURS, scale)), GREEN)
    rows, columns = np.nonzero(line)
    left, top = min(round(box.left * scale), shown[0] - 1), min(round(box.top * scale), shown[1] - 1)
    assert (columns.min(), rows.min()) == (left, top)
    assert columns.max() == max(left, round(box.right * scale) - 1)
    assert rows.max() == max(top, round(box.bottom * scale) - 1)


@settings(max_examples=100, deadline=None)
@given(box_in_image(), st.integers(2, 5))
def test_thick_line_grows_outwards_and_inwards_only_at_the_border(case, thickness):
    width, height, box = case
    line = where(written(draw_boxes(ground(width, height), [box], COLOURS, thickness=thickness)), GREEN)
    assert (line | ~frame(width, height, box.left, box.top, box.right, box.bottom)).all()
    reach = thickness - 1
    outside = line.copy()
    outside[max(0, box.top - reach) : box.bottom + reach, max(0, box.left - reach) : box.right + reach] = False
    assert not outside.any()
    inside = line[box.top + 1 : box.bottom - 1, box.left + 1 : box.right - 1]
    if min(box.left, box.top, width - box.right, height - box.bottom) >= reach:
        assert not inside.any()


@pytest.mark.parametrize(
    ("box", "columns"),
    [
        pytest.param(BoundingBox("bent", 0, 10, 20, 20), [0, 1, 2, 19, 20, 21], id="left border"),
        pytest.param(BoundingBox("bent", 40, 10, 20, 20), [38, 39, 40, 57, 58, 59], id="right border"),
        pytest.param(BoundingBox("bent", 1, 10, 20, 20), [0, 1, 2, 20, 21, 22], id="one pixel from the border"),
        pytest.param(BoundingBox("bent", 20, 10, 20, 20), [18, 19, 20, 39, 40, 41], id="free"),
        pytest.param(BoundingBox("bent", 0, 10, 1, 20), [0, 1, 2], id="one column at the border"),
    ],
)
def test_thick_line_keeps_its_width(box, columns):
    line = where(draw_boxes(ground(), [box], COLOURS, thickness=3), GREEN)
    assert np.flatnonzero(line[20]).tolist() == columns


def test_small_boxes_lie_on_top_of_large_ones_and_no_halo_hides_a_line():
    large, small = BoundingBox("bent", 10, 10, 30, 20), BoundingBox("cut", 11, 10, 5, 5)
    one, other = (draw_boxes(ground(), boxes, COLOURS) for boxes in ([large, small], [small, large]))
    assert np.array_equal(one, other)
    assert where(one, RED).sum() == 16
    assert where(one, GREEN)[15:30, 10].all()


@pytest.mark.parametrize("thickness", [1, 2])
@pytest.mark.parametrize("side", [3, 8, 30, 200])
@pytest.mark.parametrize("line", ["dashed", "dotted"])
def test_broken_lines_start_and_end_at_the_corners(line, side, thickness):
    box = BoundingBox("bent", 5, 5, side, side)
    whole, broken = (
        where(draw_boxes(ground(side + 10, side + 10), [box], COLOURS, thickness=thickness, line=one), GREEN)
        for one in ("solid", line)
    )
    assert not (broken & ~whole).any()
    outer = 5 - (thickness - 1)
    edge = broken[outer, outer : side + 5 + thickness - 1]
    assert edge[0]
    assert edge[-1]
    assert 0.3 < edge.mean() <= 0.8
    assert np.array_equal(broken, broken.T)


def test_lines_are_told_apart_by_their_parts():
    box = BoundingBox("bent", 5, 5, 50, 30)
    edges = {
        line: where(draw_boxes(ground(), [box], COLOURS, line=line), GREEN)[5, 5:55]
        for line in ("solid", "dashed", "dotted")
    }
    parts = {line: (np.diff(edge.astype(int)) == -1).sum() + 1 for line, edge in edges.items()}
    assert parts == {"solid": 1, "dashed": 4, "dotted": 9}


def test_empty_parts_of_a_broken_line_show_the_image():
    image = draw_boxes(ground(), [BoundingBox("bent", 5, 5, 50, 30)], COLOURS, line="dashed")
    line, halo = image[5, 5:55], image[4, 5:55]
    assert (line == GREY).all(axis=1).sum() >= 15
    assert (halo == GREY).all(axis=1).sum() >= 15


def test_found_boxes_are_drawn_where_their_edges_round_to():
    found = DetectedBox("cut", 10.4, 7.6, 20.2, 9.9, 0.876, True)
    rounded = BoundingBox("cut", 10, 8, 21, 10)
    assert np.array_equal(*(draw_boxes(ground(), [box], COLOURS) for box in (found, rounded)))


def test_captions_are_written_instead_of_labels():
    box = BoundingBox("bent", 10, 25, 20, 10)
    plain, same, other = (
        draw_labels(ground(100, 60), [box], COLOURS, **options)
        for options in ({}, {"caption": lambda one: one.label}, {"caption": lambda one: f"{one.label} 0.87"})
    )
    assert np.array_equal(plain, same)
    assert where(other, GREEN).sum() > where(plain, GREEN).sum()


def test_drawing_leaves_the_image_alone():
    image = ground()
    box = BoundingBox("bent", 5, 20, 12, 9)
    draw_boxes(image, [box], COLOURS)
    draw_labels(image, [box], COLOURS)
    draw_mask_outline(image, np.eye(40, 60, dtype=np.uint8))
    assert (image == GREY).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.002, 0.05, 0.5, 0.95]), st.integers(0, 3), st.integers(1, 3))
def test_outline_covers_no_pixel_of_the_mask(seed, density, gap, thickness):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 48, 2))
    mask = (rng.random(shape) < density).astype(np.uint8)
    image = written(draw_mask_outline(ground(shape[1], shape[0]), mask, GREEN, gap=gap, thickness=thickness))
    assert (image[mask > 0] == GREY).all()


@pytest.mark.parametrize("value", [1, 255])
def test_outline_is_the_ring_around_the_mask(value):
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 15:30] = value
    image = written(draw_mask_outline(ground(), mask, GREEN))
    ring = where(image, GREEN)
    # The corners are rounded, so they are a blend of line and halo.
    assert np.flatnonzero(ring[15]).tolist() == [14, 30]
    assert np.flatnonzero(ring[:, 20]).tolist() == [9, 20]
    assert np.flatnonzero(where(image, HALO_RGB)[15]).tolist() == [13, 31]
    assert (image[:8] == GREY).all()
    far = written(draw_mask_outline(ground(), mask, GREEN, gap=2, thickness=2))
    assert np.flatnonzero(where(far, GREEN)[15]).tolist() == [11, 12, 32, 33]


def test_outline_of_nothing_or_of_everything_draws_nothing():
    for value in (0, 1):
        assert (draw_mask_outline(ground(), np.full((40, 60), value, np.uint8)) == GREY).all()


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (40, 60), (41, 61), (400, 600), (997, 1009)])
def test_fitted_mask_loses_no_spot(shape):
    mask = np.zeros(shape, np.uint8)
    row, column = shape[0] // 2, shape[1] // 3
    mask[row, column] = 1
    fitted = fit_mask(mask, 60, 40)
    assert fitted.shape == (40, 60)
    rows, columns = np.nonzero(fitted)
    assert rows.min() * shape[0] / 40 <= row + 1
    assert row <= (rows.max() + 1) * shape[0] / 40
    assert columns.min() * shape[1] / 60 <= column + 1
    assert column <= (columns.max() + 1) * shape[1] / 60
    assert fit_mask(np.zeros(shape, np.uint8), 60, 40).max() == 0


def test_fitted_mask_is_the_maximum_of_blocks_or_a_repetition():
    mask = (np.random.default_rng(0).random((40, 60)) < 0.1).astype(np.uint8)
    assert np.array_equal(fit_mask(mask, 12, 10), mask.reshape(10, 4, 12, 5).max(axis=(1, 3)))
    assert np.array_equal(fit_mask(mask, 180, 80), mask.repeat(2, axis=0).repeat(3, axis=1))


@pytest.mark.parametrize(
    ("box", "side"),
    [
        pytest.param(BoundingBox("bent", 40, 60, 40, 20), "above", id="above"),
        pytest.param(BoundingBox("bent", 40, 5, 40, 20), "below", id="no room above"),
        pytest.param(BoundingBox("bent", 20, 0, 20, 120), "right", id="no room above and below"),
        pytest.param(BoundingBox("bent", 100, 0, 60, 120), "left", id="no room on the right either"),
        pytest.param(BoundingBox("bent", 0, 0, 160, 120), "within", id="no room around"),
    ],
)
def test_plate_lies_beside_the_box_and_inside_the_image(box, side):
    drawn = written(draw_labels(ground(160, 120), [box], COLOURS))
    rows, columns = np.nonzero((drawn != GREY).any(axis=2))
    beside = {
        "above": rows.max() < box.top,
        "below": rows.min() >= box.bottom,
        "right": columns.min() >= box.right,
        "left": columns.max() < box.left,
        "within": (drawn != GREY).any(axis=2)[box.top : box.bottom, box.left : box.right].any(),
    }
    assert [name for name, is_true in beside.items() if is_true] == [side]
    assert columns.max() - columns.min() > 15
    plate = drawn[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert (plate[0] == HALO_RGB).all()
    assert where(plate, GREEN).sum() > plate.shape[0] * plate.shape[1] / 3
    assert where(plate[1:-1, 1:-1], ink_on(GREEN)).any()


@settings(max_examples=60, deadline=None)
@given(st.lists(box_in_image(), max_size=8), st.text(max_size=30), st.sampled_from([8, 40, 200]))
def test_labels_of_any_text_stay_inside_and_apart(cases, text, side):
    boxes = [replace(box, label=text) for _, _, box in cases]
    drawn = draw_labels(ground(side, side), boxes, {text: GREEN})
    assert drawn.shape == (side, side, 3)
    assert drawn.dtype == np.uint8


def test_no_plate_hides_another_box():
    boxes = [BoundingBox("bent", 40, 60, 40, 20), BoundingBox("cut", 45, 45, 20, 10)]
    alone, both = (where(draw_labels(ground(160, 120), some, COLOURS), GREEN) for some in (boxes[:1], boxes))
    assert alone[45:55, 45:65].any()
    assert both.any()
    assert not both[45:55, 45:65].any()


def test_crowded_plates_do_not_overlap_each_other():
    boxes = [BoundingBox("bent", 10 + step, 40 + step, 40, 40) for step in range(0, 60, 3)]
    plate = where(draw_labels(ground(200, 200), boxes[:1], COLOURS), GREEN).sum()
    crowded = where(draw_labels(ground(200, 200), boxes, COLOURS), GREEN).sum()
    # Whole plates only: none hides a part of another.
    assert crowded > plate
    assert crowded % plate == 0


@pytest.mark.parametrize("label", ["日本", "\x00\n", "😀\u202e", "x" * 10_000, ""])
def test_unprintable_and_endless_labels_are_drawn(label):
    box = BoundingBox(label, 10, 40, 30, 20)
    changed = draw_labels(ground(100, 100), [box], {label: GREEN}) != GREY
    assert changed.any() == bool(label)


def test_edges_never_leave_a_tiny_picture():
    box = BoundingBox("bent", 999, 0, 1, 1)
    assert drawn_edges(box, ground(10, 10), 0.01) == (9, 0, 10, 1)


def test_colours_are_stable_and_cycle():
    labels = [f"{number:02d}" for number in range(2 * len(PALETTE))]
    assert label_colours(reversed(labels)) == label_colours([*labels, labels[0]])
    assert label_colours(labels)[labels[0]] == label_colours(labels)[labels[len(PALETTE)]]
    assert len(set(list(label_colours(labels).values())[: len(PALETTE)])) == len(PALETTE)


@pytest.mark.parametrize("eye", EYES)
def test_colours_are_told_apart(eye):
    seen = [lab_of(colour, np.array(EYES[eye])) for colour in (*PALETTE, OUTLINE_RGB)]
    # About 10 is what a glance tells apart; lines of one pixel need more.
    assert min(np.linalg.norm(one - other) for one, other in combinations(seen, 2)) > 25


def lab_of(colour, eye):
    """CIE L*a*b* of a colour as an eye sees it, white D65."""
    value = np.array(colour) / 255
    linear = np.clip(eye @ np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4), 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    x, y, z = np.cbrt(xyz / [0.95047, 1.0, 1.08883])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("colour", [*PALETTE, OUTLINE_RGB, (0, 0, 0), (255, 255, 255)])
def test_ink_is_read_on_its_plate(colour):
    light, dark = sorted((luminance(colour), luminance(ink_on(colour))), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def luminance(colour):
    value = np.array(colour) / 255
    return float(np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])
