from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from PIL import Image

from tasks.evaluate.detection import detector_headline, evaluate_detector
from tasks.evaluate.detection_figures import draw_detection_figures
from tasks.evaluate.shared_figures import save_figures
from tasks.metrics.detection import CrossValidatedDetection, measure_detections
from tasks.vision.boxes import BoundingBox, DetectedBox
from tests.tasks.evaluate.box_answers import answers_of

NAMES = {"precision_recall", "per_label", "confusion_matrix", "size", "places"}


def _estimate(labels: tuple[str, ...]) -> CrossValidatedDetection:
    answers = answers_of(1, labels, images=5)
    truths, found = ([getattr(one, name) for one in answers.predictions] for name in ("true_boxes", "boxes"))
    per_label = measure_detections(truths, found, labels, answers.thresholds).per_label
    return CrossValidatedDetection(
        map=0.4, map_50=0.6, map_50_std=0.1, macro_f1=0.5, folds=5, images=40, per_label=per_label
    )


MANY = tuple(f"label {number}" for number in range(45))
CASES = {
    "usual": (("bent", "cut", "lost"), {}),
    "one label": (("bent",), {}),
    "45 labels": (MANY, {"images": 30}),
    "odd names": (("ü/b:c", "$x_1$", "<&>\"'", "_hidden", "\\"), {}),
    "long name": (("x" * 256, "y"), {}),
    "no true box": (("bent", "cut"), {"boxes": 0}),
    "nothing found": (("bent", "cut"), {"extra": 0, "images": 1, "boxes": 0}),
    "one image": (("bent", "cut"), {"images": 1}),
}


@pytest.mark.parametrize(("labels", "shape"), CASES.values(), ids=CASES.keys())
def test_figures_are_drawn_and_saved(labels: tuple[str, ...], shape: dict, tmp_path: Path) -> None:
    drawings = evaluate_detector(answers_of(0, labels, _estimate(labels), **shape)).drawings
    assert set(drawings) == NAMES
    save_figures(drawings, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.{end}" for name in NAMES for end in ("png", "svg")}
    for name in NAMES:
        with Image.open(tmp_path / f"{name}.png") as image:
            assert min(image.size) > 200
            assert max(image.size) < 12_000
        assert ElementTree.parse(tmp_path / f"{name}.svg").getroot().tag.endswith("svg")


def test_equal_answers_give_equal_bytes_and_leave_settings_alone(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    for folder in ("one", "other"):
        save_figures(evaluate_detector(answers_of(0, images=4)).drawings, tmp_path / folder)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes(), path.name
    assert dict(mpl.rcParams) == before


def test_confusion_shows_every_box_and_names_the_background() -> None:
    answers = answers_of(2, images=8)
    axes = evaluate_detector(answers).drawings["confusion_matrix"].axes[0]
    shown = [text.get_text() for text in axes.texts]
    assert (len(shown), shown[-1]) == (25, "")
    rows = [shown[place : place + 5] for place in range(0, 25, 5)]
    for row, label in zip(rows, answers.labels, strict=False):
        boxes = [box for one in answers.predictions for box in one.true_boxes if box.label == label]
        assert sum(map(int, row)) == len(boxes)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [*answers.labels, "(no true box)"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [*answers.labels, "(missed)"]


def test_curves_end_where_the_boxes_end_and_marks_stand_at_the_thresholds() -> None:
    truths = [[BoundingBox("bent", 0, 0, 10, 10), BoundingBox("bent", 50, 0, 10, 10)]]
    found = [
        [
            DetectedBox("bent", 0, 0, 10, 10, 0.9, True),
            DetectedBox("bent", 80, 80, 10, 10, 0.6, True),
            DetectedBox("bent", 50, 0, 10, 10, 0.3, False),
        ]
    ]
    metrics = measure_detections(truths, found, ("bent",), {"bent": 0.5})
    axes = draw_detection_figures(truths, found, [(100, 100)], ("bent",), metrics)["precision_recall"].axes[0]
    curve, mark = axes.get_lines()
    assert curve.get_xdata().tolist() == [0.0, 0.5, 0.5, 1.0]
    assert curve.get_ydata().tolist() == pytest.approx([1.0, 1.0, 0.5, 2 / 3])
    assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([0.5], [0.5])


def test_places_are_centres_relative_to_the_image() -> None:
    truths = [[BoundingBox("bent", 0, 0, 20, 10), BoundingBox("bent", 100, 60, 20, 20)]]
    found = [
        [DetectedBox("bent", 0, 0, 20, 10, 0.9, True), DetectedBox("bent", 190, 0, 10, 10, 0.8, True)],
    ]
    metrics = measure_detections(truths, found, ("bent",), {"bent": 0.5})
    axes = draw_detection_figures(truths, found, [(200, 100)], ("bent",), metrics)["places"].axes[0]
    assert [marks.get_offsets().tolist() for marks in axes.collections] == [
        [[0.05, 0.05]],
        [[0.55, 0.7]],
        [[0.975, 0.05]],
    ]
    assert axes.get_ylim() == (1.0, 0.0)
    assert [marks.get_label().split("(")[1] for marks in axes.collections] == ["1)", "1)", "1)"]


def test_sizes_name_their_boxes() -> None:
    truths = [
        [BoundingBox("bent", 0, 0, 20, 10), BoundingBox("bent", 100, 60, 50, 50), BoundingBox("bent", 0, 60, 50, 50)]
    ]
    found = [[DetectedBox("bent", 0, 0, 20, 10, 0.9, True)]]
    metrics = measure_detections(truths, found, ("bent",), {"bent": 0.5})
    axes = draw_detection_figures(truths, found, [(200, 200)], ("bent",), metrics)["size"].axes[0]
    ticks = [tick.get_text().split("\n")[1] for tick in axes.get_xticklabels()]
    assert ticks == ["1 box", "2 boxes", "0 boxes"]
    assert [text.get_text() for text in axes.texts] == ["1.000", "0.000", "no true box"]
    assert detector_headline(metrics).startswith("mAP50 0.337, mAP 0.337, macro-F1 0.500")


def test_every_label_stands_in_the_legend() -> None:
    labels = ("_hidden", "$a$", "plain")
    legends = evaluate_detector(answers_of(0, labels)).drawings["precision_recall"].legends
    (shown,) = [[text.get_text() for text in legend.get_texts()] for legend in legends]
    assert len(shown) == 3
    assert all(any(label in text for text in shown) for label in labels)
