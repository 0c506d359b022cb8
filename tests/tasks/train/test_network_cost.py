import pytest

from tasks.train.network_cost import STEP_COST, forward_seconds, in_words, teaching_seconds
from tests.conftest import INPUT_SIZE


def test_forward_pass_is_timed(backbone):
    assert 0.0 < forward_seconds(backbone, INPUT_SIZE) < 10.0


def test_cost_grows_with_pixels_images_epochs_and_networks():
    once = teaching_seconds(0.01, 1.0, 100, 1, 1)
    assert once == pytest.approx(0.01 * STEP_COST * 100)
    assert teaching_seconds(0.01, 0.5, 200, 20, 6) == pytest.approx(0.5 * 2 * 20 * 6 * once)
    # Twenty-two times three images, and twice sixty-three.
    assert teaching_seconds(0.01, 1.0, 3, 1, 1) == pytest.approx(0.66 * once)
    assert teaching_seconds(0.01, 1.0, 63, 1, 1) == pytest.approx(1.26 * once)


@pytest.mark.parametrize(
    ("seconds", "words"), [(41.7, "42 s"), (89.0, "89 s"), (539.0, "9 min"), (5399.0, "90 min"), (9000.0, "2.5 h")]
)
def test_times_are_told_roughly(seconds, words):
    assert in_words(seconds) == words
