"""The summary page and what it counts."""

import re
from pathlib import Path

import pytest

from tasks.dataset.findings import Finding
from tasks.predict.answers import ImageAnswer, Told, choose_told
from tasks.predict.image_files import ReadLimits
from tasks.predict.overview import LEAST_SURE, SUREST_PER_LABEL, Overview
from tasks.predict.records import FetchedModel
from tasks.predict.summary import MAX_FINDINGS_LISTED, SummaryInputs, first_of_each_code, render_summary
from tasks.vision.boxes import DetectedBox
from tests.tasks.predict.predicting import paint, sha256_of
from tests.tasks.report.page_reader import Page

EVIL = "<script>alert(1)</script>"
THRESHOLDS = {"cut": 0.5, EVIL: 0.5}
LIMITS = ReadLimits(100.0, 40.0)


def answer(number, confidence, label="cut", **fields):
    box = DetectedBox(label, 1.0, 2.0, 10.0, 8.0, confidence, confidence >= 0.5)
    return ImageAnswer(
        **({"source_ref": f"{number}.png", "sha256": "", "width": 40, "height": 30} | fields),
        confidences={},
        boxes=(box,),
    )


def overview_of(answers, min_confidence=None):
    overview = Overview(THRESHOLDS)
    for one in answers:
        overview.add(one, choose_told(one, min_confidence))
    return overview


def inputs_of(root, overview, findings=()):
    model = FetchedModel(
        model_name="parts",
        model_version="7",
        model_uri="models:/parts/7",
        bundle_digest="b" * 64,
        bundle_path="",
        task="detection",
        labels=tuple(THRESHOLDS),
        thresholds=THRESHOLDS,
    )
    listed = first_of_each_code(findings)
    counts = {code: len(members) for code, members in listed.items()}
    return SummaryInputs(model, f"source {EVIL}", Path(root), overview, counts, listed, len(findings), None, LIMITS)


def test_page_stands_alone_and_escapes_names(tmp_path):
    paint(tmp_path / "1.png", "red")
    digest = sha256_of(tmp_path / "1.png")
    overview = overview_of([answer(1, 0.9, EVIL, sha256=digest), answer(2, 0.7, source_ref=f"{EVIL}.png")])
    findings = [Finding(code="ERROR_INVALID_IMAGE", source_ref=f"{EVIL}.jpg", message=EVIL)]
    text = render_summary(inputs_of(tmp_path, overview, findings))
    page = Page(text)
    assert not page.all("script")
    assert "default-src 'none'" in page.all("meta")[1]["content"]
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.all("img"))
    assert not re.findall(r'(?:src|href)="(?!data:|#)', text)
    assert len(page.all("img")) == 2  # surest and least sure; of the other image no file is left
    assert page.text.count("The file can no longer be read") == 2
    assert f"{EVIL}.jpg" in page.text
    assert text == render_summary(inputs_of(tmp_path, overview, findings))


def test_page_of_nothing(tmp_path):
    page = Page(render_summary(inputs_of(tmp_path, overview_of([ImageAnswer("1.png", "", 4, 3, {})]))))
    assert "Nothing is told of any image." in page.text
    assert "Every image could be read." in page.text
    assert "No image has a box, however unsure." in page.text


def test_counts():
    overview = overview_of([answer(1, 0.95), answer(2, 0.5), answer(3, 0.4999), answer(4, 1.0, EVIL)])
    assert (overview.images, overview.with_predictions) == (4, 3)
    assert overview.predictions == {"cut": 2, EVIL: 1}
    assert overview.images_by_label == {"cut": 2, EVIL: 1}
    assert overview.histogram == [0, 0, 0, 0, 0, 1, 0, 0, 0, 2]
    assert overview_of([answer(3, 0.4999)], min_confidence=20).histogram == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]


def test_examples_are_the_surest_and_those_nearest_to_their_threshold():
    confidences = [0.01 * number for number in range(20, 100)]
    overview = overview_of([answer(number, value) for number, value in enumerate(confidences)])
    surest = [example.answer.boxes[0].confidence for example in overview.surest()["cut"]]
    assert surest == sorted(confidences, reverse=True)[:SUREST_PER_LABEL]
    doubtful = overview.least_sure()
    nearest = sorted(confidences, key=lambda value: abs(value - 0.5))[:LEAST_SURE]
    assert sorted(one.answer.boxes[0].confidence for one in doubtful) == sorted(nearest)
    assert {one.told[0].is_given for one in doubtful} == {True, False}


def test_classifiers_lower_labels_raise_no_doubt():
    overview = Overview({"a": 0.9, "b": 0.02})
    sure = ImageAnswer("1.png", "", 4, 3, {"a": 0.99, "b": 0.01}, ("a",))
    overview.add(sure, choose_told(sure, None))
    assert [example.told for example in overview.least_sure()] == [(Told("a", 0.99, True),)]


def test_any_of_several_labels_may_be_doubtful():
    overview = Overview({"a": 0.9, "b": 0.02}, is_multi_label=True)
    sure = ImageAnswer("1.png", "", 4, 3, {"a": 0.99, "b": 0.01}, ("a",))
    overview.add(sure, choose_told(sure, None))
    (example,) = overview.least_sure()
    assert example.told == (Told("a", 0.99, True), Told("b", 0.01, False))


@pytest.mark.parametrize("count", [0, MAX_FINDINGS_LISTED, MAX_FINDINGS_LISTED + 1])
def test_long_lists_of_findings_are_cut(count):
    listed = first_of_each_code(Finding(code="ERROR", source_ref=str(n), message="") for n in range(count))
    assert [len(members) for members in listed.values()] == [min(count, MAX_FINDINGS_LISTED)] * (count > 0)
