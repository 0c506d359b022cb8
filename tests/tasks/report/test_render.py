"""The report page: complete, self-contained, safe against what names hold, and the same for the same inputs."""

import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.dataset.entries import ImageEntry, Split
from tasks.dataset.findings import Finding
from tasks.dataset.truth import Truth
from tasks.evaluate.figures import draw_figures, save_figures
from tasks.evaluate.gate import judge
from tasks.evaluate.records import ImagePrediction
from tasks.inference_test.records import InferenceOutcome
from tasks.metrics.classification import CrossValidated, macro, measure, measure_labels, truths_of
from tasks.metrics.intervals import wilson_interval
from tasks.promote.records import ComparedImages, ComparisonRules, VersionComparison, VersionFigures
from tasks.report.inputs import OutOfFoldPrediction, ReportInputs
from tasks.report.render import render_report
from tests.tasks.report.page_reader import Page

SCRIPT_LABEL = "<script>alert(1)</script>"
QUOTE_LABEL = "\"'& <b>bold</b>"


def image_entry(root: Path, ref: str, label: str, shade: int) -> ImageEntry:
    buffer = io.BytesIO()
    Image.new("RGB", (60, 40), (shade % 256, 90, 120)).save(buffer, "PNG")
    path = root / ref
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    return ImageEntry(ref, digest, 60, 40, Truth((label,)))


def confidences_of(labels: Sequence[str], label: str, place: int, wrong_every: int) -> dict[str, float]:
    """Sure of the right label, but of the next one for every `wrong_every`-th image."""
    own = labels.index(label)
    top = (own + 1) % len(labels) if wrong_every and place % wrong_every == 0 else own
    rest = 0.3 / max(1, len(labels) - 1)
    scores = {name: 0.7 if index == top else rest for index, name in enumerate(labels)}
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def make_inputs(
    root: Path,
    labels: Sequence[str] = ("bent", "good"),
    per_label: int = 6,
    wrong_every: int = 4,
    figures: bool = False,
) -> ReportInputs:
    """A run over painted images: half of each label in train, half in test."""
    labels = sorted(labels)
    entries: dict[Split, list[ImageEntry]] = {"train": [], "validation": [], "test": []}
    for index, label in enumerate(labels):
        for place in range(per_label):
            split: Split = "train" if place % 2 else "test"
            entries[split].append(image_entry(root, f"{index}/{place:03d}.png", label, 40 * index + place))
    answered = {
        split: [confidences_of(labels, e.truth.stratum, i, wrong_every) for i, e in enumerate(entries[split])]
        for split in ("train", "test")
    }
    tables = {s: np.array([[c[label] for label in labels] for c in answered[s]]) for s in ("train", "test")}
    truths = {s: truths_of([e.truth.labels for e in entries[s]], labels) for s in ("train", "test")}
    cuts = dict.fromkeys(labels, 0.5)
    crossed = measure_labels(truths["train"], tables["train"], labels, cuts)
    estimate = CrossValidated(
        macro_f1=macro(crossed, "f1"), macro_f1_std=0.02, accuracy=0.9, folds=3, images=6, per_label=crossed
    )
    metrics = measure(truths["test"], tables["test"], labels, cuts, estimate)
    if figures:
        save_figures(draw_figures(truths["test"], tables["test"], labels, metrics), root / "figures")
    gate = judge(metrics, 0.8, 0.6)
    return ReportInputs(
        task="classification",
        model_name="parts-classification",
        model_version="7",
        status="staged" if gate.passed else "rejected",
        labels=labels,
        metrics=metrics,
        gate=gate,
        inference=InferenceOutcome(
            passed=True, accuracy=metrics.accuracy, images=6, latency_ms_p50=12.0, latency_ms_p95=19.5
        ),
        predictions=[
            ImagePrediction(source_ref=e.source_ref, sha256=e.sha256, truth=e.truth.labels, confidences=c, given=())
            for e, c in zip(entries["test"], answered["test"], strict=True)
        ],
        out_of_fold=[
            OutOfFoldPrediction(e.source_ref, e.truth.labels, c)
            for e, c in zip(entries["train"], answered["train"], strict=True)
        ],
        entries=entries,
        roots={"train": root, "validation": root, "test": root},
        findings=[Finding(code="ERROR_EMPTY_FILE", source_ref="bent/empty.png", message="the file has no bytes")],
        figures_path=root / "figures",
        provenance={"Dataset": "parts", "Seed": "0"},
        input_size=320,
    )


def test_shows_every_section_with_its_figures(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path, figures=True)
    page = Page(render_report(inputs))
    for words in (
        "Rejected",
        "Follow the advice",
        "Metrics per label",
        "Mistakes",
        "Findings",
        "Provenance",
        "19.5 ms",
    ):
        assert words in page.text
    for reason in inputs.gate.reasons:
        assert f"Gate: {reason}" in page.text
    assert f"{inputs.metrics.macro_f1:.3f}" in page.text
    assert "bent/empty.png : the file has no bytes" in page.text
    assert len([svg for svg in page.all("svg") if svg.get("class") == "plot"]) == 5


def test_tells_what_was_tried_and_what_was_kept(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path)
    trials = {"svm on stages": 0.25, "knn on stages": 0.125, "other": 0.125}
    untried = {"finetune": "not tried: would take up to 9 min"}
    page = Page(render_report(replace(inputs, trials=trials, untried=untried, kept="knn on stages")))
    tried = page.text.partition("What was tried")[2]
    words = tried[tried.index("svm on stages") :].split()
    told = "svm on stages 0.250 knn on stages 0.125 kept other 0.125 finetune none not tried: would take up to 9 min"
    assert " ".join(words[: len(told.split())]) == told
    for nothing_to_choose in ({}, {"svm on stages": 0.25}):
        assert "What was tried" not in Page(render_report(replace(inputs, trials=nothing_to_choose))).text


def test_shows_how_a_network_learned(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path)
    assert not [attrs for _, attrs in Page(render_report(inputs)).elements if attrs.get("id") == "training"]
    figures = {"loss": 1.0, "validation_loss": 0.8, "validation_balanced_accuracy": 0.9}
    history = [{"epoch": float(epoch), **figures} for epoch in (1, 2, 3)]
    page = Page(render_report(replace(inputs, history=history, chosen={"best_epoch": 2})))
    assert len([svg for svg in page.all("svg") if svg.get("class") == "chart curves"]) == 2
    assert "images held out tell whether it learns" in page.text
    assert "The model is that of epoch 2." in page.text


@pytest.mark.parametrize(
    ("status", "words"), [("staged", "carries the alias “staging”"), ("registered", "does not stand in staging")]
)
def test_says_what_the_status_means(tmp_path: Path, status: str, words: str) -> None:
    page = Page(render_report(replace(make_inputs(tmp_path), status=status)))
    assert words in page.text


def test_says_how_it_compares_with_what_stood_in_staging(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path)
    champion, challenger = (
        VersionFigures(model_uri=f"models:/parts/{number}", bundle_digest="b" * 64, figure=figure, per_label={})
        for number, figure in ((6, 0.75), (7, 0.875))
    )
    compared = VersionComparison(
        metric="macro_f1",
        rules=ComparisonRules(),
        test_set=ComparedImages(of="models:/parts/6", digest="d" * 64, images=6),
        challenger=challenger,
        champion=champion,
        difference=0.125,
        lower=-0.05,
        upper=0.25,
        disagreement_count=2,
        needs_person="the labels changed",
    )
    page = Page(render_report(replace(inputs, comparison=compared, staging_reasons=("it may be worse",))))
    assert "Compared with models:/parts/6 +0.125" in page.text
    assert "interval -0.050 to +0.250; 2 images answered differently" in page.text
    assert "Staging: it may be worse" in page.text
    assert "To look at: the labels changed." in page.text
    first = Page(render_report(replace(inputs, comparison=compared.model_copy(update={"champion": None}))))
    assert "Compared with models" not in first.text


def test_says_why_the_inference_test_failed(tmp_path: Path) -> None:
    outcome = InferenceOutcome(passed=False, reasons=("the bundle is damaged",))
    page = Page(render_report(replace(make_inputs(tmp_path), status="rejected", inference=outcome)))
    assert "Inference test: the bundle is damaged" in page.text
    assert "the model could not be run" in page.text


def test_refers_to_nothing_outside_itself(tmp_path: Path) -> None:
    text = render_report(make_inputs(tmp_path, figures=True))
    # Encoded pictures may hold any letters.
    assert re.findall(r"https?://|//[a-z]", re.sub(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", "", text)) == []
    page = Page(text)
    assert page.all("link") == []
    targets = [v for _, attrs in page.elements for k, v in attrs.items() if k in ("src", "href", "xlink:href") and v]
    assert targets
    assert all(target.startswith(("#", "data:")) for target in targets)


def test_ids_are_unique_and_every_reference_has_its_target(tmp_path: Path) -> None:
    text = render_report(make_inputs(tmp_path, figures=True))
    page = Page(text)
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    referred = {
        v[1:] for _, attrs in page.elements for k, v in attrs.items() if k.endswith("href") and v and v[0] == "#"
    }
    referred |= set(re.findall(r"url\(#([^)]+)\)", text))
    assert referred <= set(ids)


@pytest.mark.parametrize("label", [SCRIPT_LABEL, QUOTE_LABEL, "{{ 7 * 7 }}"])
def test_escapes_what_labels_hold(tmp_path: Path, label: str) -> None:
    page = Page(render_report(make_inputs(tmp_path, ["good", label], figures=True)))
    assert len(page.all("script")) == 1
    assert page.all("b") == []
    assert re.sub(r"\s+", " ", label) in page.text
    assert any((image["alt"] or "").startswith(f"{label}: ") for image in page.all("img"))


def test_escapes_what_files_findings_and_provenance_hold(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path)
    finding = Finding(code=SCRIPT_LABEL, source_ref=SCRIPT_LABEL, message=QUOTE_LABEL)
    nasty = replace(
        inputs,
        model_name=SCRIPT_LABEL,
        findings=[finding],
        provenance={SCRIPT_LABEL: QUOTE_LABEL},
        gate=inputs.gate.model_copy(update={"reasons": (SCRIPT_LABEL,)}),
        out_of_fold=[replace(one, source_ref=f"{QUOTE_LABEL}{SCRIPT_LABEL}") for one in inputs.out_of_fold],
    )
    page = Page(render_report(nasty))
    assert len(page.all("script")) == 1
    assert page.all("b") == []
    assert not [key for _, attrs in page.elements for key in attrs if key.startswith("on")]


def test_policy_allows_the_page_own_script_only(tmp_path: Path) -> None:
    page = Page(render_report(make_inputs(tmp_path)))
    policy = next(m["content"] or "" for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/]{43}='", policy)


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path, figures=True)
    assert render_report(inputs) == render_report(inputs)


def test_worst_mistake_comes_first(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path)
    changed = inputs.predictions[1].model_copy(update={"confidences": {"good": 0.99, "bent": 0.01}})
    text = render_report(replace(inputs, predictions=[inputs.predictions[0], changed, *inputs.predictions[2:]]))
    sure, unsure = (
        text.index(f"{one.source_ref}: true bent, answered good") for one in (changed, inputs.predictions[0])
    )
    assert sure < unsure


def test_without_mistakes_shows_the_least_certain_right_answers(tmp_path: Path) -> None:
    page = Page(render_report(make_inputs(tmp_path, wrong_every=0)))
    assert (
        "None of the 6 images is answered wrongly. These were answered rightly with the least confidence" in page.text
    )
    assert len(page.all("article")) == 6


def test_limits_cards_and_lists_the_rest(tmp_path: Path) -> None:
    page = Page(render_report(make_inputs(tmp_path, per_label=60, wrong_every=1)))
    assert len(page.all("article")) == 24 + 12
    assert "36 more mistakes" in page.text
    assert "48 more mistakes" in page.text


def test_many_long_labels(tmp_path: Path) -> None:
    labels = [f"{index:02d}" + "x" * 254 for index in range(55)]
    page = Page(render_report(make_inputs(tmp_path, labels, per_label=2)))
    assert all(label in page.text for label in labels)
    assert len([image for image in page.all("img") if "data-enlarge" in image]) <= 240 + 24 + 12


def test_missing_image_and_figures_do_not_lose_the_report(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path)
    (tmp_path / inputs.predictions[0].source_ref).unlink()
    (tmp_path / inputs.predictions[1].source_ref).write_bytes(b"other bytes")
    page = Page(render_report(inputs))
    assert page.text.count("The file can no longer be read") >= 2
    assert page.text.count("This figure was not made.") == 5


def test_without_cross_validation_findings_or_test_images_of_a_label(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path)
    metrics = inputs.metrics.model_copy(update={"cross_validated": None})
    bare = replace(inputs, metrics=metrics, out_of_fold=[], findings=[], labels=[*inputs.labels, "unseen"])
    page = Page(render_report(bare))
    assert "this model was not cross-validated" in page.text
    assert "Nothing was found wrong with the files." in page.text
    assert "No image carries this label." in page.text


def test_every_image_has_a_text(tmp_path: Path) -> None:
    page = Page(render_report(make_inputs(tmp_path)))
    assert all(image["alt"] for image in page.all("img") if "data-enlarge" in image)
    assert all(svg.get("aria-label") or svg.get("aria-hidden") for svg in page.all("svg"))


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"), [(24, 25, 0.805, 0.993), (0, 10, 0.0, 0.278), (10, 10, 0.722, 1.0), (0, 0, 0, 1)]
)
def test_wilson_interval(hits: int, count: int, low: float, high: float) -> None:
    assert wilson_interval(hits, count) == pytest.approx((low, high), abs=0.001)
