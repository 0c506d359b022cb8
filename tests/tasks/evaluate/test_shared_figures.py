import pytest

from tasks.evaluate.shared_figures import DRAWN_LABELS, weakest_labels


@pytest.mark.parametrize("count", [0, 1, DRAWN_LABELS])
def test_few_labels_are_drawn_all_and_in_their_order(count):
    figures = {f"label {number}": 1.0 - number / 100 for number in range(count)}
    assert weakest_labels(figures) == list(figures)


def test_of_many_labels_the_weakest_are_drawn_in_their_order():
    figures = {f"label {number}": (number * 7 % 1000) / 1000 for number in range(1000)}
    drawn = weakest_labels(figures)
    assert len(drawn) == DRAWN_LABELS
    assert [label for label in figures if label in drawn] == drawn
    assert max(figures[label] for label in drawn) == pytest.approx((DRAWN_LABELS - 1) / 1000)
