"""Boxes around COCO outlines, against masks that are unrolled pixel by pixel."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tasks.annotations.rle import OutlineError, is_coordinate, outline_to_box, rle_to_box

# Written by pycocotools; from the README of github.com/armengot/COCOtoolsFORK.
RINGS = (
    "0g05b08J4M2N2NA^O1`0OCO=0E090H080IO68DH;>@C>a0_O_O`0j0OWOF<:CM72I24NL43JM92FN;1ENKO72L0LO91J0MO92INO0NO122OO0M031"
    "O000NO31OO11MO40N011MO41MO21L06OL021L06OL021L06OL021L060J040L060J040L060J040L060J040L060J040L060J040L060KO31L06"
    "0KO31L06OL021L06OL021L06OL021MO41MO21MO40N100NO310O00M0310O00NO1220NO92IONO91KOMO72M0<1EO:2GN63KM34OLM73JF<;=1G"
    "_O_Ob0=AC`07EH=1IO71H090F0:1DO>1_O1b0>2N2N3L6H]O"
)


def compress(runs):
    """Encode run lengths, one number after another."""
    text = ""
    for place, run in enumerate(runs):
        rest = run - runs[place - 2] if place > 2 else run
        while True:
            low, rest = rest & 0x1F, rest >> 5
            ends = rest == (-1 if low & 0x10 else 0)
            text += chr(48 + low + (0 if ends else 0x20))
            if ends:
                break
    return text


def run_lengths(mask):
    runs, value = [0], 0
    for pixel in mask.T.ravel():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


def decompress_slowly(text):
    runs, place = [], 0
    while place < len(text):
        value, shift, code = 0, 0, 0x20
        while code & 0x20:
            code = ord(text[place]) - 48
            value |= (code & 0x1F) << shift
            place, shift = place + 1, shift + 5
        if code & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    return runs


def box_of_pixels(mask):
    rows, columns = np.nonzero(mask)
    if rows.size == 0:
        return None
    left, top = columns.min(), rows.min()
    return left, top, columns.max() + 1 - left, rows.max() + 1 - top


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(1, 12), st.integers(1, 12))
def test_box_holds_exactly_the_pixels(data, height, width):
    mask = data.draw(arrays(np.uint8, (height, width), elements=st.sampled_from([0, 0, 0, 1])))
    runs = run_lengths(mask)
    assert rle_to_box({"size": [height, width], "counts": runs}) == box_of_pixels(mask)
    assert rle_to_box({"size": [height, width], "counts": compress(runs)}) == box_of_pixels(mask)


@pytest.mark.parametrize(
    ("size", "counts", "box"),
    [
        pytest.param([2, 3], "122O", (0, 0, 3, 2), id="a difference below zero"),
        pytest.param([1, 43], "Z11", (42, 0, 1, 1), id="a run of two characters"),
        pytest.param([2, 2], [1, 3], (0, 0, 2, 2), id="cocoapi: all but one pixel"),
        pytest.param([10, 10], [32, 2, 8, 2, 8, 2, 46], (3, 2, 3, 2), id="cocoapi: a rectangle inside"),
        pytest.param([3, 3], [9], None, id="nothing"),
        pytest.param([3, 3], [0, 9], (0, 0, 3, 3), id="everything"),
        pytest.param([3, 3], [0, 0, 4, 1, 0, 0, 4], (1, 1, 1, 1), id="runs of no pixels"),
        pytest.param([4, 4], [6, 4, 6], (1, 0, 2, 4), id="a run into the next column"),
        pytest.param([4, 4], [4, 8, 4], (1, 0, 2, 4), id="two whole columns"),
        pytest.param([30_000, 30_000], [0, 1, 899_999_998, 1], (0, 0, 30_000, 30_000), id="corners of 900 megapixels"),
    ],
)
def test_known_encodings(size, counts, box):
    assert rle_to_box({"size": size, "counts": counts}) == box


def test_string_of_the_reference_implementation():
    runs = decompress_slowly(RINGS)
    assert compress(runs) == RINGS
    mask = np.repeat(np.arange(len(runs)) % 2, runs).reshape(70, 50).T
    assert rle_to_box({"size": [50, 70], "counts": RINGS}) == box_of_pixels(mask) == (0, 0, 70, 50)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 200_000_000), min_size=1, max_size=5))
def test_long_runs_are_read_like_the_numbers(runs):
    size = [1, max(1, sum(runs))]
    if sum(runs) in range(1, 1_000_000_001):
        assert rle_to_box({"size": size, "counts": compress(runs)}) == rle_to_box({"size": size, "counts": runs})


@pytest.mark.parametrize(
    ("segmentation", "why"),
    [
        pytest.param({"counts": [4]}, "no size", id="no size"),
        pytest.param({"size": [2], "counts": [4]}, "no size", id="one side"),
        pytest.param({"size": [2, -2], "counts": [4]}, "no size", id="negative side"),
        pytest.param({"size": [2, True], "counts": [2]}, "no size", id="true as side"),
        pytest.param({"size": [2.0, 2.0], "counts": [4]}, "no size", id="sides with fraction"),
        pytest.param({"size": [10**9, 10**9], "counts": [10**18]}, "more than", id="huge size"),
        pytest.param({"size": [2, 2]}, "neither", id="no counts"),
        pytest.param({"size": [2, 2], "counts": [True, 3]}, "neither", id="true as count"),
        pytest.param({"size": [2, 2], "counts": [-1, 5]}, "neither", id="negative count"),
        pytest.param({"size": [2, 2], "counts": [1, 10**30]}, "neither", id="count beyond 64 bits"),
        pytest.param({"size": [2, 2], "counts": [1, 2]}, "do not fill", id="too few pixels"),
        pytest.param({"size": [2, 2], "counts": [4, 1]}, "do not fill", id="too many pixels"),
        pytest.param({"size": [2, 2], "counts": []}, "do not fill", id="no runs"),
        pytest.param({"size": [2, 2], "counts": ""}, "no compressed string", id="empty string"),
        pytest.param({"size": [2, 2], "counts": "1 2"}, "no compressed string", id="blank in string"),
        pytest.param({"size": [2, 2], "counts": "1ü2"}, "no compressed string", id="character beyond"),
        pytest.param({"size": [2, 2], "counts": "1\ud800"}, "no compressed string", id="half a character"),
        pytest.param({"size": [2, 2], "counts": "1Z"}, "no compressed string", id="cut within a number"),
        pytest.param({"size": [2, 2], "counts": "oooooooo0"}, "too large", id="number of nine characters"),
        pytest.param({"size": [2, 2], "counts": "2O3"}, "do not fill", id="negative run"),
        pytest.param({"size": [1, 8], "counts": compress([2, 3, 2])}, "do not fill", id="string too short"),
    ],
)
def test_malformed_encodings(segmentation, why):
    with pytest.raises(OutlineError, match=why):
        rle_to_box(segmentation)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(-1, 40), max_size=3),
    st.one_of(st.text(st.characters(min_codepoint=40, max_codepoint=115), max_size=30), st.lists(st.integers(-2, 99))),
)
def test_any_encoding_is_a_box_within_its_size_or_refused(size, counts):
    try:
        box = rle_to_box({"size": size, "counts": counts})
    except OutlineError:
        return
    if box is not None:
        left, top, width, height = box
        assert min(box) >= 0
        assert 0 < left + width <= size[1]
        assert 0 < top + height <= size[0]


def test_memory_is_that_of_the_runs_not_of_the_mask():
    tracemalloc.start()
    rle_to_box({"size": [30_000, 30_000], "counts": compress([450_000_000, 450_000_000])})
    with pytest.raises(OutlineError):
        rle_to_box({"size": [2**31, 2**31], "counts": compress([2**30])})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize(
    ("segmentation", "box"),
    [
        pytest.param([[1, 2, 5, 2, 5, 9]], (1, 2, 4, 7), id="triangle"),
        pytest.param([[1.5, 2, 5, 2, 5, 9], [0, 20, 1, 20, 1, 22.25]], (0, 2, 5, 20.25), id="two parts"),
        pytest.param({"size": [4, 6], "counts": [5, 2, 17]}, (1, 1, 1, 2), id="run lengths"),
    ],
)
def test_outlines_to_boxes(segmentation, box):
    assert outline_to_box(segmentation, 6, 4) == box


@pytest.mark.parametrize(
    ("segmentation", "why"),
    [
        pytest.param(None, "neither bbox nor segmentation", id="nothing"),
        pytest.param([], "neither bbox nor segmentation", id="no polygon"),
        pytest.param("1 2 3", "neither bbox nor segmentation", id="text"),
        pytest.param([1, 2, 5, 2, 5, 9], "three points", id="numbers without a list around"),
        pytest.param([[1, 2, 5, 2]], "three points", id="two points"),
        pytest.param([[1, 2, 5, 2, 5, 9, 3]], "three points", id="odd number"),
        pytest.param([[1, 2, 5, 2, 5, 9], []], "three points", id="one part empty"),
        pytest.param([[1, 2, 5, 2, 5, "9"]], "no numbers", id="text as number"),
        pytest.param([[1, 2, 5, 2, 5, True]], "no numbers", id="true as number"),
        pytest.param([[1, 2, 5, 2, 5, float("nan")]], "no numbers", id="not a number"),
        pytest.param({"size": [4, 6], "counts": [24]}, "no foreground", id="empty mask"),
        pytest.param({"size": [6, 4], "counts": [5, 2, 17]}, "4 x 6, its image 6 x 4", id="mask lies down"),
    ],
)
def test_outlines_without_box(segmentation, why):
    with pytest.raises(OutlineError, match=why):
        outline_to_box(segmentation, 6, 4)


def test_size_of_the_image_may_be_unknown():
    assert outline_to_box({"size": [4, 6], "counts": [5, 2, 17]}, 0, 0) == (1, 1, 1, 2)


@pytest.mark.parametrize("value", [True, None, "1", [], float("nan"), float("inf"), 10**30, -(10**30), 1.1e9])
def test_no_coordinate(value):
    assert not is_coordinate(value)
