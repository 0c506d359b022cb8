import warnings
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tasks.evaluate.figures import draw_figures, save_figures
from tasks.metrics.classification import ClassificationMetrics, CrossValidated, measure, measure_labels

NAMES = ("confusion_matrix", "per_label", "precision_recall", "roc", "calibration")
Case = tuple[NDArray[np.bool_], NDArray[np.float64], tuple[str, ...], ClassificationMetrics]


def _case(labels: tuple[str, ...], truth: list[int], *, estimated: bool = True, seed: int = 0) -> Case:
    rng = np.random.default_rng(seed)
    raw = rng.random((len(truth), len(labels))) + 0.5 * np.eye(len(labels))[truth]
    confidences = raw / raw.sum(axis=1, keepdims=True)
    truths = np.eye(len(labels), dtype=bool)[truth]
    thresholds = dict.fromkeys(labels, 0.4)
    estimate = None
    if estimated:
        per_label = measure_labels(truths, confidences, labels, thresholds)
        estimate = CrossValidated(
            macro_f1=0.5,
            macro_f1_std=0.1,
            accuracy=0.5,
            folds=5,
            images=len(truth),
            per_label=per_label,
            calibration_error=0.25,
            calibration=((0.4, 0.2, 3), (0.6, 0.9, 1)),
        )
    return truths, confidences, labels, measure(truths, confidences, labels, thresholds, estimate)


MANY = tuple(f"label {number}" for number in range(60))
CASES = {
    "usual": (("a", "b", "c"), [0, 0, 1, 1, 2, 2, 0, 1], True),
    "label without test images": (("a", "b", "c"), [0, 0, 1, 1], True),
    "one image": (("a", "b"), [1], True),
    "one label only in the test": (("a", "b"), [0] * 5, True),
    "no cross-validation": (("a", "b"), [0, 1, 0, 1], False),
    "60 labels": (MANY, list(range(60)), True),
    "odd names": (("ü/b:c", "x@#$", "<&>\"'", "_hidden"), [0, 1, 2, 3, 0, 1], True),
    "formulas": (("$x_1$", "$\\frac$", "a$b$c^", "\\"), [0, 1, 2, 3, 0, 1], True),
    "long name": (("x" * 256, "y"), [0, 1, 0, 1], True),
}


@pytest.mark.parametrize(("labels", "truth", "estimated"), CASES.values(), ids=CASES.keys())
def test_figures_are_drawn_and_saved(
    labels: tuple[str, ...], truth: list[int], estimated: bool, tmp_path: Path
) -> None:
    figures = draw_figures(*_case(labels, truth, estimated=estimated))
    assert set(figures) == set(NAMES)
    save_figures(figures, tmp_path / "made" / "figures")
    assert {path.name for path in (tmp_path / "made" / "figures").iterdir()} == {
        f"{name}.{ending}" for name in NAMES for ending in ("png", "svg")
    }
    for name in NAMES:
        path = tmp_path / "made" / "figures" / name
        with Image.open(path.with_suffix(".png")) as image:
            assert min(image.size) > 200
            assert max(image.size) < 12_000
        assert ElementTree.parse(path.with_suffix(".svg")).getroot().tag.endswith("svg")


def test_equal_figures_give_equal_bytes(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        save_figures(draw_figures(*_case(("a", "b", "c"), [0, 0, 1, 1, 2, 2])), tmp_path / folder)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes(), path.name


def test_figures_leave_matplotlibs_settings_alone(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    save_figures(draw_figures(*_case(("a", "b"), [0, 1, 1])), tmp_path)
    assert dict(mpl.rcParams) == before


def test_confusion_matrix_shows_every_count(tmp_path: Path) -> None:
    truths, confidences, labels, metrics = _case(("a", "b"), [0] * 17 + [1] * 23)
    axes = draw_figures(truths, confidences, labels, metrics)["confusion_matrix"].axes[0]
    counts = [int(text.get_text()) for text in axes.texts]
    assert sum(counts) == 40
    assert len(counts) == 4
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["a", "b"]


@pytest.mark.parametrize("estimated", [True, False], ids=["cross-validated", "test images only"])
def test_calibration_shows_both_sets_of_images(estimated: bool) -> None:
    truths, confidences, labels, metrics = _case(("a", "b"), [0] * 17 + [1] * 23, estimated=estimated)
    axes = draw_figures(truths, confidences, labels, metrics)["calibration"].axes[0]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == [
        *(["cross-validated images (error 0.250)"] if estimated else []),
        f"test images (error {metrics.calibration_error:.3f})",
    ]
    counts = [int(text.get_text()) for text in axes.texts]
    assert sum(counts) == 40 + 4 * estimated
    if estimated:
        crossed = next(line for line in axes.lines if line.get_label().startswith("cross"))
        np.testing.assert_allclose(crossed.get_xydata(), [[0.4, 0.2], [0.6, 0.9]])


@pytest.mark.parametrize("labels", [("_hidden", "plain"), ("$a$", "b")], ids=["underscore", "dollar"])
def test_every_label_stands_in_the_legend(labels: tuple[str, ...]) -> None:
    figures = draw_figures(*_case(labels, [0, 0, 1, 1]))
    for name in ("roc", "precision_recall"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            legend = figures[name].axes[0].get_legend()
        shown = [text.get_text() for text in legend.get_texts()]
        assert len(shown) == len(labels)
        assert all(any(label in text for text in shown) for label in labels)
