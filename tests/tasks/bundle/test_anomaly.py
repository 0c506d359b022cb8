"""From distances to score, confidence and regions; and the bundle that does it, worked out by hand."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.bundle.adjustments import Crop, Region
from tasks.bundle.anomaly import confidence_of, find_regions, score_of, smooth
from tasks.bundle.predictor import BATCH_SIZE, Predictor
from tasks.bundle.preprocessing import Letterbox, Resize
from tasks.errors import BundleError
from tests.tasks.bundle.made_anomaly_model import PLAIN, SCORING, SIDE, grey, write_anomaly_model

POSITIVE = st.floats(1e-3, 1e6)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor.open(write_anomaly_model(tmp_path_factory.mktemp("made") / "bundle"))


def scoring(**changes: object) -> object:
    return SCORING.model_copy(update=changes)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        pytest.param(0.01, 9.0, id="one patch at least"),
        pytest.param(0.5, (9 + 8) / 2, id="half of them"),
        pytest.param(1.0, 5.0, id="all of them"),
    ],
)
def test_score_is_the_mean_of_the_hottest_patches(share: float, expected: float) -> None:
    heat = np.array([[9.0, 1.0], [2.0, 8.0]], np.float32)
    assert score_of(heat, scoring(top_share=share)) == pytest.approx(expected)


def test_smoothing_spreads_heat_and_keeps_what_is_even() -> None:
    wide = scoring(smoothing_cells=1.0)
    spot = np.zeros((9, 9), np.float32)
    spot[4, 4] = 1.0
    assert smooth(spot, wide)[4, 4] > smooth(spot, wide)[4, 5] > smooth(spot, wide)[4, 6] > 0
    assert smooth(spot, wide).sum() == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_allclose(smooth(np.full((5, 5), 3.0, np.float32), wide), 3.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        pytest.param(0.0, 0.0, id="no distance"),
        pytest.param(10.0, 1 / 17, id="half the limit"),
        pytest.param(20.0, 0.5, id="the limit"),
        pytest.param(40.0, 16 / 17, id="twice the limit"),
        pytest.param(1e300, 1.0, id="beyond all bounds"),
        pytest.param(1e-300, 0.0, id="all but none"),
    ],
)
def test_confidence_is_one_half_at_the_limit(score: float, expected: float) -> None:
    assert confidence_of(score, SCORING) == pytest.approx(expected)


@settings(max_examples=50, deadline=None)
@given(POSITIVE, POSITIVE)
def test_confidence_rises_with_the_score(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0.0 <= confidence_of(low, SCORING) <= confidence_of(high, SCORING) <= 1.0


def test_regions_are_told_hottest_first_in_pixels_of_the_image() -> None:
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0], heat[3, 3] = 30.0, 60.0
    boxes = find_regions(heat, SCORING, "anomaly", 0.75, Region(100, 0, 400, 200), is_given=True)
    assert [box.confidence for box in boxes] == [0.75, 0.75]
    hottest, other = boxes
    assert (hottest.right, hottest.bottom) == (500.0, 200.0)
    assert (other.left, other.top) == (100.0, 0.0)
    # A cell is 100 x 50 pixels; half way to the next, at 0, the heat of 60 has fallen to 30, above the limit of 10.
    assert 100.0 < hottest.width < 200.0
    assert 50.0 < hottest.height < 100.0
    assert other.width < hottest.width
    few = scoring(max_boxes=1)
    assert find_regions(heat, few, "anomaly", 0.75, Region(100, 0, 400, 200), is_given=True) == (hottest,)


def test_normal_image_has_no_label_and_no_box(predictor: Predictor) -> None:
    answer = predictor.predict([grey()])[0]
    assert answer.confidences["anomaly"] == pytest.approx(0.0, abs=1e-6)
    assert (answer.labels, answer.boxes) == ((), ())
    np.testing.assert_allclose(answer.heat_map.heat(), 0.0, atol=0.1)


def test_abnormal_image_is_given_the_label_and_a_box_around_the_place(predictor: Predictor) -> None:
    # Two of 16 patches are 40 steps off: the mean of the two hottest is 40, twice the limit.
    answer = predictor.predict([grey((128, 64, 128, 64), side=256)])[0]
    assert answer.confidences["anomaly"] == pytest.approx(16 / 17, abs=1e-3)
    assert answer.labels == ("anomaly",)
    (box,) = answer.boxes
    assert box.is_given
    assert box.left < 128 < 256 == box.right
    assert box.top < 64 < 128 < box.bottom < 192
    np.testing.assert_allclose(answer.heat_map.heat()[1], [0, 0, 40, 40], atol=0.1)


def test_threshold_alone_decides_the_label(tmp_path: Path) -> None:
    strict = Predictor.open(write_anomaly_model(tmp_path / "strict", thresholds={"anomaly": 0.95}))
    answer = strict.predict([grey((32, 16, 32, 16))])[0]
    assert answer.labels == ()
    assert [box.is_given for box in answer.boxes] == [False]


def test_what_is_cropped_away_is_not_looked_at(tmp_path: Path) -> None:
    steps = (Crop(left=0.5, top=0.0, width=0.5, height=1.0), Resize(width=SIDE, height=SIDE), PLAIN)
    half = Predictor.open(write_anomaly_model(tmp_path / "half", steps=steps))
    outside, inside = half.predict([grey((0, 0, 40, 40), side=160), grey((120, 0, 40, 40), side=160)])
    assert outside.labels == ()
    assert inside.labels == ("anomaly",)
    assert inside.boxes[0].left == pytest.approx(120, abs=12)
    assert inside.boxes[0].right == 160
    over = inside.heat_map.over(160, 160)
    assert over[:, :80].max() == 0.0
    assert over[10, 150] == pytest.approx(40.0, abs=1.0)


def test_batch_answers_like_single_calls(predictor: Predictor) -> None:
    images = [grey((number, number, 20, 20), by=3 * number) for number in range(BATCH_SIZE + 1)]
    assert predictor.predict(images) == [predictor.predict([image])[0] for image in images]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({"scoring": None}, "scoring", id="no scoring"),
        pytest.param({"steps": (Letterbox(size=SIDE), PLAIN)}, "letterbox", id="another framing"),
        pytest.param({"networks": {}}, "backbone and memory", id="no networks"),
        pytest.param({"scoring": {**SCORING.model_dump(), "limit": 0.0}}, "limit", id="limit of 0"),
    ],
)
def test_card_of_another_kind_is_refused(fields: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=message):
        write_anomaly_model(tmp_path, **fields)


def test_networks_of_another_grid_are_refused(tmp_path: Path) -> None:
    bundle = write_anomaly_model(tmp_path, scoring=scoring(rows=5))
    with pytest.raises(BundleError, match="distances"):
        Predictor.open(bundle)
