"""An anomaly model's page: errors first, heat where it is hot, advice only where the numbers carry it."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.evaluate.gate import judge_anomalies
from tasks.evaluate.records import ImagePrediction
from tasks.inference_test.records import InferenceOutcome
from tasks.metrics.anomaly import measure_anomalies
from tasks.report.anomaly_advice import FEW_NORMAL
from tasks.report.anomaly_pairs import draw_heat_pair
from tasks.report.anomaly_view import VIEW, errors_first
from tasks.report.inputs import ReportInputs
from tasks.report.pictures import Place
from tasks.report.render import render_report
from tasks.vision.boxes import DetectedBox
from tasks.vision.heat_maps import HeatMap
from tests.makers import png_bytes

THRESHOLD, SIDE = 0.5, 60
SPLITS = ("train", "validation", "test")
HOT = np.zeros((4, 4), np.float32)
HOT[0, 0] = 30.0
LIMIT = 10.0
CASES = {
    "found.png": (True, 0.9),
    "just.png": (True, 0.51),
    "missed.png": (True, 0.1),
    "alarm.png": (False, 0.95),
    "passed.png": (False, 0.2),
}


def predicted(ref: str, is_abnormal: bool, confidence: float) -> ImagePrediction:
    given = ("anomaly",) if confidence >= THRESHOLD else ()
    boxes = (DetectedBox("anomaly", 0, 0, 20, 20, confidence, bool(given)),)
    return ImagePrediction(
        source_ref=ref,
        sha256="",
        truth=("anomaly",) if is_abnormal else (),
        confidences={"anomaly": confidence},
        given=given,
        true_boxes=(),
        boxes=boxes,
        heat_map=HeatMap.of(HOT),
    )


def entry(root: Path, ref: str, is_abnormal: bool) -> ImageEntry:
    data = png_bytes(np.full((SIDE, SIDE, 3), 100, np.uint8))
    root.mkdir(exist_ok=True)
    (root / ref).write_bytes(data)
    truth = Truth(("anomaly",)) if is_abnormal else Truth((), ())
    return ImageEntry(ref, hashlib.sha256(data).hexdigest(), SIDE, SIDE, truth)


def run_of(root: Path, cases: dict[str, tuple[bool, float]], learned: int = FEW_NORMAL) -> ReportInputs:
    truth = np.array([is_abnormal for is_abnormal, _ in cases.values()])
    metrics = measure_anomalies(truth, np.array([value for _, value in cases.values()]), THRESHOLD, None)
    normal = ImageEntry("good.png", "0" * 64, SIDE, SIDE, Truth((), ()))
    tested = [entry(root / "test", ref, is_abnormal) for ref, (is_abnormal, _) in cases.items()]
    return ReportInputs(
        task="anomaly",
        model_name="parts-anomaly",
        model_version="3",
        status="staged",
        labels=("anomaly",),
        metrics=metrics,
        gate=judge_anomalies(metrics, 0.5, 0.0),
        inference=InferenceOutcome(passed=True, images=len(cases), latency_ms_p50=40.0, latency_ms_p95=50.0),
        predictions=[predicted(ref, *case) for ref, case in cases.items()],
        out_of_fold=[],
        entries={"train": [normal] * learned, "validation": [], "test": tested},
        roots={split: root / split for split in SPLITS},
        findings=[],
        figures_path=root / "figures",
        provenance={},
        input_size=64,
        chosen={"region_limit": LIMIT, "threshold_chosen_on": "held-out normal images"},
    )


def test_errors_come_first_and_then_what_was_nearly_one(tmp_path: Path) -> None:
    ordered = errors_first(run_of(tmp_path, CASES).predictions, THRESHOLD)
    assert [one.source_ref for one in ordered] == ["alarm.png", "missed.png", "just.png", "passed.png", "found.png"]


def test_page_tells_every_outcome(tmp_path: Path) -> None:
    page = render_report(run_of(tmp_path, CASES))
    assert page.count('<article class="pair-card">') == len(CASES)
    assert "1 missed, 1 called abnormal without being so" in page
    for outcome in ("Missed", "False alarm", "Found", "Passed"):
        assert f">{outcome}</p>" in page
    shown = page[page.index('id="tested"') :]
    assert shown.index("alarm.png") < shown.index("missed.png") < shown.index("passed.png")
    assert "held-out normal images" in page
    assert f'>normal <span class="note">12 of {FEW_NORMAL + 2} images' in page
    assert "No boxes" not in page


def test_heat_and_boxes_are_drawn_where_they_are(tmp_path: Path) -> None:
    run = run_of(tmp_path, CASES)
    place = Place(run.roots["test"], run.entries["test"][0])
    truth, answer = draw_heat_pair(place, run.predictions[0], SIDE, LIMIT)
    assert truth.shape == answer.shape == (SIDE, SIDE, 3)
    assert (truth == 100).all()
    assert (answer[30:, 30:] == 100).all()
    assert answer[2:12, 2:12].astype(int).max() > 150
    cold = run.predictions[0].model_copy(update={"heat_map": HeatMap.of(0 * HOT), "boxes": ()})
    assert (draw_heat_pair(place, cold, SIDE, LIMIT)[1] == 100).all()


def test_image_that_is_gone_leaves_a_gap(tmp_path: Path) -> None:
    run = run_of(tmp_path, CASES)
    (tmp_path / "test" / "found.png").unlink()
    assert render_report(run).count("can no longer be read") >= 1


@pytest.mark.parametrize(
    ("cases", "learned", "titles"),
    [
        pytest.param(
            {f"{n}.png": (n < 10, 0.9 if n < 10 else 0.1) for n in range(20)}, FEW_NORMAL, [], id="nothing to say"
        ),
        pytest.param(
            {f"{n}.png": (n < 10, 0.9) for n in range(20)},
            FEW_NORMAL,
            ["10 images without a defect are called abnormal"],
            id="false alarms",
        ),
        pytest.param(
            {f"{n}.png": (n < 10, 0.1) for n in range(20)},
            FEW_NORMAL,
            ["10 images with a defect pass as normal"],
            id="missed",
        ),
        pytest.param(
            {"a.png": (True, 0.9), "b.png": (False, 0.1)},
            FEW_NORMAL - 1,
            ["Only 59 images to learn from", "Only 1 image with a defect to test on"],
            id="few images",
        ),
    ],
)
def test_advice(cases: dict, learned: int, titles: list[str], tmp_path: Path) -> None:
    assert [one.title for one in VIEW.advise(run_of(tmp_path, cases, learned))] == titles


def test_summary_shows_errors(tmp_path: Path) -> None:
    run = run_of(tmp_path, CASES)
    assert [title for title, _ in VIEW.pictures(run)] == ["false alarm: alarm.png", "missed: missed.png"]
    assert VIEW.headline(run) == [
        "image AUROC 0.333 on 5 test images",
        "2 of 3 anomalies found, 1 of 2 normal images called abnormal",
    ]
