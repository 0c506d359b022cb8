"""The data report: its numbers are right, and its page is complete, safe, self-contained and the same every time."""

import base64
import hashlib
import io
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks.dataset.entries import ImageEntry
from tasks.dataset.findings import Finding
from tasks.dataset.truth import Truth
from tasks.report.data_advice import advise_on_data, judge_data
from tasks.report.data_charts import MAX_POINTS, bars, heat_chart, size_chart
from tasks.report.data_facts import INPUT_PIXELS, DataFacts, coverage
from tasks.report.data_inputs import DataReportInputs
from tasks.report.data_render import render_data_report
from tasks.report.data_wording import ANNOTATION_MEANINGS
from tasks.report.examples import choose_examples
from tasks.vision.boxes import BoundingBox
from tests.makers import png_bytes
from tests.tasks.report.page_reader import Page

ROOT = Path(__file__).resolve().parents[3]

SCRIPT = "<script>alert(1)</script>"
QUOTES = "\"'& <b>bold</b>"


def box(label="bent", left=0, top=0, width=20, height=20):
    return BoundingBox(label, left, top, width, height)


def stated(ref, labels=(), boxes=None, size=(100, 100)):
    """An entry without a file."""
    labels = tuple(sorted({*labels, *(one.label for one in boxes or ())}))
    return ImageEntry(ref, "0" * 64, *size, Truth(labels, boxes))


def painted(root, ref, labels=(), boxes=None, size=(100, 100), shade=90):
    """An entry with its file."""
    data = png_bytes(np.full((size[1], size[0], 3), (shade, 80, 120), np.uint8))
    path = root / ref
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return replace(stated(ref, labels, boxes, size), sha256=hashlib.sha256(data).hexdigest())


def inputs_of(root, train=(), test=(), validation=(), labels=None, task="detection", **changes):
    entries = {"train": list(train), "validation": list(validation), "test": list(test)}
    every = [entry for split in entries.values() for entry in split]
    known = sorted({label for entry in every for label in entry.truth.labels})
    plain = DataReportInputs(
        dataset_name="parts",
        digest="ab" * 32,
        parent_digest="",
        task=task,
        labels=known if labels is None else labels,
        entries=entries,
        roots=dict.fromkeys(entries, root),
        findings=[],
        listed=len(every),
        usable=len(every),
        invalid=0,
        layout="class folders",
        validation_mode="open",
        group_count=len(every),
        largest_groups=[],
        provenance={"Source": "parts"},
    )
    return replace(plain, **changes)


def detection_inputs(root, labels=("bent", "cut"), per_label=12, **changes):
    """Painted images with a box each, and two true negatives; every third is for testing."""
    entries = [
        painted(root, f"{place}/{number:02d}.png", boxes=(box(label, 10 + number, 20, 40, 30),), shade=7 * number)
        for place, label in enumerate(labels)
        for number in range(per_label)
    ]
    entries += [painted(root, f"none/{number}.png", boxes=(), shade=200 + number) for number in range(2)]
    return inputs_of(root, [e for i, e in enumerate(entries) if i % 3], entries[::3], **changes)


def finding(code="WARNING_DUPLICATE_IMAGE", ref="a.png", message="is a copy"):
    return Finding(code=code, source_ref=ref, message=message)


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


# Advice and verdict


def many(prefix, count, label, **changes):
    return [stated(f"{prefix}{i}", boxes=(box(label, width=40, height=40),), **changes) for i in range(count)]


@pytest.mark.parametrize(
    ("given_inputs", "title", "verdict"),
    [
        pytest.param({"train": many("a", 9, "x"), "test": many("b", 30, "y")}, "One label has fewer", "look", id="few"),
        pytest.param({"train": many("a", 10, "x") + many("b", 201, "y")}, "unequal", "look", id="imbalance"),
        pytest.param({"train": many("a", 10, "x") + many("b", 200, "y")}, "", "ready", id="at the limit"),
        pytest.param(
            {"train": many("a", 20, "x", size=(1700, 1700))}, "20 boxes of 20 would be hard", "look", id="tiny boxes"
        ),
        pytest.param({"train": many("a", 20, "x", size=(1600, 1600))}, "", "ready", id="just not tiny"),
        pytest.param(
            {"train": [*many("a", 20, "x"), stated("n")]}, "1 image without any label", "look", id="unlabelled"
        ),
        pytest.param(
            {"train": [*many("a", 20, "x"), stated("n", ["x"])]}, "In 1 image nobody looked", "look", id="no boxes"
        ),
        pytest.param(
            {"train": many("a", 20, "x"), "test": many("b", 20, "x") + many("c", 20, "y")},
            "1 label without images to learn from",
            "look",
            id="test only",
        ),
        pytest.param(
            {"train": many("a", 20, "x") + many("c", 20, "y"), "test": many("b", 20, "x")},
            "1 label without images to test on",
            "look",
            id="train only",
        ),
        pytest.param(
            {"train": many("a", 20, "x"), "largest_groups": [["a1", "a2"], ["a3"]]}, "so alike", "ready", id="groups"
        ),
        pytest.param({"train": many("a", 20, "x")}, "Every image has boxes", "ready", id="no negatives"),
        pytest.param({"train": []}, "no usable images", "unusable", id="nothing"),
        pytest.param({"test": many("a", 20, "x")}, "no images to learn from", "unusable", id="no train split"),
        pytest.param({"train": [stated("a", boxes=())]}, "No image has a box", "unusable", id="negatives only"),
        pytest.param(
            {"train": many("a", 20, "x"), "task": "classification"}, "Only one label", "unusable", id="one class"
        ),
        pytest.param(
            {"train": many("a", 20, "x"), "findings": [finding("ERROR_EMPTY_FILE")], "listed": 100, "invalid": 1},
            "1 file or line with errors",
            "ready",
            id="few errors",
        ),
        pytest.param(
            {"train": many("a", 20, "x"), "findings": [finding("ERROR_EMPTY_FILE")], "listed": 22, "invalid": 3},
            "1 file or line with errors",
            "look",
            id="many errors",
        ),
    ],
)
def test_advice_and_verdict(tmp_path, given_inputs, title, verdict):
    facts = DataFacts(inputs_of(tmp_path, **given_inputs))
    advice = advise_on_data(facts)
    assert title in " / ".join(one.title for one in advice)
    assert judge_data(facts, advice) == verdict
    severities = [("high", "medium", "low").index(one.severity) for one in advice]
    assert severities == sorted(severities)


@pytest.mark.parametrize(
    ("train", "test", "titles"),
    [
        (["x", "y"], ["x"], ["1 label without images to test on"]),
        (["x"], ["x", "y"], ["1 label without images to learn from"]),
        (["x", "y"], ["x", "y"], []),
        (["x", "y"], [], []),
    ],
)
def test_labels_of_one_split(tmp_path, train, test, titles):
    split = [[stated(f"{label}{i}", [label]) for label in labels for i in range(20)] for labels in (train, test)]
    facts = DataFacts(inputs_of(tmp_path, *split, task="classification"))
    assert [one.title for one in advise_on_data(facts) if "split" in one.text] == titles


@pytest.mark.parametrize(("tested", "told"), [(9, True), (10, False)])
def test_few_images_to_test_on_are_told(tmp_path, tested, told):
    train, test = ([stated(f"{part}{i}", ["x"]) for i in range(n)] for part, n in (("a", 30), ("b", tested)))
    facts = DataFacts(inputs_of(tmp_path, train, test, task="classification"))
    titles = [one.title for one in advise_on_data(facts)]
    assert ("1 label with fewer than 10 images to test on" in titles) == told


@pytest.mark.parametrize(
    ("learned", "tested", "titles", "verdict"),
    [
        pytest.param(10, 10, [], "ready", id="sound"),
        pytest.param(9, 10, ["Only 9 normal images to learn from"], "look", id="few normal images"),
        pytest.param(10, 0, [], "ready", id="no anomaly yet"),
        pytest.param(0, 10, ["Only 0 normal images to learn from"], "unusable", id="nothing normal"),
    ],
)
def test_anomalies_are_not_learned_from(tmp_path, learned, tested, titles, verdict):
    normal = [stated(f"good/{number}.png", boxes=()) for number in range(learned)]
    abnormal = [stated(f"bent/{number}.png", ("anomaly",)) for number in range(tested)]
    facts = DataFacts(inputs_of(tmp_path, normal, abnormal, labels=["anomaly"], task="anomaly"))
    advice = advise_on_data(facts)
    assert [one.title for one in advice] == titles
    assert judge_data(facts, advice) == verdict


def test_sound_data_gives_no_advice(tmp_path):
    entries = [*many("a", 20, "x"), *many("b", 20, "y"), *(stated(f"n{i}", boxes=()) for i in range(5))]
    facts = DataFacts(inputs_of(tmp_path, entries[::2], entries[1::2]))
    assert advise_on_data(facts) == []
    assert "The numbers give no cause for advice." in Page(render_data_report(facts.inputs)).text


# The page


def test_shows_every_section_with_its_numbers(tmp_path):
    groups = [["0/00.png", "0/01.png", "0/02.png"], ["1/00.png"]]
    inputs = detection_inputs(
        tmp_path,
        findings=[finding(), finding("ERROR_EMPTY_FILE", "lost.png", "has no bytes")],
        largest_groups=groups,
        group_count=24,
        listed=27,
        parent_digest="cd" * 32,
        summary={
            "statistics": {"training": {"total_json_lines": 18, "error_json_line_indices": [3, 17]}},
            "errors": [],
        },
    )
    text = Page(render_data_report(inputs)).text
    for words in (
        "Usable as it is",
        "Images 26 train 17, validation 0, test 9",
        "Labels 2 boxes around objects",
        "Boxes 24 half of them cover 12.0 % of their image or less",
        "True negatives 2",
        "Groups 24 the largest holds 3 images",
        "Findings 2 1 error, 1 warning; 26 of 27 listed images can be used",
        "bent 8 0 4 12 8 0 4 12",
        "0 boxes (0.0 %) below it",
        "All images have 100 x 100 pixels.",
        "bent 12 of 12 images, 12 boxes",
        "No label, no boxes 2 of 2 images",
        "3 images 3 shown",
        "ERROR_ EMPTY_ FILE 1 The file has no content.",
        "lost.png : has no bytes",
        "cd" * 32,
        "statistics / training / error_json_line_indices 3, 17",
        "errors none",
    ):
        assert words in text
    assert "None" not in text


def test_bars_and_charts_are_drawn_and_described(tmp_path):
    page = Page(render_data_report(detection_inputs(tmp_path)))
    charts = [svg for svg in page.all("svg") if svg.get("role") == "img"]
    ids = {attrs["id"] for _, attrs in page.elements if "id" in attrs}
    assert len(charts) == 2
    assert all(set(svg["aria-labelledby"].split()) <= ids for svg in charts)
    assert all(svg.get("aria-labelledby") or svg.get("aria-hidden") for svg in page.all("svg"))
    assert len(page.all("circle")) == 24 + 1  # the verdict's sign is one
    assert {rect["class"] for rect in page.all("rect") if "class" in rect} >= {"train", "test", "all"}


def test_pictures_show_boxes_in_their_labels_colour(tmp_path):
    inputs = inputs_of(tmp_path, [painted(tmp_path, "a.png", boxes=(box("bent", 20, 40, 50, 50),))])
    picture = Page(render_data_report(inputs)).pictures[0]
    image = Image.open(io.BytesIO(base64.b64decode(picture["src"].removeprefix("data:image/jpeg;base64,"))))
    pixels = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(pixels[60, 20] - (41, 236, 143)).max() < 40
    assert np.abs(pixels[65, 45] - (90, 80, 120)).max() < 10
    assert picture["alt"] == "bent: a.png, 1 box"


def test_findings_show_pictures_of_files_that_are_no_entries(tmp_path):
    root = tmp_path / "set"
    inputs = detection_inputs(root)
    outside = painted(tmp_path, "outside.png").source_ref
    for number in range(9):
        painted(root, f"copies/{number}.png")
    (root / "text.png").write_bytes(b"no image")
    (root / "folder.png").mkdir()
    refs = [
        *("0/00.png", "text.png", "folder.png", "gone.png", f"../{outside}", str(tmp_path / outside), "a\0b"),
        "train.manifest:7",
    ]
    page = Page(
        render_data_report(
            replace(
                inputs,
                findings=[
                    *(finding("WARNING_ONE", ref) for ref in refs),
                    *(finding("WARNING_TWO", f"copies/{number}.png") for number in range(9)),
                ],
            )
        )
    )
    shown = [image["alt"] for image in page.pictures]
    assert [alt for alt in shown if alt.startswith("copies/")] == [f"copies/{number}.png" for number in range(6)]
    assert not [alt for alt in shown if "text" in alt or "folder" in alt or "outside" in alt]
    assert shown.count("bent: 0/00.png, 1 box") == 2
    assert "0/00.png" not in shown


def test_reference_of_two_sources_is_shown_for_neither(tmp_path):
    inputs = inputs_of(tmp_path, [painted(tmp_path, "a.png", ["x"])], [stated("a.png", ["x"])], task="classification")
    inputs = replace(inputs, roots={**inputs.roots, "test": tmp_path / "other"}, largest_groups=[["a.png", "a.png"]])
    page = Page(render_data_report(inputs))
    assert "2 images 0 shown" in page.text


def test_refers_to_nothing_outside_itself(tmp_path):
    text = render_data_report(detection_inputs(tmp_path, findings=[finding()]))
    page = Page(text)
    assert re.findall(r"https?://|//[a-z]", re.sub(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", "", text)) == []
    targets = [v for _, attrs in page.elements for k, v in attrs.items() if k in ("src", "href") and v]
    assert targets
    assert all(target.startswith(("#", "data:")) for target in targets)
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {target[1:] for target in targets if target.startswith("#")} <= set(ids)


def test_policy_allows_the_page_own_script_only(tmp_path):
    text = render_data_report(detection_inputs(tmp_path))
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(m["content"] for m in Page(text).all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


@pytest.mark.parametrize("hostile", [SCRIPT, QUOTES, "{{ 7 * 7 }}", "日本\u202e"])
def test_escapes_what_data_holds(tmp_path, hostile):
    name = re.sub("[/\0]", "_", hostile)
    inputs = inputs_of(
        tmp_path,
        [
            painted(tmp_path, f"{name}.png", boxes=(box(hostile, 5, 5, 20, 20),)),
            stated(f"{hostile}-gone.png", [hostile]),
        ],
        dataset_name=hostile,
        layout=hostile,
        findings=[finding(hostile, hostile, hostile), finding("WARNING_X", f"{name}.png", hostile)],
        largest_groups=[[f"{name}.png", hostile]],
        provenance={hostile: hostile},
        summary={hostile: [hostile], "nested": {hostile: hostile}},
    )
    page = Page(render_data_report(inputs))
    assert len(page.all("script")) == 1
    assert page.all("b") == []
    assert not [key for _, attrs in page.elements for key in attrs if key.startswith("on")]
    assert hostile in page.text
    assert any(image["alt"].startswith(f"{hostile}: {name}.png") for image in page.pictures)


def test_halves_of_characters_do_not_lose_the_page(tmp_path):
    half = "\ud800"
    entry = painted(tmp_path, "a.png", boxes=(box(f"x{half}", 5, 5, 20, 20),))
    text = render_data_report(inputs_of(tmp_path, [entry], findings=[finding("WARNING_X", "b.png", "fine")]))
    assert "x?" in Page(text).text
    text.encode("utf-8")


def test_equal_inputs_give_equal_bytes(tmp_path):
    inputs = detection_inputs(tmp_path, findings=[finding("WARNING_B"), finding("WARNING_A")])
    shuffled = replace(inputs, findings=inputs.findings[::-1])
    assert render_data_report(inputs) == render_data_report(inputs) == render_data_report(shuffled)


def test_classification_without_boxes(tmp_path):
    entries = [painted(tmp_path, f"{label}/{i}.png", [label], shade=i) for label in ("bent", "good") for i in range(12)]
    page = Page(render_data_report(inputs_of(tmp_path, entries[::2], entries[1::2], task="classification")))
    assert "Boxes none the labels are of whole images" in page.text
    assert "True negatives none" in page.text
    assert "#boxes" not in [link["href"] for link in page.all("a")]
    assert page.all("circle") == page.all("circle")[:1]
    assert "Nothing was found wrong with the data." in page.text
    assert "Every image stands for itself." in page.text


def test_empty_dataset(tmp_path):
    page = Page(render_data_report(inputs_of(tmp_path)))
    for words in ("Not usable as it is", "There are no labels.", "There are no images.", "no usable images"):
        assert words in page.text
    assert page.pictures == []


def test_one_label_and_one_image(tmp_path):
    page = Page(render_data_report(inputs_of(tmp_path, [painted(tmp_path, "a.png", ["bent"])], labels=["bent", "cut"])))
    assert "The image has 100 x 100 pixels." in page.text
    assert "No image carries this label." in page.text


def test_missing_and_changed_images_leave_gaps(tmp_path):
    inputs = detection_inputs(tmp_path)
    (tmp_path / "0/00.png").unlink()
    (tmp_path / "0/01.png").write_bytes(b"other bytes")
    page = Page(render_data_report(inputs))
    assert page.text.count("The file can no longer be read") == 2
    assert len(page.pictures) == 24


def test_many_labels_and_images_stay_small(tmp_path):
    entries = [
        painted(tmp_path, f"{i:04d}.png", boxes=(box(f"{i % 250:03d}", 9, 9, 30, 30),), shade=i % 256)
        for i in range(500)
    ]
    text = render_data_report(inputs_of(tmp_path, entries))
    assert len(Page(text).pictures) == 250
    assert "all are in the table" in text
    assert len(text) < 2_000_000


def test_a_hundred_thousand_images_take_seconds(tmp_path):
    entries = [stated(str(i), boxes=(box("bent", i % 50), box("cut", 3, i % 60))) for i in range(100_000)]
    inputs = inputs_of(tmp_path, entries[: len(entries) // 2], entries[len(entries) // 2 :])
    start = time.perf_counter()
    text = render_data_report(inputs)
    assert time.perf_counter() - start < 60
    assert text.count("<circle") == MAX_POINTS + 1
    assert len(text) < 1_000_000


def test_examples_are_evenly_chosen_from_all_splits(tmp_path):
    entries = [stated(f"{i:02d}", ["bent"]) for i in range(40)]
    masked = replace(stated("nothing is said"), mask_ref="m.png")
    inputs = inputs_of(tmp_path, [*entries[19::-1], masked], entries[20:], labels=["bent"])
    (sheet,) = choose_examples(inputs.entries, inputs.roots, inputs.labels, 4)
    assert [(e.place.entry.source_ref, e.split) for e in sheet.examples] == [
        ("00", "train"),
        ("13", "train"),
        ("26", "test"),
        ("39", "test"),
    ]
    assert (sheet.image_count, sheet.box_count) == (40, 0)


def test_every_code_has_a_meaning():
    rooms = ("annotations", "dataset", "export", "ground_truth", "ingest", "manifest", "vision")
    sources = (path for room in rooms for path in (ROOT / "tasks" / room).glob("*.py"))
    codes = {code for path in sources for code in re.findall(r'"((?:ERROR|WARNING)_[A-Z_]+)"', path.read_text())}
    assert len(codes) > 60
    assert codes - set(ANNOTATION_MEANINGS) == set()
