"""Champion and challenger on one test set: figures, interval, rules, and what a person must see."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.environment_config import EnvironmentConfig, PolicyConfig
from tasks.bundle.predictor import Predictor
from tasks.dataset.truth import Truth
from tasks.errors import BundleError, SourceChanged
from tasks.evaluate.predictions import write_predictions
from tasks.evaluate.records import ImagePrediction
from tasks.metrics.answers import measure_answers
from tasks.promote.comparison import MAX_TOLD, compare, disagreements_between
from tasks.promote.held_out import ANSWERS_FILE, ANSWERS_STAGE, Version, answers_of, choose_held_out
from tasks.promote.records import VersionComparison
from tasks.promote.task import compare_versions
from tasks.stores.content import ContentStore
from tasks.stores.home import Home
from tasks.vision.images import decode_rgb
from tests.tasks.promote.made_versions import (
    COLOURS,
    SEEN,
    Painted,
    classifier,
    detector,
    paint_tinted,
    relabelled,
    tinted,
)

SWAPPED = ("green", "red", "blue")
"""Names of a bundle that calls red images green, and green ones red."""


@pytest.fixture
def store(tmp_path):
    return ContentStore(tmp_path / "store")


@pytest.fixture
def painted(tmp_path):
    return paint_tinted(tmp_path / "images", 8)


@pytest.fixture
def champion(tmp_path, painted):
    return classifier(tmp_path / "made", 1, [], list(painted.entries.values()), root=painted.root)


def challenger(tmp_path, painted, number=2, labels=COLOURS, **fields):
    """A version with a test set of its own, of which the champion knows nothing."""
    own = [painted.add(f"own/{label}.png", tinted(label, (9, 9)), Truth((label,))) for label in COLOURS]
    fields = {"learned": [], "tested": own, "root": painted.root} | fields
    return classifier(tmp_path / "made", number, labels=labels, **fields)


def test_better_challenger_passes(tmp_path, store, painted):
    worse = classifier(tmp_path / "made", 1, [], list(painted.entries.values()), SWAPPED, root=painted.root)
    better = challenger(tmp_path, painted)
    compared = compare(store, worse, better)
    assert (compared.champion.figure, compared.challenger.figure) == pytest.approx((1 / 3, 1.0))
    assert compared.difference == pytest.approx(2 / 3)
    assert compared.lower <= compared.difference <= compared.upper
    assert compared.lower > 0.5
    assert (compared.passed, compared.reasons, compared.needs_person) == (True, (), "")
    assert compared.test_set.of == "models:/made/1"
    assert (compared.test_set.images, compared.rules.resamples) == (24, 1000)
    assert compared.disagreement_count == 16
    assert set(compared.disagreements) == {ref for ref in painted.entries if ref.split("/")[0] in ("red", "green")}
    assert compared.champion.per_label["red"].f1 == 0
    assert compared.challenger.per_label["red"].support == 8


def test_worse_challenger_is_refused_with_the_numbers(tmp_path, store, painted, champion):
    worse = challenger(tmp_path, painted, labels=SWAPPED)
    compared = compare(store, champion, worse)
    assert not compared.passed
    assert len(compared.reasons) == 1
    assert f"{compared.lower:+.3f} to {compared.upper:+.3f}" in compared.reasons[0]
    assert "min_difference -0.02" in compared.reasons[0]
    assert compare(store, champion, worse, min_difference=-1.0).passed


def test_answers_of_the_evaluation_are_not_made_again(tmp_path, store, painted, champion):
    same = challenger(tmp_path, painted)
    (red,) = Predictor.open(Path(same.bundle_path)).predict_bytes([(painted.root / "red/0-000.png").read_bytes()])
    known = [
        ImagePrediction(
            source_ref=entry.source_ref,
            sha256=entry.sha256,
            truth=entry.truth.labels,
            confidences=red.confidences,
            given=red.labels,
        )
        for entry in painted.entries.values()
    ]
    path = tmp_path / "predictions.jsonl"
    told = same.model_copy(update={"predictions_path": str(path)})
    write_predictions(path, known)
    assert compare(store, champion, told).disagreement_count == 16  # all red, as the file says
    write_predictions(path, known[1:])
    assert compare(store, champion, told).disagreement_count == 0  # one is missing, so all are made


@pytest.mark.parametrize(
    ("min_difference", "passes"),
    [
        pytest.param(-0.02, True, id="default"),
        pytest.param(0.0, True, id="no worse"),
        pytest.param(0.01, False, id="better"),
    ],
)
def test_equal_models_differ_by_nothing(tmp_path, store, painted, champion, min_difference, passes):
    same = challenger(tmp_path, painted)
    compared = compare(store, champion, same, min_difference=min_difference)
    assert (compared.difference, compared.lower, compared.upper) == (0.0, 0.0, 0.0)
    assert (compared.passed, compared.disagreement_count) == (passes, 0)


def test_lower_end_decides_and_not_the_difference(tmp_path, store, painted, champion):
    """Four images of each label more for the challenger, two less: better on these, perhaps not on others."""
    entries = list(painted.entries.values())
    tested = [relabelled(one, "blue") if place in (0, 1, 2) else one for place, one in enumerate(entries)]
    tested = [relabelled(one, "red") if place in (8, 9) else one for place, one in enumerate(tested)]
    old = classifier(tmp_path / "made", 3, [], tested, root=painted.root, threshold=0.99)
    new = challenger(tmp_path, painted, number=4)
    compared = compare(store, old, new)
    figures = sorted((compared.lower, compared.difference, compared.upper))
    assert figures == [compared.lower, compared.difference, compared.upper]
    just_above, just_below = compared.lower + 1e-6, compared.lower - 1e-6
    assert compared.lower < just_above < compared.difference
    assert not compare(store, old, new, min_difference=just_above).passed
    assert compare(store, old, new, min_difference=just_below).passed
    surely_worse = compare(store, old, new, strictness="lenient", min_difference=compared.upper + 1e-6)
    assert "must not lie wholly below min_difference" in surely_worse.reasons[0]
    assert compare(store, old, new, strictness="lenient", min_difference=compared.upper - 1e-6).passed
    wide, narrow = (compare(store, old, new, confidence=one) for one in (0.99, 0.5))
    assert wide.lower < narrow.lower <= narrow.upper < wide.upper
    assert compare(store, old, new, seed=1).difference == compared.difference
    assert compare(store, old, new, seed=1, resamples=50).lower != compared.lower


def test_first_version_passes_on_its_own_test_set(tmp_path, store, painted):
    compared = compare(store, None, challenger(tmp_path, painted))
    assert (compared.passed, compared.needs_person) == (True, "")
    assert (compared.champion, compared.difference, compared.lower, compared.overlap) == (None,) * 4
    assert (compared.challenger.figure, compared.test_set.images) == (1.0, 3)
    assert compared.test_set.of == "models:/made/2"
    assert "compared with no other version" in compared.sentence


def test_changed_labels_need_a_person_and_the_challengers_test_set(tmp_path, store, painted, champion):
    other = ("red", "green", "violet")
    own = [painted.add(f"own/{n}.png", tinted("red", (7, n)), Truth(("red",))) for n in range(3)]
    own += [painted.add(f"own/v{n}.png", tinted("blue", (8, n)), Truth(("violet",))) for n in range(2)]
    compared = compare(store, champion, challenger(tmp_path, painted, labels=other, tested=own))
    assert compared.labels_changed
    assert (compared.test_set.of, compared.test_set.images, compared.test_set.left_out) == ("models:/made/2", 3, 2)
    assert (compared.champion.figure, compared.challenger.figure, compared.passed) == (1.0, 1.0, True)
    assert "adds 'violet' and lacks 'blue'" in compared.needs_person
    assert "3 of the 5 test images of models:/made/2" in compared.needs_person
    assert compared.challenger.per_label["violet"].support == 0
    assert "| violet | unknown label | not in the test set |" in compared.markdown


def test_no_common_label_leaves_it_to_a_person(tmp_path, store, painted, champion):
    other = ("rot", "gruen", "blau")
    own = [painted.add("own/0.png", tinted("red", (7, 0)), Truth(("rot",)))]
    new = challenger(tmp_path, painted, labels=other, tested=own)
    compared = compare(store, champion, new)
    assert (compared.champion, compared.passed, compared.labels_changed) == (None, True, True)
    assert "nothing was compared" in compared.needs_person
    assert disagreements_between(store, champion, new).cases == ()


@pytest.mark.parametrize("obstacle", ["image", "found before"])
def test_champion_that_cannot_be_measured(tmp_path, painted, champion, obstacle):
    """A lenient comparison tells it and goes on; a strict one stops."""
    home, new = Home(tmp_path / "home", "", ""), challenger(tmp_path, painted)
    lenient, strict = (EnvironmentConfig(policy=PolicyConfig(comparison=one)) for one in ("lenient", "strict"))
    if obstacle == "image":
        (painted.root / "red/0-003.png").unlink()
        with pytest.raises(SourceChanged):
            compare_versions.fn(home, champion, new, strict)
        compared = compare_versions.fn(home, champion, new, lenient)
        assert "red/0-003.png" in compared.needs_person
    else:
        compared = compare_versions.fn(home, None, new, lenient, "it is gone")
        assert compared.needs_person == "what stands there cannot be measured: it is gone"
    assert (compared.champion, compared.passed, compared.asks_person) == (None, True, False)


def test_another_task_is_refused(tmp_path, store, painted, champion):
    entry = painted.add("own/0.png", tinted("red", (7, 0), 64), Truth(("dent",), (SEEN,)))
    found = detector(tmp_path / "made", 2, [entry], root=painted.root)
    compared = compare(store, champion, found)
    assert not compared.passed
    assert "for detection" in compared.reasons[0]
    assert "for classification" in compared.reasons[0]
    assert disagreements_between(store, champion, found).cases == ()


def test_challenger_that_learned_the_test_images_is_refused(tmp_path, store, painted, champion):
    learned = list(painted.entries.values())[3:5]
    compared = compare(store, champion, challenger(tmp_path, painted, learned=learned))
    assert (compared.overlap.copies, compared.difference) == (2, 0.0)
    assert "2 copies and 0 near-duplicates of the test images of models:/made/1" in compared.reasons[0]
    assert learned[0].source_ref in compared.reasons[0]


def test_detectors_are_compared_by_their_boxes(tmp_path, store):
    painted = Painted(tmp_path / "images", {})
    truths = [Truth(("dent",), (SEEN,)), Truth(("dent",), (SEEN,)), Truth((), ())]
    tested = [painted.add(f"{place}.png", tinted("red", (3, place), 64), truth) for place, truth in enumerate(truths)]
    once = detector(tmp_path / "made", 1, tested, (0.9,), root=painted.root)
    twice = detector(tmp_path / "made", 2, tested, (0.7, 0.8), root=painted.root)
    unsure = detector(tmp_path / "made", 3, tested, (0.9, 0.3), root=painted.root)
    compared = compare(store, once, twice)
    assert (compared.metric, compared.champion.figure) == ("map_50", pytest.approx(1.0))
    # Three false boxes are surer than the two right ones, of which the last is the second right box in five.
    assert compared.challenger.figure == pytest.approx(2 / 5)
    assert compared.difference == pytest.approx(compared.challenger.figure - compared.champion.figure)
    assert (compared.disagreement_count, compared.disagreements) == (3, ("0.png", "1.png", "2.png"))
    assert VersionComparison.model_validate_json(compared.model_dump_json()) == compared
    assert "| dent | 1.000 | 0.400 |" in compared.markdown
    assert "AP50 of models:/made/2" in compared.markdown
    # A box that is not given is no answer.
    assert compare(store, once, unsure).disagreement_count == 0


def test_answers_are_kept_as_they_were_given(tmp_path, store, painted, champion):
    calls = []
    version = Version.of(champion)
    held = choose_held_out(version, version)
    made = answers_of(store, version, held, lambda done, total: calls.append((done, total)))
    assert calls == [(16, 24), (24, 24)]
    again = answers_of(store, version, held, lambda done, total: calls.append((done, total)))
    assert (again, len(calls)) == (made, 2)
    predictor = Predictor.open(tmp_path / "made" / "bundle-1")
    images = [decode_rgb((painted.root / entry.source_ref).read_bytes()) for entry in held.entries]
    assert made == predictor.predict(images[:16]) + predictor.predict(images[16:])
    assert len(store.entries_of(ANSWERS_STAGE)) == 1
    fewer = replace(held, entries=held.entries[:2])
    assert len(answers_of(store, version, fewer, lambda done, total: None)) == 2


def test_second_comparison_reads_no_image(tmp_path, store, painted, champion):
    new = challenger(tmp_path, painted, labels=SWAPPED)
    first = compare(store, champion, new)
    for path in painted.root.rglob("*.png"):
        path.unlink()
    assert compare(store, champion, new) == first
    assert len(disagreements_between(store, champion, new).cases) == first.disagreement_count


def test_kept_boxes_come_back_to_the_last_digit(tmp_path, store):
    painted = Painted(tmp_path / "images", {})
    tested = [painted.add("0.png", tinted("red", (3, 0), 64), Truth(("dent",), (SEEN,)))]
    version = Version.of(detector(tmp_path / "made", 1, tested, (0.9, 0.123456789), root=painted.root))
    held = choose_held_out(version, version)
    answers = answers_of(store, version, held, lambda done, total: None)
    image = decode_rgb((painted.root / "0.png").read_bytes())
    expected = Predictor.open(tmp_path / "made" / "bundle-1").predict([image])
    assert answers == expected
    assert [len(answer.boxes) for answer in answers] == [2]
    kept = store.entries_of(ANSWERS_STAGE)[0] / ANSWERS_FILE
    assert json.loads(kept.read_text())["boxes"][0]["label"] == "dent"
    assert measure_answers(version.card, held.entries, answers, None).map_50 == pytest.approx(1.0)


@pytest.mark.parametrize("harm", ["gone", "changed"])
def test_test_image_that_is_not_as_it_was_is_named(tmp_path, store, painted, champion, harm):
    path = painted.root / "green" / "0-003.png"
    path.unlink() if harm == "gone" else path.write_bytes(b"other")
    version = Version.of(champion)
    with pytest.raises(SourceChanged, match="no longer the test image of models:/made/1") as caught:
        answers_of(store, version, choose_held_out(version, version), lambda done, total: None)
    assert str(path) in caught.value.message
    assert store.entries_of(ANSWERS_STAGE) == []


def test_changed_bundle_is_refused(tmp_path, store, painted, champion):
    card = tmp_path / "made" / "bundle-1" / "model.json"
    card.write_text(card.read_text() + " ")
    with pytest.raises(BundleError, match="changed after it was registered"):
        compare(store, champion, challenger(tmp_path, painted))


def test_long_lists_of_disagreements_are_cut(tmp_path, store):
    painted = paint_tinted(tmp_path / "images", MAX_TOLD // 2 + 1, labels=("red", "green"))
    tested = list(painted.entries.values())
    old = classifier(tmp_path / "made", 1, [], tested, root=painted.root)
    new = classifier(tmp_path / "made", 2, [], tested, SWAPPED, root=painted.root)
    compared = compare(store, old, new, resamples=10)
    assert (compared.disagreement_count, len(compared.disagreements)) == (MAX_TOLD + 2, MAX_TOLD)


@pytest.mark.parametrize(
    "harm", [{"resamples": 0}, {"confidence": 1.0}, {"min_difference": float("nan")}, {"seed": -1}]
)
def test_impossible_rules_are_refused(store, champion, harm):
    with pytest.raises(ValidationError):
        compare(store, champion, champion, **harm)


def test_record_comes_back(tmp_path, store, painted, champion):
    compared = compare(store, champion, challenger(tmp_path, painted, labels=SWAPPED))
    assert VersionComparison.model_validate_json(compared.model_dump_json()) == compared
    for line in (compared.sentence, compared.reasons[0], "answer 16 images differently", "| red | 1.000 | 0.000 |"):
        assert line in compared.markdown


def test_labels_break_no_table(tmp_path, store, painted):
    odd = ("a|b", "<b>", "c\nd")
    own = [painted.add("own/0.png", tinted("red", (7, 0)), Truth(("a|b",)))]
    markdown = compare(store, None, challenger(tmp_path, painted, labels=odd, tested=own)).markdown
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {3}
    assert "<b>" not in markdown
