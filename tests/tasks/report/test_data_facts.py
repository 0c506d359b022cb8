"""The data report's numbers are right, and its charts show them."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.report.data_charts import MAX_POINTS, bars, heat_chart, size_chart
from tasks.report.data_facts import INPUT_PIXELS, DataFacts, coverage
from tests.tasks.report.stated_data import box, inputs_of, stated


def facts_of(tmp_path, *entries, **changes):
    return DataFacts(inputs_of(tmp_path, entries, **changes))


# The numbers


def test_counts_images_and_boxes_by_label_and_split(tmp_path):
    facts = DataFacts(
        inputs_of(
            tmp_path,
            train=[stated("a", boxes=(box("bent"), box("bent", 30), box("cut"))), stated("b", boxes=())],
            test=[stated("c", ["cut"]), stated("d")],
            labels=["bent", "cut", "unseen"],
        )
    )
    assert facts.images_by_split == {"train": 2, "validation": 0, "test": 2}
    assert facts.images_by_label == {"bent": 1, "cut": 2, "unseen": 0}
    assert facts.boxes_by_label == {"bent": 2, "cut": 1, "unseen": 0}
    assert (facts.images["train", "cut"], facts.images["test", "cut"], facts.boxes["test", "cut"]) == (1, 1, 0)
    assert facts.true_negatives == 1
    assert [place.entry.source_ref for place in facts.unlabelled] == ["d"]
    assert [place.entry.source_ref for place in facts.without_boxes] == ["c"]


@pytest.mark.parametrize(
    ("size", "one", "shown", "is_small", "is_tiny"),
    [
        pytest.param((320, 320), box(width=32, height=32), (32, 32), False, False, id="just not small"),
        pytest.param((320, 320), box(width=33, height=31), (33, 31), True, False, id="just small"),
        pytest.param((320, 320), box(width=8, height=200), (8, 200), False, False, id="just not tiny"),
        pytest.param((320, 320), box(width=7, height=200), (7, 200), False, True, id="thin"),
        pytest.param((640, 320), box(width=40, height=40), (20, 20), True, False, id="longer side counts"),
        pytest.param((160, 80), box(width=20, height=20), (40, 40), False, False, id="small images are enlarged"),
    ],
)
def test_box_sizes_are_told_at_the_input_size(tmp_path, size, one, shown, is_small, is_tiny):
    table = facts_of(tmp_path, stated("a", boxes=(one,), size=size)).box_table
    assert (table.width[0], table.height[0]) == pytest.approx(shown)
    assert (table.is_small[0], table.is_tiny[0]) == (is_small, is_tiny)


def test_tiny_boxes_name_their_images_the_smallest_first(tmp_path):
    entries = [
        stated("thin", boxes=(box(width=5, height=300), box(width=6, height=6)), size=(320, 320)),
        stated("fine", boxes=(box(width=50, height=50),), size=(320, 320)),
        stated("dot", boxes=(box(width=1, height=1),), size=(320, 320)),
    ]
    facts = facts_of(tmp_path, *entries)
    assert [place.entry.source_ref for place in facts.tiny_box_places] == ["dot", "thin"]


@pytest.mark.parametrize(
    ("counts", "bins"),
    [
        pytest.param([], [], id="no image"),
        pytest.param([None, None], [], id="nobody looked"),
        pytest.param([0, 0, 2], [("0", 2), ("1", 0), ("2", 1)], id="negatives count, empty ends do not"),
        pytest.param([4, 5, 9], [("0", 0), ("1", 0), ("2", 0), ("3", 0), ("4", 1), ("5 to 9", 2)], id="steps"),
    ],
)
def test_boxes_per_image(tmp_path, counts, bins):
    entries = [
        stated(str(i), boxes=None if count is None else tuple(box(left=k) for k in range(count)))
        for i, count in enumerate(counts)
    ]
    assert facts_of(tmp_path, *entries).boxes_per_image == bins


def test_boxes_per_image_ends_open(tmp_path):
    entry = stated("a", boxes=tuple(box(left=k) for k in range(70)))
    assert facts_of(tmp_path, entry).boxes_per_image[-1] == ("50+", 1)


@pytest.mark.parametrize(
    ("size", "name"),
    [
        ((10, 100), "taller than 1:2"),
        ((50, 100), "1:2 to 3:4"),
        ((75, 100), "3:4 to square"),
        ((100, 100), "square"),
        ((104, 100), "square"),
        ((120, 90), "square to 4:3"),
        ((160, 90), "4:3 to 2:1"),
        ((200, 100), "2:1 or wider"),
    ],
)
def test_aspects(tmp_path, size, name):
    facts = facts_of(tmp_path, stated("a", size=size))
    assert [found for found in facts.aspects if found[1]] == [(name, 1)]


def test_image_sizes_the_most_frequent_first(tmp_path):
    facts = facts_of(tmp_path, stated("a", size=(30, 20)), stated("b"), stated("c"), stated("d", size=(20, 30)))
    assert facts.image_sizes == [((100, 100), 2), ((20, 30), 1), ((30, 20), 1)]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 39)] * 2, *[st.integers(1, 40)] * 2), max_size=8), st.sampled_from([1, 4, 7])
)
@example([(0, 10, 20, 10)], 4)
def test_coverage_counts_the_boxes_that_reach_into_a_cell(corners, cells):
    boxes = tuple(box("bent", x, y, min(w, 40 - x), min(h, 40 - y)) for x, y, w, h in corners)
    facts = DataFacts(inputs_of(".", [stated("a", boxes=boxes, size=(40, 40))]))
    shares = coverage(facts.box_table, cells)
    for row in range(cells):
        for column in range(cells):
            reach = sum(
                one.left * cells < (column + 1) * 40
                and one.right * cells > column * 40
                and one.top * cells < (row + 1) * 40
                and one.bottom * cells > row * 40
                for one in boxes
            )
            assert shares[row, column] == pytest.approx(reach / max(1, len(boxes)))


# The charts


def test_bars_share_one_scale():
    drawn = bars([("a", [("train", 30), ("test", 10)]), ("b", [("train", 0), ("test", 20)]), ("c", [("train", 0)])])
    assert [bar.ends for bar in drawn] == [
        (("train", 0.0, 75.0), ("test", 75.0, 25.0)),
        (("test", 0.0, 50.0),),
        (),
    ]
    assert [bar.total for bar in drawn] == [40, 20, 0]


def test_size_chart_is_limited_and_keeps_the_extremes(tmp_path):
    boxes = tuple(box(width=1 + k % 319, height=1 + k // 19) for k in range(3 * MAX_POINTS))
    chart = size_chart(facts_of(tmp_path, stated("a", boxes=boxes, size=(320, 320))).box_table)
    assert len(chart.points) == MAX_POINTS
    assert all(0 <= x <= 320 and 0 <= y <= 320 for x, y in chart.points)
    assert min(x for x, _ in chart.points) == 0


def test_size_chart_places_points_against_its_limits(tmp_path):
    boxes = (box(width=32, height=32), box(width=8, height=8), box(width=INPUT_PIXELS, height=1))
    chart = size_chart(facts_of(tmp_path, stated("a", boxes=boxes, size=(320, 320))).box_table)
    tiny, square, wide = chart.points
    assert tiny == (chart.tiny, 320 - chart.tiny)
    assert wide == (320, 320)
    # On the line from (small, 0) to (320, 320 - small): x - y is the same all along.
    assert square[0] - square[1] == pytest.approx(chart.small, abs=0.2)


def test_heat_chart_is_darkest_where_most_boxes_are():
    shares = np.zeros((4, 4))
    shares[1, 2], shares[3, 0] = 0.5, 0.1
    chart = heat_chart(shares)
    assert [(x, y) for x, y, _ in chart.cells] == [(160, 80), (0, 240)]
    assert chart.cells[0][2] == chart.scale[-1]
    assert chart.cells[1][2] not in chart.scale[3:]
    assert chart.highest == 0.5
