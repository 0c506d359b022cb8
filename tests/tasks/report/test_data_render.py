"""The data report's page is complete, safe, self-contained and the same every time."""

import base64
import hashlib
import io
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.report.data_charts import MAX_POINTS
from tasks.report.data_render import render_data_report
from tasks.report.data_wording import ANNOTATION_MEANINGS
from tasks.report.examples import choose_examples
from tests.makers import png_bytes
from tests.tasks.report.page_reader import Page
from tests.tasks.report.stated_data import box, finding, inputs_of, stated

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = "<script>alert(1)</script>"
QUOTES = "\"'& <b>bold</b>"


def painted(root, ref, labels=(), boxes=None, size=(100, 100), shade=90):
    """An entry with its file."""
    data = png_bytes(np.full((size[1], size[0], 3), (shade, 80, 120), np.uint8))
    path = root / ref
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return replace(stated(ref, labels, boxes, size), sha256=hashlib.sha256(data).hexdigest())


def detection_inputs(root, labels=("bent", "cut"), per_label=12, **changes):
    """Painted images with a box each, and two true negatives; every third is for testing."""
    entries = [
        painted(root, f"{place}/{number:02d}.png", boxes=(box(label, 10 + number, 20, 40, 30),), shade=7 * number)
        for place, label in enumerate(labels)
        for number in range(per_label)
    ]
    entries += [painted(root, f"none/{number}.png", boxes=(), shade=200 + number) for number in range(2)]
    return inputs_of(root, [e for i, e in enumerate(entries) if i % 3], entries[::3], **changes)


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
