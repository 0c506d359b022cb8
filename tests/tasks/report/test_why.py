"""The part of a page that says what answers rest on: bars and heat maps, and what they say in words."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from tasks.compare.ranking import rank
from tasks.compare.records import Leaderboard
from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.explain.records import ExplainedImage
from tasks.metrics.importance import Importances, KindImportance
from tasks.report.leaderboard_render import render_leaderboard
from tasks.report.pictures import Place
from tasks.report.render import render_report
from tasks.report.why import SIDE, draw_look, in_words, make_looks, worth_chart
from tasks.vision.boxes import BoundingBox
from tasks.vision.heat_maps import HeatMap
from tests.makers import png_bytes
from tests.tasks.compare.measured import standing
from tests.tasks.report.page_reader import Page
from tests.tasks.report.test_render import make_inputs

HOT = np.zeros((8, 8), np.float32)
HOT[0, :2] = 0.4
KINDS = (
    KindImportance(kind="stages (16 px)", drop=0.3, drop_std=0.1, folds=3),
    KindImportance(kind="<lbp>", drop=-0.1, drop_std=0.0, folds=1),
)


def importances(*kinds):
    return Importances(folds=3, shuffles=10, kinds=kinds)


def with_why(inputs, heat=HOT, kinds=KINDS):
    estimate = inputs.metrics.cross_validated.model_copy(update={"importances": importances(*kinds)})
    explained = [
        ExplainedImage(answer=one, label=one.top_label, heat_map=HeatMap.of(heat)) for one in inputs.predictions
    ]
    metrics = inputs.metrics.model_copy(update={"cross_validated": estimate})
    return replace(inputs, metrics=metrics, explained=explained)


def test_bars_share_a_line_whose_zero_is_its_own_place():
    chart = worth_chart(importances(*KINDS))
    stages, lbp = chart.rows
    # The line reaches from -0.1 to 0.4.
    assert chart.zero == 20.0
    assert (stages.start, stages.length, stages.low, stages.high) == (20.0, 60.0, 60.0, 100.0)
    assert (lbp.start, lbp.length) == (0.0, 20.0)
    assert worth_chart(None) is None
    nothing = worth_chart(importances(KindImportance(kind="hog", drop=0.0, drop_std=0.0, folds=3)))
    assert (nothing.zero, nothing.rows[0].length) == (0.0, 0.0)


def test_report_shows_bars_and_heat(tmp_path):
    inputs = with_why(make_inputs(tmp_path))
    page = render_report(inputs)
    text = Page(page).text
    assert 'href="#why"' in page
    assert "&lt;lbp&gt;" in page
    assert "<lbp>" not in page
    assert "0.300 ± 0.100" in text
    assert "seen in 1 of 3 folds" in text
    assert page.count('<article class="pair-card">') == len(inputs.predictions)
    wrong = sum(not one.is_correct for one in inputs.predictions)
    assert text.count("Wrong. Hiding the brightest part takes 0.40 of 0.70") == wrong > 0
    assert render_report(inputs) == page


def test_one_kind_of_features_has_nothing_beside_it(tmp_path):
    page = render_report(with_why(make_inputs(tmp_path), kinds=KINDS[:1]))
    assert "sees one kind of features alone (stages (16 px))" in page
    assert '<ul class="worth">' not in page


def test_nothing_known_leaves_no_gap(tmp_path):
    page = render_report(make_inputs(tmp_path))
    assert 'id="why"' not in page
    assert 'href="#why"' not in page


def test_an_image_that_is_gone_leaves_its_words(tmp_path):
    inputs = with_why(make_inputs(tmp_path))
    gone = inputs.explained[0].answer.source_ref
    (tmp_path / gone).unlink()
    page = render_report(inputs)
    assert page.count('<article class="pair-card">') == len(inputs.predictions)
    assert "The file can no longer be read" in page[page.index('id="why"') :]


@pytest.fixture
def place(tmp_path):
    data = png_bytes(np.full((80, 80, 3), 100, np.uint8))
    (tmp_path / "a.png").write_bytes(data)
    boxes = (BoundingBox("cut", 50, 50, 20, 20),)
    return Place(tmp_path, ImageEntry("a.png", hashlib.sha256(data).hexdigest(), 80, 80, Truth(("cut",), boxes)))


def explained(heat, tmp_path):
    (one,) = with_why(make_inputs(tmp_path / "run", per_label=2, labels=("cut",)), heat).explained[:1]
    return one


def test_heat_is_drawn_where_it_is_and_the_true_box_on_both(place, tmp_path):
    truth, heated = draw_look(place, explained(HOT, tmp_path), {"cut": (41, 236, 143)})
    assert truth.shape == heated.shape == (80, 80, 3)
    assert max(truth.shape) <= SIDE
    assert (truth[:20, :40] == 100).all()
    assert heated[2:8, 2:18].max() > 150
    for side in (truth, heated):
        assert (side[50:70, 50] == (41, 236, 143)).all()
        assert (side[75:, 5:40] == 100).all()


def test_noise_is_not_drawn(place, tmp_path):
    cold = explained(HOT / 100, tmp_path)
    truth, heated = draw_look(place, cold, {"cut": (41, 236, 143)})
    assert (truth == heated).all()
    assert in_words(cold).startswith("No part alone counts")


def test_labels_of_boxes_that_the_model_does_not_know_have_a_colour(place, tmp_path):
    (look,) = make_looks([(place, explained(HOT, tmp_path))], ["other"])
    assert look.pair is not None


def test_leaderboard_shows_what_the_recommended_one_rests_on(place, tmp_path):
    standings = [standing("svm", 0.9, 0.8, 0.9, importances=importances(*KINDS)), standing("cnn", 0.5, 0.5, 0.5)]
    board = Leaderboard(
        dataset_name="parts",
        dataset_digest="a" * 64,
        labels=("cut",),
        images=8,
        ranking=rank(standings, "10m"),
        folder="/nowhere",
        mlflow_run_id="run",
    )
    page = render_leaderboard(board, make_looks([(place, explained(HOT, tmp_path))], ["cut"]))
    assert "What svm rests on" in page
    assert "stages (16 px)" in page
    assert page.count('<article class="pair-card">') == 1
    assert "images of the first fold" in page
    bare = render_leaderboard(board.model_copy(update={"ranking": rank([standings[1]], "10m")}))
    assert 'id="why"' not in bare
