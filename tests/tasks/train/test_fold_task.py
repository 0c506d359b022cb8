"""Folds as a comparison measures them: on painted pictures, with a real store."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flows.config import DataConfig, EvaluationConfig, MaskConfig, NetworkConfig, TrainConfig, TrainingConfig
from tasks.bundle.predictor import Predictor
from tasks.dataset.entries import SPLITS
from tasks.errors import DataError
from tasks.ground_truth.manifests import read_manifest
from tasks.ingest.task import ingest_images
from tasks.manifest.task import build_manifest
from tasks.stores.home import Home
from tasks.train.classifier.measure import deadline_of
from tasks.train.fold_task import measure_fold, pixels_path
from tasks.train.outer_fold import outer_fold
from tasks.train.records import BUNDLE_FOLDER, OUT_OF_FOLD_FILE, MeasuredFold, StoppedFold
from tests.conftest import INPUT_SIZE
from tests.tasks.conftest import LABELS, paint_folders
from tests.tasks.train.schedules import schedule

FOLDS = 3
RUN_FIELDS = {"reused", "seconds"}
PLAIN = {"algorithm": "logistic", "features": ("embedding",), "views": False}
SMALL = NetworkConfig(epochs=1, batch_size=8)


@pytest.fixture(scope="module")
def home(exported_home, tmp_path_factory):
    root = tmp_path_factory.mktemp("folds") / "home"
    shutil.copytree(exported_home.root, root)
    return Home(root, "", "")


def manifest_of(home, source):
    data = DataConfig(source=str(source), near_duplicates=False)
    return build_manifest.fn(home, ingest_images.fn(home, data), data, MaskConfig(), "classification")


@pytest.fixture(scope="module")
def manifest(home, tmp_path_factory):
    source = paint_folders(tmp_path_factory.mktemp("pictures") / "colours", dict.fromkeys(LABELS, 10))
    made = manifest_of(home, source)
    for entry in read_manifest(made.manifest_path("test")):
        # What is not there cannot be read.
        (Path(made.roots["test"]) / entry.source_ref).unlink()
    return made


def request(folds=FOLDS, **training):
    options = {"input_size": INPUT_SIZE, **(training or PLAIN)}
    return TrainConfig(training=TrainingConfig(**options), evaluation=EvaluationConfig(folds=folds))


def measure(home, manifest, fold, *, folds=FOLDS, trials=1, seconds=600.0, with_views=True, **training):
    config = request(folds, **training)
    until = time.time() + seconds
    return measure_fold.fn(
        home, manifest, config, "candidate", fold + 1, trials=trials, until=until, with_views=with_views
    )


def entry_of(home, record):
    return home.root / "store" / "entries" / "fold" / record.key[:32]


def answers_of(home, record):
    return [json.loads(line) for line in (entry_of(home, record) / OUT_OF_FOLD_FILE).read_text().splitlines()]


@pytest.fixture(scope="module")
def plain(home, manifest):
    return [measure(home, manifest, fold) for fold in range(FOLDS)]


def test_every_image_but_the_test_images_is_judged_once(home, manifest, plain):
    judged = [line["source_ref"] for record in plain for line in answers_of(home, record)]
    known = [entry.source_ref for entry in entries_of(manifest)]
    assert sorted(judged) == sorted(known)
    assert [(record.fold, record.folds) for record in plain] == [(fold, FOLDS) for fold in range(FOLDS)]
    assert sum(record.images for record in plain) == len(known)
    # Noisy colours are told apart, not perfectly.
    assert 0.6 < np.mean([record.macro_f1 for record in plain]) <= 1.0


def test_figures_are_those_of_the_answers(home, plain):
    for record in plain:
        lines = answers_of(home, record)
        right = [[max(line["confidences"], key=line["confidences"].get)] == line["truth"] for line in lines]
        assert record.accuracy == pytest.approx(np.mean(right))


def test_the_first_fold_measures_its_bundle(home, plain):
    first, *others = plain
    bundle = entry_of(home, first) / BUNDLE_FOLDER
    assert first.bundle_bytes == sum(file.stat().st_size for file in bundle.iterdir())
    assert 0.0 < first.ms_per_image < 10_000.0
    assert Predictor.open(bundle).card.labels == LABELS
    assert {(one.ms_per_image, one.bundle_bytes) for one in others} == {(None, None)}
    assert not (entry_of(home, others[0]) / BUNDLE_FOLDER).exists()


def test_features_are_computed_once_for_all_folds_and_candidates(home, manifest, plain):
    images = manifest.totals["train"] + manifest.totals["validation"]
    others = [measure(home, manifest, 0, algorithm="knn", features=("stages",), views=views) for views in (False, True)]
    assert [record.features_computed for record in (*plain, *others)] == [images, 0, 0, 0, 0]


def test_features_shared_with_views_give_the_same_answers(home, manifest, plain):
    before = answers_of(home, plain[2])
    shutil.rmtree(entry_of(home, plain[2]))
    again = measure(home, manifest, 2, **PLAIN, with_views=False)
    assert again.features_computed > 0
    assert answers_of(home, again) == before


def test_a_fold_is_measured_once(home, manifest, plain):
    again = measure(home, manifest, 1)
    assert again.reused
    assert again.model_dump(exclude=RUN_FIELDS) == plain[1].model_dump(exclude=RUN_FIELDS)
    for training in ({**PLAIN, "seed": 1}, {**PLAIN, "features": ("stages",)}, {**PLAIN, "views": True}):
        assert not measure(home, manifest, 1, **training).reused


def test_features_that_cannot_be_there_in_time_stop_a_fold(home, manifest):
    training = {"algorithm": "knn", "features": ("tamura",), "views": False}
    stopped = measure(home, manifest, 0, seconds=0.0, **training)
    assert isinstance(stopped, StoppedFold)
    assert "over after 0 of" in stopped.reason
    assert not list((home.root / "store" / "entries").glob("features-tamura*/*"))
    assert measure(home, manifest, 0, **training).features_computed > 0
    again = measure(home, manifest, 1, seconds=0.0, **training)
    assert isinstance(again, StoppedFold)
    assert "before all was fitted" in again.reason


def test_random_labels_score_chance(home, tmp_path):
    rng, source = np.random.default_rng(5), tmp_path / "shuffled"
    pictures = sorted(paint_folders(tmp_path / "colours", dict.fromkeys(LABELS, 20)).rglob("*.png"))
    for place, picture in enumerate(rng.permutation(np.array(pictures, dtype=object))):
        (source / LABELS[place % 3]).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, source / LABELS[place % 3] / f"{place}.png")
    shuffled = manifest_of(home, source)
    for training in (PLAIN, {"algorithm": "svm", "features": ("stages",), "views": False}):
        records = [measure(home, shuffled, fold, **training) for fold in range(FOLDS)]
        # Of 51 images a third is right by chance, give or take 0.07.
        assert 0.12 < np.average([one.accuracy for one in records], weights=[one.images for one in records]) < 0.55


def test_a_network_is_judged_on_the_same_images(home, manifest, plain):
    network = measure(home, manifest, 0, algorithm="cnn", network=SMALL)
    assert isinstance(network, MeasuredFold)
    references = [[line["source_ref"] for line in answers_of(home, one)] for one in (network, plain[0])]
    assert references[0] == references[1]
    assert (network.chosen["algorithm"], network.chosen["epochs"], network.options) == ("cnn", 1, {})
    assert network.bundle_bytes > 0
    assert network.fit_seconds > 0.0
    (left,) = home.work_path.iterdir()
    assert left.name.startswith("pixels-")


def test_what_another_comparison_is_framing_is_waited_for(home, manifest):
    pixels = pixels_path(home, manifest, request(algorithm="cnn"))
    shutil.rmtree(pixels, ignore_errors=True)
    pixels.mkdir(parents=True)
    part = pixels / "part.npy"
    with ThreadPoolExecutor(1) as pool:
        with home.lock(pixels.name):
            part.write_bytes(b"of another process")
            network = pool.submit(measure, home, manifest, 2, algorithm="cnn", network=SMALL)
            with pytest.raises(TimeoutError):
                network.result(timeout=3.0)
            assert part.read_bytes() == b"of another process"
        assert isinstance(network.result(timeout=300.0), MeasuredFold)
    assert [file.name for file in pixels.iterdir()] == ["pixels.npy"]


def test_a_search_of_options_is_told(home, manifest):
    network = measure(home, manifest, 1, trials=2, algorithm="cnn", network=SMALL)
    assert set(network.options) == {"learning_rate", "augmentation", "mixup"}
    assert network.chosen.items() >= network.options.items()


def test_a_network_that_cannot_end_in_time_stops_and_goes_on_later(home, manifest):
    long = NetworkConfig(epochs=3, batch_size=8)
    stopped = measure(home, manifest, 2, seconds=0.0, algorithm="cnn", network=long)
    assert isinstance(stopped, StoppedFold)
    assert "0 s are left" in stopped.reason
    (work,) = (folder for folder in home.work_path.iterdir() if not folder.name.startswith("pixels-"))
    assert (work / "checkpoint.pt").exists()
    finished = measure(home, manifest, 2, algorithm="cnn", network=long)
    assert isinstance(finished, MeasuredFold)
    assert not work.exists()


def entries_of(manifest):
    return [entry for split in SPLITS[:2] for entry in read_manifest(manifest.manifest_path(split))]


def targets_of(entries):
    return np.array([LABELS.index(entry.truth.stratum) for entry in entries])


def test_no_group_is_parted(manifest):
    pairs = [
        replace(entry, group=f"{entry.truth.stratum}{place // 2}") for place, entry in enumerate(entries_of(manifest))
    ]
    for number in range(FOLDS):
        fold = outer_fold(Path(), pairs, targets_of(pairs), LABELS, number, FOLDS, 0)
        assert not {pairs[place].group for place in fold.train} & {pairs[place].group for place in fold.held_out}
        assert set(fold.targets[fold.held_out]) == set(range(len(LABELS)))


def test_the_time_is_that_of_the_folds_there_are(manifest):
    entries = entries_of(manifest)
    asked = schedule(epochs=9, patience=5)
    rare = [entry for entry in entries if entry.truth.stratum == "red"][:3]
    few = [*(entry for entry in entries if entry.truth.stratum != "red"), *rare]
    for number in range(3):
        deadline = deadline_of(outer_fold(Path(), few, targets_of(few), LABELS, number, 20, 0), asked, 60.0)
        assert (deadline.least_epochs, deadline.folds_left) == (6, 3 - number)


def test_a_label_that_a_fold_leaves_too_little_of_is_refused(manifest):
    entries = entries_of(manifest)
    rare = [entry for entry in entries if entry.truth.stratum == "red"][:2]
    others = [entry for entry in entries if entry.truth.stratum != "red"]
    with pytest.raises(DataError, match="fewer than 2 images to learn from"):
        outer_fold(Path(), [*others, *rare], targets_of([*others, *rare]), LABELS, 0, FOLDS, 0)
