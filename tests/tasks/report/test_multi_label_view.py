"""The report on images with any number of labels: what was missed, what was false, and what to do about it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.bundle.format import file_sha256
from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.evaluate.gate import judge
from tasks.evaluate.multi_label_figures import draw_multi_label_figures
from tasks.evaluate.records import ImagePrediction
from tasks.evaluate.shared_figures import save_figures
from tasks.inference_test.records import InferenceOutcome
from tasks.metrics.classification import truths_of
from tasks.metrics.multi_label import MultiLabelMetrics, measure_multi_label
from tasks.report.facts import Advice
from tasks.report.inputs import OutOfFoldPrediction, ReportInputs
from tasks.report.multi_label_advice import advise_on_labels, chance_of_hits
from tasks.report.render import render_report
from tests.makers import paint_marks, save
from tests.sources import MARKS
from tests.tasks.report.page_reader import Page

LABELS = tuple(sorted(MARKS))
Answers = list[tuple[tuple[str, ...], Mapping[str, float]]]
"""Truth and confidences of images; labels not named get 0.1."""


def inputs_of(root: Path, tested: Answers, crossed: Answers | None = None, *, figures: bool = False) -> ReportInputs:
    """A run that gave these answers at thresholds of 0.5."""
    rows = {"test": tested, "train": crossed or []}
    full = {split: [{label: row.get(label, 0.1) for label in LABELS} for _, row in rows[split]] for split in rows}
    entries = {split: [entry_of(root, split, i, truth) for i, (truth, _) in enumerate(rows[split])] for split in rows}
    metrics = measured(tested, full["test"])
    if figures:
        truths, confidences = truths_of([truth for truth, _ in tested], LABELS), table(full["test"])
        save_figures(draw_multi_label_figures(truths, confidences, LABELS, metrics), root / "figures")
    return ReportInputs(
        task="classification",
        model_name="marks-classification",
        model_version="3",
        status="staged",
        labels=LABELS,
        metrics=metrics,
        gate=judge(metrics, 0.0, 0.0),
        inference=InferenceOutcome(passed=True, accuracy=metrics.exact_match, images=len(tested)),
        predictions=[
            ImagePrediction(source_ref=e.source_ref, sha256="", truth=e.truth.labels, confidences=c, given=())
            for e, c in zip(entries["test"], full["test"], strict=True)
        ],
        out_of_fold=[
            OutOfFoldPrediction(e.source_ref, e.truth.labels, c)
            for e, c in zip(entries["train"], full["train"], strict=True)
        ],
        entries={**entries, "validation": []},
        roots=dict.fromkeys(("train", "validation", "test"), root),
        findings=[],
        figures_path=root / "figures",
        provenance={"Dataset": "marks"},
        input_size=64,
    )


def entry_of(root: Path, split: str, number: int, truth: tuple[str, ...]) -> ImageEntry:
    path = root / split / f"{number}.png"
    save(path, paint_marks(truth, 48, (number, len(split))))
    return ImageEntry(f"{split}/{number}.png", file_sha256(path), 48, 48, Truth(truth))


def table(rows: list[dict[str, float]]) -> np.ndarray:
    return np.array([[row[label] for label in LABELS] for row in rows])


def measured(answers: Answers, rows: list[dict[str, float]]) -> MultiLabelMetrics:
    truths = truths_of([truth for truth, _ in answers], LABELS)
    return measure_multi_label(truths, table(rows), LABELS, dict.fromkeys(LABELS, 0.5))


GOOD: Answers = [(("cross", "ring"), {"cross": 0.9, "ring": 0.8}), (("round",), {"round": 0.7}), ((), {})]
WRONG: Answers = [(("cross", "ring"), {"cross": 0.9, "round": 0.6}), ((), {"ring": 0.55})]


def test_shows_which_labels_were_missed_and_which_are_false(tmp_path: Path) -> None:
    page = Page(render_report(inputs_of(tmp_path, GOOD + WRONG, WRONG, figures=True)))
    assert "2 of 5 images are answered wrongly: a label missed, or a false one given." in page.text
    assert page.text.count("True cross, ring Missed ring False round cross (found) 0.90 round (false) 0.60") == 2
    assert page.text.count("True none False ring ring (false) 0.55") == 2
    assert "ring (missed) 0.10" in page.text
    # The image with two mistakes before the one with one.
    alts = [image["alt"] for image in page.all("img") if ", given" in image["alt"]]
    assert alts[:2] == [
        "test/3.png: true cross, ring, given cross, round",
        "test/4.png: true none, given ring",
    ]
    for title in ("Found, missed, false", "Labels together", "Answers together", "Calibration"):
        assert title in page.text
    assert "This figure was not made" not in page.text


def test_tells_figures_and_images_without_labels(tmp_path: Path) -> None:
    inputs = inputs_of(tmp_path, GOOD + WRONG)
    page = Page(render_report(inputs))
    metrics = inputs.metrics
    words = f"All labels right, test {metrics.exact_match:.3f}"
    assert words in page.text
    assert f"mAP, test {metrics.mean_average_precision:.3f}" in page.text
    assert f"precision {metrics.micro_precision:.3f}, recall {metrics.micro_recall:.3f}" in page.text
    assert "train 0, validation 0, test 2" in page.text
    assert "No label 2 of 2 images" in page.text


def test_nothing_wrong_is_said(tmp_path: Path) -> None:
    page = Page(render_report(inputs_of(tmp_path, GOOD)))
    assert "None of 3 images is answered wrongly" in page.text


def test_labels_are_escaped(tmp_path: Path) -> None:
    inputs = inputs_of(tmp_path, GOOD)
    script = "<script>alert(1)</script>"
    renamed = inputs.predictions[0].model_copy(update={"truth": (script,)})
    page = render_report(replace(inputs, predictions=[renamed]))
    assert script not in page
    assert "&lt;script&gt;" in page


def titles(advice: list[Advice]) -> list[str]:
    return [one.title for one in advice]


def test_advice_names_images_that_may_lack_a_label(tmp_path: Path) -> None:
    sure: Answers = [(("ring",), {"ring": 0.95})] * 12
    advice = advise_on_labels(inputs_of(tmp_path, sure, [((), {"ring": 0.97})]))
    found = next(one for one in advice if one.title == "1 image may lack a label")
    assert found.images == ("train/0.png",)
    assert "train/0.png (“ring”)" in found.text
    unsure = advise_on_labels(inputs_of(tmp_path, sure, [((), {"ring": 0.97})] * 4))
    assert not [title for title in titles(unsure) if "lack a label" in title]


def test_advice_names_labels_that_are_mostly_missed(tmp_path: Path) -> None:
    missed: Answers = [(("ring",), {"ring": 0.2})] * 4 + [(("ring",), {"ring": 0.9})] * 3
    advice = advise_on_labels(inputs_of(tmp_path, missed))
    found = next(one for one in advice if one.title == "Labels that are mostly not recognised")
    assert "“ring” 3 of 7" in found.text
    assert len(found.images) == 4


def test_advice_names_labels_taken_for_signs_of_each_other(tmp_path: Path) -> None:
    beside: Answers = [(("cross",), {"cross": 0.8, "ring": 0.6})] * 5
    plain: Answers = [((), {})] * 12
    advice = advise_on_labels(inputs_of(tmp_path, beside + plain))
    found = next(one for one in advice if "wrongly given" in one.title)
    assert found.title == "“ring” is wrongly given to images of “cross”"
    assert found.text.startswith("5 of the 5 images that it is wrongly given to carry “cross”")
    by_chance = advise_on_labels(inputs_of(tmp_path, [*beside, *plain[:3]]))
    scattered = advise_on_labels(inputs_of(tmp_path, [*beside, *[((), {"ring": 0.6})] * 3, *plain]))
    assert not [title for title in titles([*by_chance, *scattered]) if "wrongly given" in title]


@pytest.mark.parametrize(
    ("hits", "trials", "share", "expected"),
    [(0, 4, 0.3, 1.0), (4, 4, 0.5, 0.0625), (1, 2, 0.5, 0.75), (2, 2, 1.0, 1.0), (2001, 4001, 0.5, 0.5)],
)
def test_chance_of_hits(hits: int, trials: int, share: float, expected: float) -> None:
    assert chance_of_hits(hits, trials, share) == pytest.approx(expected)


@pytest.mark.parametrize("tested", [GOOD, GOOD + WRONG], ids=["all right", "some wrong"])
def test_equal_inputs_give_equal_pages(tmp_path: Path, tested: Answers) -> None:
    inputs = inputs_of(tmp_path, tested, WRONG)
    assert render_report(inputs) == render_report(inputs)
