"""Training curves: where they lie, and what they leave out."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.report.training_charts import HEIGHT, WIDTH, curve_chart, training_charts

LINES = (("loss", "all", "loss"),)


def history(*losses):
    return [{"epoch": epoch, "loss": loss} for epoch, loss in enumerate(losses, start=1)]


def test_a_curve_runs_from_the_first_epoch_to_the_last():
    chart = curve_chart("Loss", history(2.0, 1.0, 0.5), LINES, 3.0)
    (curve,) = chart.curves
    assert curve.path == f"M0.0 0.0L{WIDTH / 2} {HEIGHT / 2}L{float(WIDTH)} {HEIGHT * 0.75}"
    assert chart.kept == WIDTH
    assert curve.kept == (WIDTH, HEIGHT * 0.75)


@pytest.mark.parametrize(
    ("highest", "names"),
    [
        (1.0, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (2.7, ["0", "1", "2", "3"]),
        (0.0, ["0", "0.2"]),
        (1234.0, ["0", "500", "1000", "1500"]),
    ],
)
def test_numbers_along_the_side_are_round(highest, names):
    assert [name for _, name in curve_chart("Loss", history(highest, 0.0), LINES, None).up][: len(names)] == names


@pytest.mark.parametrize(
    ("epochs", "names"), [(1, ["1"]), (2, ["1", "2"]), (5, ["1", "2", "3", "4", "5"]), (30, ["1", "10", "20", "30"])]
)
def test_epochs_are_whole(epochs, names):
    chart = curve_chart("Loss", history(*[1.0] * epochs), LINES, None)
    assert [name for _, name in chart.across] == names


def test_what_is_missing_or_not_finite_is_left_out():
    rows = [{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": math.nan}, {"epoch": 3}, {"epoch": 4, "loss": 0.5}]
    (chart,) = training_charts(rows, 2.0)
    assert [curve.name for curve in chart.curves] == ["all"]
    assert chart.curves[0].path.count("L") == 1
    assert chart.curves[0].kept is None
    assert chart.kept == WIDTH / 3


@pytest.mark.parametrize("kept", [None, 0.0, 9.0])
def test_an_epoch_that_is_not_known_is_not_marked(kept):
    assert curve_chart("Loss", history(1.0, 0.5), LINES, kept).kept is None


def test_nothing_gives_no_chart():
    assert training_charts([], None) == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-1.0, 1e9), min_size=1, max_size=40))
def test_every_mark_lies_within_the_plot(losses):
    chart = curve_chart("Loss", history(*losses), LINES, 1.0)
    points = [tuple(map(float, pair.split())) for pair in chart.curves[0].path[1:].split("L")]
    places = [*points, *((x, 0) for x, _ in chart.across), *((0, y) for y, _ in chart.up)]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in places)
    assert len(chart.up) <= 8
    assert len(chart.across) <= 8
