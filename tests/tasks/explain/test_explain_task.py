"""Maps of a trained classifier's answers: bounded, kept, and of classifiers alone."""

from pathlib import Path

import pytest

from flows.config import EvaluationConfig
from tasks.bundle.occlusion import occlusion_map
from tasks.bundle.predictor import Predictor
from tasks.evaluate.records import read_predictions
from tasks.explain.choice import MAX_IMAGES, choose_answers
from tasks.explain.maps import MIN_IMAGES, affordable_images, make_maps
from tasks.explain.task import explain_answers
from tasks.ground_truth.manifests import read_manifest
from tasks.vision.images import decode_rgb

WANTED = EvaluationConfig(folds=3)


def explain(made, wanted=WANTED, **changes):
    manifest = made.manifest.model_copy(update=changes)
    return explain_answers.fn(made.home, manifest, made.model, made.evaluation, wanted)


def test_test_images_are_explained_once(trained):
    found = explain(trained)
    answers = list(read_predictions(trained.evaluation.predictions_path))
    assert found.images == len(found.maps) == min(MAX_IMAGES, len(answers)) > 0
    assert [one.answer for one in found.maps] == choose_answers(answers)
    assert max(one.heat_map.heat().max() for one in found.maps) > 0.0
    one = found.maps[0]
    image = decode_rgb((Path(trained.manifest.roots["test"]) / one.answer.source_ref).read_bytes())
    assert occlusion_map(Predictor.open(trained.model.bundle_path), image, one.label) == one.heat_map
    again = explain(trained)
    assert again.reused
    assert again.maps == found.maps


@pytest.mark.parametrize(
    ("wanted", "changes"),
    [
        pytest.param(EvaluationConfig(explain=False), {}, id="not wanted"),
        pytest.param(WANTED, {"task": "detection"}, id="a detector"),
        pytest.param(WANTED, {"task": "anomaly"}, id="an anomaly model"),
    ],
)
def test_nothing_is_made_where_there_is_nothing_to_make(trained, wanted, changes):
    found = explain(trained, wanted, **changes)
    assert (found.images, found.maps, found.reused) == (0, [], False)


def test_large_inputs_get_fewer_maps():
    sizes = [64, 320, 448, 640, 1024]
    counts = [affordable_images(size * size) for size in sizes]
    assert counts == sorted(counts, reverse=True)
    assert (counts[0], counts[2], counts[3], counts[-1]) == (MAX_IMAGES, MAX_IMAGES, 4, MIN_IMAGES)


def test_no_map_is_begun_when_the_time_is_over(trained):
    answers = choose_answers(list(read_predictions(trained.evaluation.predictions_path)))
    entries = {entry.source_ref: entry for entry in read_manifest(trained.manifest.manifest_path("test"))}
    root = Path(trained.manifest.roots["test"])
    predictor, told = Predictor.open(trained.model.bundle_path), []
    made = list(make_maps(predictor, root, entries, answers, lambda *done: told.append(done), seconds=0.0))
    assert [one.answer for one in made] == answers[:1]
    assert told == [(1, len(answers))]


def test_an_image_that_changed_since_is_passed_over(trained, tmp_path):
    answers = choose_answers(list(read_predictions(trained.evaluation.predictions_path)))[:2]
    entries = {entry.source_ref: entry for entry in read_manifest(trained.manifest.manifest_path("test"))}
    for place, one in enumerate(answers):
        source, copy = Path(trained.manifest.roots["test"]) / one.source_ref, tmp_path / one.source_ref
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes() if place else b"another")
    made = make_maps(Predictor.open(trained.model.bundle_path), tmp_path, entries, answers, lambda *_: None)
    assert [one.answer for one in made] == answers[1:]
