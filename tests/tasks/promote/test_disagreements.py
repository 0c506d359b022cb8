"""Which answers differ, and what the sheet shows of them."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tasks.bundle.predictor import Prediction
from tasks.dataset.truth import Truth
from tasks.promote.disagreements import (
    GAP_GROUND,
    LINE_HEIGHT,
    MARGIN,
    MAX_SHOWN,
    RIGHT_INK,
    SIDE,
    TITLE_HEIGHT,
    WRONG_INK,
    Disagreement,
    Disagreements,
    agree,
    draw_disagreements,
    png_bytes,
)
from tasks.vision.boxes import BoundingBox, DetectedBox
from tasks.vision.overlays import label_colours
from tests.tasks.promote.made_versions import Painted, tinted

LABELS = ("cut", "dent")
TRUE = BoundingBox("dent", 40, 40, 60, 60)


def said(*labels):
    return Prediction({label: 0.9 if label in labels else 0.1 for label in LABELS}, labels)


def found(*boxes):
    return Prediction(dict.fromkeys(LABELS, 0.5), (), boxes)


def box(left, label="dent", is_given=True):
    return DetectedBox(label, left, 40.0, 60.0, 60.0, 0.8, is_given)


@pytest.mark.parametrize(
    ("one", "other", "is_detection", "expected"),
    [
        pytest.param(said("cut"), said("cut"), False, True, id="same label"),
        pytest.param(said("cut", "dent"), said("dent", "cut"), False, True, id="another order"),
        pytest.param(said("cut"), said("dent"), False, False, id="another label"),
        pytest.param(said("cut"), said(), False, False, id="no label"),
        pytest.param(said("cut"), said("cut", "dent"), False, False, id="one more label"),
        pytest.param(found(box(40)), found(box(45)), True, True, id="about there"),
        pytest.param(found(box(40)), found(box(90)), True, False, id="elsewhere"),
        pytest.param(found(box(40)), found(box(40, "cut")), True, False, id="of another label"),
        pytest.param(found(box(40)), found(box(40), box(200)), True, False, id="one more box"),
        pytest.param(found(box(40), box(200)), found(box(40)), True, False, id="one box less"),
        pytest.param(found(box(40)), found(box(40), box(200, is_given=False)), True, True, id="one more, not given"),
        pytest.param(found(), found(), True, True, id="no box"),
    ],
)
def test_answers_agree(one, other, is_detection, expected):
    assert agree(one, other, is_detection=is_detection) == expected


def cases(tmp_path, truth, champion, challenger, count=1, side=SIDE):
    painted = Painted(tmp_path, {})
    entries = [painted.add(f"{n}.png", tinted("red", (n, 0), side), truth) for n in range(count)]
    made = tuple(Disagreement(entry, champion, challenger) for entry in entries)
    return Disagreements("models:/parts/1", "models:/parts/2", tmp_path, made, bool(truth.boxes))


def where(pixels, colour):
    return (pixels == np.array(colour, np.uint8)).all(axis=2)


def lines_below(sheet, row=0, column=0, width=SIDE):
    """The four lines of text below a picture."""
    top = TITLE_HEIGHT + row * (SIDE + 4 * LINE_HEIGHT + MARGIN) + SIDE + 3
    left = MARGIN + column * (SIDE + MARGIN)
    return [sheet[top + n * LINE_HEIGHT : top + (n + 1) * LINE_HEIGHT, left : left + width] for n in range(4)]


@pytest.mark.parametrize("is_champion_right", [True, False])
def test_right_answers_are_green_and_wrong_ones_red(tmp_path, is_champion_right):
    answers = (said("cut"), said("dent")) if is_champion_right else (said("dent"), said("cut", "dent"))
    sheet = draw_disagreements(cases(tmp_path, Truth(("cut",)), *answers))
    inks = [[bool(where(line, ink).any()) for ink in (RIGHT_INK, WRONG_INK)] for line in lines_below(sheet)]
    told = [[is_champion_right, not is_champion_right], [False, True]]
    assert inks == [[False, False], [False, False], *told]


def test_classifiers_image_is_shown_once_as_it_is(tmp_path):
    made = cases(tmp_path, Truth(("cut",)), said("cut"), said("dent"))
    sheet = draw_disagreements(made)
    picture = sheet[TITLE_HEIGHT : TITLE_HEIGHT + SIDE, MARGIN : MARGIN + SIDE]
    assert (picture == tinted("red", (0, 0), SIDE)).all()
    assert (sheet[TITLE_HEIGHT : TITLE_HEIGHT + SIDE, MARGIN + SIDE :] == 255).all()


def test_detectors_boxes_stand_side_by_side(tmp_path):
    truth = Truth(("dent",), (TRUE,))
    sheet = draw_disagreements(cases(tmp_path, truth, found(box(42)), found(box(180, "cut"))))
    colours = label_colours(LABELS)
    left = sheet[TITLE_HEIGHT : TITLE_HEIGHT + SIDE, MARGIN : MARGIN + SIDE]
    start = 2 * MARGIN + SIDE
    right = sheet[TITLE_HEIGHT : TITLE_HEIGHT + SIDE, start : start + SIDE]
    # The champion's box is solid, the challenger's dashed; the dent that it missed is dotted.
    assert where(left, colours["dent"])[40:100, 42].all()
    assert not where(left, colours["cut"]).any()
    false, missed = where(right, colours["cut"])[40:100, 180], where(right, colours["dent"])[40:100, 40]
    assert 0.2 < false.mean() < 0.8
    assert 0.2 < missed.mean() < 0.8
    inks = [bool(where(line, RIGHT_INK).any()) for line in lines_below(sheet)]
    assert inks == [False, False, True, False]


def test_box_that_is_not_given_is_not_drawn(tmp_path):
    truth = Truth(("dent",), (TRUE,))
    given = found(box(42))
    plain = draw_disagreements(cases(tmp_path, truth, given, found()))
    unsure = draw_disagreements(cases(tmp_path, truth, given, found(box(180, "cut", is_given=False))))
    assert (plain == unsure).all()


def test_large_images_are_scaled_with_their_boxes(tmp_path):
    truth = Truth(("dent",), (TRUE,))
    sheet = draw_disagreements(cases(tmp_path, truth, found(box(40)), found(), side=2 * SIDE))
    left = sheet[TITLE_HEIGHT : TITLE_HEIGHT + SIDE, MARGIN : MARGIN + SIDE]
    assert where(left, label_colours(LABELS)["dent"])[20:50, 20].all()


@pytest.mark.parametrize(
    ("count", "rows"),
    [pytest.param(0, 1, id="none"), pytest.param(5, 2, id="two rows"), pytest.param(40, 3, id="many")],
)
def test_sheet_is_bounded(tmp_path, count, rows):
    sheet = draw_disagreements(cases(tmp_path, Truth(("cut",)), said("cut"), said("dent"), count))
    assert MAX_SHOWN == 12
    assert sheet.shape == (TITLE_HEIGHT + rows * (SIDE + 4 * LINE_HEIGHT + MARGIN), 4 * (SIDE + MARGIN) + MARGIN, 3)


def test_unreadable_image_leaves_a_gap(tmp_path):
    made = cases(tmp_path, Truth(("cut",)), said("cut"), said("dent"), 2)
    (tmp_path / "0.png").unlink()
    sheet = draw_disagreements(made)
    assert (sheet[TITLE_HEIGHT + 1, MARGIN : MARGIN + SIDE] == GAP_GROUND).all()
    second = sheet[TITLE_HEIGHT : TITLE_HEIGHT + SIDE, 2 * MARGIN + SIDE : 2 * MARGIN + 2 * SIDE]
    assert (second == tinted("red", (1, 0), SIDE)).all()


def test_labels_that_the_palette_repeats_or_no_font_has_are_drawn(tmp_path):
    strange = tuple(f"label {number} \U0001f9f2" for number in range(20))
    made = cases(tmp_path, Truth(("cut",)), said("cut"), said("dent"))
    answer = Prediction(dict.fromkeys(strange, 0.9), strange)
    case = replace(made.cases[0], challenger=answer)
    sheet = draw_disagreements(replace(made, cases=(case,)))
    assert where(lines_below(sheet)[3], WRONG_INK).any()


def test_png_is_the_sheet(tmp_path):
    sheet = draw_disagreements(cases(tmp_path, Truth(("cut",)), said("cut"), said("dent")))
    assert (np.asarray(Image.open(io.BytesIO(png_bytes(sheet)))) == sheet).all()
