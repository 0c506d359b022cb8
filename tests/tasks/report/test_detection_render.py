"""A detector's report: complete, self-contained, errors first, safe against what names hold."""

import base64
import hashlib
import io
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from tasks.evaluate.detection_figures import draw_detection_figures
from tasks.evaluate.figures import save_figures
from tasks.report.detection_facts import judge_image
from tasks.report.detection_view import MAX_LARGE_PAIRS, MAX_PAIRS, MAX_ROWS
from tasks.report.pairs import draw_pair
from tasks.report.pictures import Place
from tasks.report.render import VIEWS, render_report
from tasks.vision.overlays import label_colours
from tests.tasks.report.detection_run import (
    ALARM,
    CASES,
    EMPTY,
    HISTORY,
    MISSED,
    MISTAKEN,
    RIGHT,
    UNSURE,
    Case,
    entry_of,
    given,
    painted,
    painted_run,
    predicted,
    run_of,
    true,
)
from tests.tasks.report.page_reader import Page

SCRIPT_LABEL = "<script>alert(1)</script>"
QUOTE_LABEL = "\"'& <b>bold</b>"


def with_figures(inputs):
    truths = [one.true_boxes for one in inputs.predictions]
    boxes = [one.boxes for one in inputs.predictions]
    drawn = draw_detection_figures(truths, boxes, [(96, 96)] * len(truths), inputs.labels, inputs.metrics)
    save_figures(drawn, inputs.figures_path)
    return inputs


def shown_refs(page):
    """References of the pairs, in the order shown."""
    alts = (image["alt"] for image in page.pictures)
    return [alt.split(", given boxes:")[0] for alt in alts if ", given boxes:" in alt]


def test_shows_every_section_with_its_figures(tmp_path):
    inputs = with_figures(painted_run(tmp_path, crossed=True))
    page = Page(render_report(inputs))
    metrics = inputs.metrics
    for words in (
        "Metrics per label",
        "Training",
        "Test images",
        "IoU) of 0.5 or more; they are matched greedily, the surest first",
        "0.823 ± 0.020",
        "2 of 4 2 missed, 2 false alarms",
        "55.2 ms",
        "bent/void.png : the file has no bytes",
        "kept: epoch 6",
        "The model is that of epoch 6.",
        "Images without boxes, which teach what to leave alone: train 1, validation 0, test 2.",
        *(f"{value:.3f}" for value in (metrics.map, metrics.map_50, metrics.map_75, metrics.mar_100)),
        *(f"Gate: {reason}" for reason in inputs.gate.reasons),
    ):
        assert words in page.text
    assert len([svg for svg in page.all("svg") if svg.get("class") == "plot"]) == 5
    assert len([svg for svg in page.all("svg") if svg.get("class") == "chart curves"]) == 2


@pytest.mark.parametrize(
    ("crossed", "words"),
    [(True, "not passed; the cross-validated figure, for a label"), (False, "not passed; on the test images")],
)
def test_says_which_map_50_the_gate_judged(tmp_path, crossed, words):
    inputs = painted_run(tmp_path, crossed=crossed)
    text = render_report(inputs)
    assert f"mAP50 judged by the gate {inputs.gate.map_50:.3f} not passed; " in Page(text).text
    assert words in Page(text).text
    marked = re.findall(r'class="number[^"]* judged">([\d.]+)<', text)
    assert marked[-1] == f"{inputs.gate.map_50:.3f}"
    assert len(marked) == (3 if crossed else 1)


def test_the_table_holds_the_figures_of_each_label(tmp_path):
    inputs = painted_run(tmp_path)
    page = Page(render_report(inputs))
    for label, figures in inputs.metrics.per_label.items():
        values = (figures.precision, figures.recall, figures.f1, figures.threshold)
        averages = (figures.average_precision_50, figures.average_precision)
        row = " ".join(f"{value:.3f}" for value in (*values, *averages))
        assert f"{label} {row} {figures.support} too few boxes" in page.text


def test_errors_come_first_then_the_least_sure(tmp_path):
    two = Case("two.png", (true(), true("cut", 60, 60, 20, 20)), ())
    sure = replace(ALARM, ref="sure.png", boxes=(given(0.95),))
    page = Page(render_report(painted_run(tmp_path, (RIGHT, EMPTY, MISSED, UNSURE, ALARM, sure, MISTAKEN, two))))
    assert shown_refs(page) == [
        "mistaken.png",
        "two.png",
        "sure.png",
        "alarm.png",
        "missed.png",
        "unsure.png",
        "right.png",
        "empty.png",
    ]
    assert page.text.index("With errors") < page.text.index("mistaken.png") < page.text.index("Without errors")


def test_every_box_is_told_in_words(tmp_path):
    page = Page(render_report(painted_run(tmp_path, (MISTAKEN, UNSURE, EMPTY))))
    tested = page.text[page.text.index("With errors") :]
    assert "mistaken.png Missed cut False alarm bent where cut is 0.80" in tested
    assert "unsure.png Found bent 0.50" in tested
    assert "empty.png No boxes, and none given." in tested
    assert "1 of 3 images has a missed box or a false alarm" in tested


def test_limits_the_boxes_told(tmp_path):
    crowd = Case("crowd.png", tuple(true(left=place, width=5) for place in range(0, 90, 8)))
    page = Page(render_report(painted_run(tmp_path, (crowd,))))
    assert page.text.count("Missed bent") == MAX_ROWS
    assert f"{len(crowd.true_boxes) - MAX_ROWS} more are not listed." in page.text


def test_limits_pairs_and_lists_the_rest(tmp_path):
    cases = [replace(case, ref=f"{n:03d}-{case.ref}") for n in range(MAX_PAIRS // 2 + 2) for case in (RIGHT, MISSED)]
    page = Page(render_report(painted_run(tmp_path, cases)))
    assert len(page.all("article")) == MAX_PAIRS
    assert "4 more images" in page.text
    assert all(case.ref in page.text for case in cases)
    assert len([ref for ref in shown_refs(page) if "missed" in ref]) == MAX_PAIRS // 2 + 2


def photographs(root, count, side):
    """A run of errors over one image that is about as hard to compress as a photograph."""
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    (root / "test").mkdir()
    Image.fromarray(cv2.GaussianBlur(noise, (0, 0), side / 256)).save(root / "test" / "00.jpg")
    digest = hashlib.sha256((root / "test" / "00.jpg").read_bytes()).hexdigest()
    cases = [Case(f"{number:02d}.jpg", (true(),), (given(0.3),), side) for number in range(count)]
    for case in cases[1:]:
        (root / "test" / case.ref).hardlink_to(root / "test" / "00.jpg")
    entries = {"train": [], "test": [replace(entry_of(case), sha256=digest) for case in cases]}
    return run_of(cases, entries=entries, roots=dict.fromkeys(entries, root / "test"), figures_path=root / "figures")


@pytest.mark.parametrize(("count", "side"), [(MAX_LARGE_PAIRS, 400), (MAX_LARGE_PAIRS + 1, 288)])
def test_many_pairs_are_smaller(tmp_path, count, side):
    page = Page(render_report(photographs(tmp_path, count, 420)))
    widths = {image["width"] for image in page.pictures if "given boxes" in image["alt"]}
    assert widths == {str(side)}


def test_fifty_large_photographs_make_a_page_that_can_be_sent(tmp_path):
    text = render_report(photographs(tmp_path, 50, 1024))
    assert len(Page(text).all("article")) == 50
    assert 1_000_000 < len(text) < 5_000_000


def test_refers_to_nothing_outside_itself(tmp_path):
    text = render_report(with_figures(painted_run(tmp_path, crossed=True)))
    assert re.findall(r"https?://|//[a-z]", re.sub(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", "", text)) == []
    page = Page(text)
    assert page.all("link") == []
    targets = [v for _, attrs in page.elements for k, v in attrs.items() if k in ("src", "href", "xlink:href") and v]
    assert all(target.startswith(("#", "data:")) for target in targets)
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {target[1:] for target in targets if target[0] == "#"} <= set(ids)
    named = {name for _, attrs in page.elements for name in (attrs.get("aria-labelledby") or "").split()}
    assert named <= set(ids)


@pytest.mark.parametrize("label", [SCRIPT_LABEL, QUOTE_LABEL, "{{ 7 * 7 }}", "x" * 255])
def test_escapes_what_labels_hold(tmp_path, label):
    cases = [
        Case("one.png", (true(label),), (given(0.8, "bent"),)),
        Case("two.png", (true("bent"),), (given(0.8, label), given(0.2, label))),
    ]
    page = Page(render_report(painted_run(tmp_path, cases, cases, labels=("bent", label))))
    assert len(page.all("script")) == 1
    assert page.all("b") == []
    shown = re.sub(r"\s+", " ", label)
    assert f"Missed {shown}" in page.text
    assert f"False alarm {shown} where bent is 0.80" in page.text
    assert any((image["alt"] or "").endswith(f"true boxes: {label}") for image in page.pictures)


def test_escapes_what_files_are_called(tmp_path):
    inputs = painted_run(tmp_path)
    nasty = [one.model_copy(update={"source_ref": f"{one.source_ref}{SCRIPT_LABEL}"}) for one in inputs.predictions]
    page = Page(render_report(replace(inputs, predictions=nasty, chosen={"best_epoch": SCRIPT_LABEL})))
    assert len(page.all("script")) == 1
    # Long names may break after a slash.
    assert SCRIPT_LABEL in page.text.replace("</ script>", "</script>")


def test_equal_inputs_give_equal_bytes(tmp_path):
    inputs = painted_run(tmp_path, crossed=True)
    assert render_report(inputs) == render_report(inputs)


def test_missing_images_and_figures_leave_gaps(tmp_path):
    inputs = painted_run(tmp_path)
    (tmp_path / "test" / MISSED.ref).unlink()
    (tmp_path / "test" / ALARM.ref).write_bytes(b"other bytes")
    page = Page(render_report(replace(inputs, entries=inputs.entries | {"train": []})))
    assert len(page.all("article")) == len(CASES)
    assert len(shown_refs(page)) == len(CASES) - 2
    assert page.text.count("The file can no longer be read") >= 2
    assert page.text.count("This figure was not made.") == 5


def test_a_run_with_nothing_to_show(tmp_path):
    page = Page(render_report(painted_run(tmp_path, (), (), labels=("bent",), history=(), chosen={})))
    assert "There are no test images." in page.text
    assert "mAP50 judged by the gate none" in page.text
    assert not [attrs for _, attrs in page.elements if attrs.get("id") == "training"]
    assert page.all("article") == []


def test_without_validation_there_is_a_loss_only(tmp_path):
    history = [{key: value for key, value in row.items() if key != "validation_map_50"} for row in HISTORY]
    page = Page(render_report(painted_run(tmp_path, history=history)))
    assert len([svg for svg in page.all("svg") if svg.get("class") == "chart curves"]) == 1
    assert "there is no mAP50 to follow" in page.text


def test_contact_sheets_show_boxes_and_images_without(tmp_path):
    page = Page(render_report(painted_run(tmp_path)))
    images = page.text[page.text.index("Number of boxes by label and split") :]
    assert "No boxes 3 of 3 images" in images
    sheet = next(image for image in page.pictures if image["alt"] == "cut: mistaken.png")
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet["src"].split(",")[1]))).convert("RGB"))
    colour = np.array(label_colours(["bent", "cut"])["cut"])
    assert (np.abs(pixels.astype(int) - colour).max(axis=2) < 40).sum() > 60


def drawn(tmp_path, case):
    place = Place(tmp_path, painted(tmp_path, case, 1))
    colours = {"bent": (0, 255, 0), "cut": (255, 0, 0)}
    sides = draw_pair(place, judge_image(predicted(case)), 96, colours)
    return sides, {name: [(side == colour).all(axis=2) for side in sides] for name, colour in colours.items()}


def share_along_the_top(mask, left=10, width=30, top=12):
    """How much of a box's upper line is drawn."""
    return mask[top, left : left + width].mean()


def test_lines_tell_right_false_and_missed_apart(tmp_path):
    _, right = drawn(tmp_path, RIGHT)
    assert [share_along_the_top(mask) for mask in right["bent"]] == [1.0, 1.0]
    _, missed = drawn(tmp_path, MISSED)
    assert share_along_the_top(missed["bent"][0]) == 1.0
    assert 0.3 < share_along_the_top(missed["bent"][1]) < 0.7
    _, alarm = drawn(tmp_path, ALARM)
    assert not alarm["bent"][0].any()
    assert 0.3 < share_along_the_top(alarm["bent"][1]) < 0.8
    dots, dashes = (np.abs(np.diff(m["bent"][1][12, 10:40].astype(int))).sum() for m in (missed, alarm))
    assert dots > dashes >= 2


def test_a_box_that_is_not_given_is_not_drawn(tmp_path):
    sides, _ = drawn(tmp_path, Case("low.png", (), (given(0.3),)))
    assert np.array_equal(*sides)


def test_the_summary_tells_figures_and_shows_errors(tmp_path):
    view, inputs = VIEWS["detection"], painted_run(tmp_path, crossed=True)
    lines = view.headline(inputs)
    assert f"mAP50 {inputs.metrics.map_50:.3f}" in lines[0]
    assert lines[1:] == ["2 of 4 true boxes found, 2 false alarms", "cross-validated mAP50 0.823 ± 0.020"]
    (tmp_path / "test" / ALARM.ref).unlink()
    pictures = list(view.pictures(inputs))
    assert [title for title, _ in pictures] == ["1 missed, 1 false: mistaken.png", "1 missed, 0 false: missed.png"]
    image = Image.open(io.BytesIO(base64.b64decode(pictures[0][1].split(",")[1])))
    assert image.size == (96 + 12 + 96, 96)
