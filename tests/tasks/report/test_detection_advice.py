"""Advice on a detector: what it says, and above all when it stays silent."""

from dataclasses import replace

import pytest

from tasks.dataset.findings import Finding
from tasks.report.detection_advice import advise_on_detector, larger_input
from tasks.report.detection_facts import errors_first, judge_image
from tests.tasks.report.detection_run import ALARM, EMPTY, MISSED, MISTAKEN, RIGHT, Case, given, predicted, run_of, true


def many(case, count, start=0):
    return [replace(case, ref=f"{number}-{case.ref}") for number in range(start, start + count)]


LEARNED = [*many(RIGHT, 25), *many(Case("cut.png", (true("cut"),)), 25), *many(EMPTY, 10)]
RIGHT_CUT = Case("cut.png", (true("cut"),), (given(0.9, "cut"),))
SOUND = [*many(RIGHT, 12), *many(RIGHT_CUT, 12), *many(EMPTY, 10)]


def advice_on(cases, learned=LEARNED, **changes):
    return advise_on_detector(run_of(cases, learned, **({"findings": []} | changes)))


def find(words, cases, learned=LEARNED, **changes):
    return next((one for one in advice_on(cases, learned, **changes) if words in one.title), None)


@pytest.mark.parametrize("crossed", [True, False])
def test_a_sound_run_gives_none(crossed):
    assert advice_on(SOUND, crossed=crossed) == []


def test_nothing_to_judge_gives_no_error():
    titles = [one.title for one in advice_on([], [])]
    assert titles == ["2 labels have fewer than 20 boxes", "The test split is too small to judge 2 labels"]


def test_the_most_important_comes_first():
    found = advice_on([*SOUND, *many(ALARM, 5), *many(MISTAKEN, 9)], findings=run_of().findings)
    ranks = ["high", "medium", "low"]
    assert [one.severity for one in found] == sorted((one.severity for one in found), key=ranks.index)
    assert {one.severity for one in found} == set(ranks)


@pytest.mark.parametrize(
    ("alarm", "expected"),
    [
        pytest.param(given(0.9, left=60, top=60), True, id="sure, far from all"),
        pytest.param(given(0.69, left=60, top=60), False, id="not sure"),
        pytest.param(given(0.9, left=25), False, id="partly on a true box"),
        pytest.param(given(0.9, "cut", left=60, top=60), False, id="of a label not to be believed"),
    ],
)
def test_a_sure_false_alarm_may_be_a_forgotten_box(alarm, expected):
    suspect = Case("suspect.png", (true(),), (given(0.9), alarm))
    found = find("missing from the annotations", [*many(RIGHT, 6), suspect])
    assert bool(found) == expected
    if found:
        assert found.title.startswith("1 box may")
        assert "suspect.png (“bent”, 0.90)" in found.text
        assert found.images == ("suspect.png",)


def test_a_model_that_is_often_surely_wrong_is_not_believed():
    wrong = Case("wrong.png", (), (given(0.9),))
    assert find("missing from the annotations", [*many(RIGHT, 8), *many(wrong, 2)])
    assert not find("missing from the annotations", [*many(RIGHT, 8), *many(wrong, 3)])


@pytest.mark.parametrize(("count", "severity"), [(2, None), (3, "medium"), (4, "high")])
def test_confused_labels(count, severity):
    cases = [*many(RIGHT_CUT, 16 - count), *many(MISTAKEN, count), *many(RIGHT, 12)]
    found = find("are confused", cases)
    assert (found.severity if found else None) == severity
    if found:
        assert found.title == "“bent” and “cut” are confused"
        assert f"{count} of 16 boxes of “cut” are taken for “bent”" in found.text
        assert found.images == tuple(f"{number}-mistaken.png" for number in range(count))


def test_confused_labels_are_not_called_missed_too():
    assert not find("mostly missed", [*SOUND, *many(MISTAKEN, 14)])


@pytest.mark.parametrize(("found", "missed", "expected"), [(4, 6, True), (5, 5, False), (1, 3, False)])
def test_labels_that_are_mostly_missed(found, missed, expected):
    one = find("mostly missed", [*many(RIGHT_CUT, 12), *many(RIGHT, found), *many(MISSED, missed)])
    assert bool(one) == expected
    if one:
        assert f"“bent” {found} of {found + missed}." in one.text
        assert len(one.images) == missed


@pytest.mark.parametrize(("learned", "expected"), [(7, True), (8, False)])
def test_few_boxes_are_counted_over_all_splits(learned, expected):
    cases = [*many(RIGHT, 12), *many(RIGHT_CUT, 12)]
    found = find("fewer than 20 boxes", cases, [*many(RIGHT, learned), *many(RIGHT_CUT, 9)])
    assert bool(found) == expected
    if found:
        assert found.severity == "medium"
        assert "Number of boxes: “bent” 19. With 19 boxes" in found.text


@pytest.mark.parametrize(("alarms", "quiet", "expected"), [(2, 0, False), (3, 27, True), (3, 28, False)])
def test_false_alarms_on_images_without_boxes(alarms, quiet, expected):
    found = find("False alarms on images without boxes", [*many(ALARM, alarms), *many(EMPTY, quiet)])
    assert bool(found) == expected
    if found:
        assert f"{alarms} of {alarms + quiet} images without boxes" in found.text
        assert "learned from 10 images without boxes" in found.text
        assert len(found.images) == alarms


def small(ref, width, is_found, side=1000):
    box = true(width=width, height=60)
    boxes = (given(0.9, width=width, height=60),) if is_found else ()
    return Case(ref, (box,), boxes, side)


@pytest.mark.parametrize(
    ("width", "missed", "size", "wanted"),
    [
        pytest.param(20, 3, 320, 416, id="tiny at 320"),
        pytest.param(20, 2, 320, None, id="too few missed"),
        pytest.param(20, 3, 416, None, id="not tiny at 416"),
        pytest.param(3, 3, 320, 1024, id="as large as can be"),
        pytest.param(3, 3, 1024, None, id="no larger size"),
    ],
)
def test_small_boxes_that_are_missed(width, missed, size, wanted):
    tiny = [small(f"tiny{number}.png", width, False) for number in range(missed)]
    large = [small(f"large{number}.png", 60, True) for number in range(12)]
    found = find("Small boxes are missed", [*tiny, *large], input_size=size)
    assert bool(found) == bool(wanted)
    if found:
        assert f"input size of {wanted}," in found.text
        assert f"{3 if width == 20 else 0} of the 3 have 8 pixels" in found.text
        assert found.images == ("tiny0.png", "tiny1.png", "tiny2.png")


def test_small_boxes_are_not_blamed_when_large_ones_are_missed_as_often():
    boxes = [small(f"{width}-{number}.png", width, False) for width in (20, 60) for number in range(6)]
    assert not find("Small boxes are missed", boxes)


@pytest.mark.parametrize(
    ("wanted", "size", "expected"),
    [
        ([400.0], 320, 416),
        ([384.0], 320, 384),
        ([5000.0], 320, 1024),
        ([300.0], 320, None),
        ([330, 900, 640], 320, 640),
    ],
)
def test_larger_input(wanted, size, expected):
    assert larger_input(wanted, size) == expected


@pytest.mark.parametrize(("tested", "crossed", "expected"), [(9, False, True), (10, False, False), (9, True, False)])
def test_a_test_split_too_small_to_judge(tested, crossed, expected):
    found = find("too small to judge", [*many(RIGHT, 12), *many(RIGHT_CUT, tested)], crossed=crossed)
    assert bool(found) == expected
    if found:
        assert f"Boxes to test on: “cut” {tested}." in found.text


@pytest.mark.parametrize(("spread", "expected"), [(0.12, True), (0.09, False)])
def test_folds_that_differ(spread, expected):
    found = find("folds differ", SOUND, crossed=True, spread=spread)
    assert bool(found) == expected
    if found:
        assert f"mAP50 is 0.823 with a standard deviation of {spread:.3f} over 5 folds" in found.text


def test_files_that_cannot_be_used_are_told():
    findings = [
        Finding(code="ERROR_EMPTY_FILE", source_ref="void.png", message="the file has no bytes"),
        Finding(code="WARNING_CONFLICTING_LABELS", source_ref="copy.png", message="as other.png"),
    ]
    found = {one.title: one.images for one in advice_on(SOUND, findings=findings)}
    assert found == {
        "The same image stands under different labels": ("copy.png",),
        "1 file could not be used": ("void.png",),
    }


def judged(*cases):
    return [judge_image(predicted(case)) for case in cases]


def test_boxes_are_told_apart():
    case = Case(
        "all.png",
        (true(), true("cut", 60, 10, 20, 20), true("bent", 60, 60, 20, 20)),
        (given(0.9), given(0.8, "bent", 61, 10, 20, 20), given(0.6), given(0.1, "bent", 60, 60, 20, 20)),
    )
    image = judged(case)[0]
    assert image.found == (case.boxes[0],)
    assert image.false_alarms == (case.boxes[1], case.boxes[2])
    assert image.missed == case.true_boxes[1:]
    assert image.mistaken == ((case.true_boxes[1], case.boxes[1]),)
    assert image.errors == 4


def test_right_images_are_sorted_by_how_near_they_are_to_an_error():
    nearly_given = Case("nearly.png", (), (given(0.39),))
    hardly = Case("hardly.png", (), (given(0.01),))
    ordered = errors_first(
        judged(hardly, RIGHT, nearly_given, EMPTY, replace(RIGHT, ref="low.png", boxes=(given(0.5),)))
    )
    assert [image.source_ref for image in ordered] == ["low.png", "nearly.png", "right.png", "hardly.png", "empty.png"]
