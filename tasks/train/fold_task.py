"""One fold of one way to train, as Prefect runs it: what a comparison measures its candidates by."""

import shutil
from contextlib import AbstractContextManager
from pathlib import Path

from flows.config import TrainConfig
from flows.provision_config import training_limit
from tasks import engine
from tasks.manifest.records import Manifest
from tasks.shards.runner import open_runner
from tasks.stores.content import StageKey, digest_of
from tasks.stores.home import Home
from tasks.train.deadline import OutOfTime, within
from tasks.train.earlier import EarlierVersion
from tasks.train.head_task import (
    feature_sources,
    head_key,
    head_lesson,
    preprocessing_of,
    views_for,
    views_of,
)
from tasks.train.network_task import EPOCHS, NETWORK_LIBRARIES, classifier_lesson, starting_weights
from tasks.train.records import MeasuredFold, StoppedFold
from tasks.train.requirements import require_classifiable, require_comparable
from tasks.train.stage_key import STAGE_VERSION, inputs_of, shape_of

FOLD_VERSION = "2"


@engine.stage("measure fold", run_name="{candidate}, fold {number}", limit=training_limit())
def measure_fold(
    home: Home,
    manifest: Manifest,
    config: TrainConfig,
    candidate: str,
    number: int,
    *,
    trials: int,
    until: float,
    with_views: bool,
) -> MeasuredFold | StoppedFold:
    """Learn without one of the folds of train and validation images, and judge its images; the test split is not read.

    Args:
        home: where it is kept.
        manifest: the images.
        config: how to train; `evaluation.folds` says how many folds there are.
        candidate: its name, for people.
        number: of the fold, from 1 on.
        trials: how many options of a network to try inside the fold.
        until: when measuring must be over (seconds since 1970).
        with_views: whether others need the features of further views of the images, which are then computed at once.
    """
    require_classifiable(manifest)
    require_comparable(config.training.algorithm, manifest.totals["train"] + manifest.totals["validation"])
    if config.training.algorithm in EPOCHS:
        record = _measure_network(home, manifest, config, number - 1, trials, until)
    else:
        record = _measure_head(home, manifest, config, number - 1, until, with_views=with_views)
    engine.logger().info("%s, fold %d: %s", candidate, number, record.in_words)
    return record


def pixels_path(home: Home, manifest: Manifest, config: TrainConfig) -> Path:
    """Return the folder of the framed images that networks share while they are measured."""
    steps = [step.model_dump(mode="json") for step in preprocessing_of(config)]
    return home.work_path / f"pixels-{digest_of([manifest.manifest_digest, manifest.roots['train'], steps])[:32]}"


def shared_pixels(home: Home, manifest: Manifest, config: TrainConfig) -> AbstractContextManager[None]:
    """Keep the framed images that networks share, those of other comparisons too; the last one removes them."""
    return home.shared(pixels_path(home, manifest, config))


def _measure_head(
    home: Home, manifest: Manifest, config: TrainConfig, fold: int, until: float, *, with_views: bool
) -> MeasuredFold | StoppedFold:
    views = views_of(manifest, config)
    key = head_key("fold", f"{FOLD_VERSION}.{STAGE_VERSION}", manifest, config, views, fold=fold)

    def make(folder: Path) -> MeasuredFold:
        # scikit-learn takes seconds to load; a fold that is known does without.
        from tasks.train.measure import measure_classifier

        with open_runner(home.store.root, config.shards) as runner:
            sources = feature_sources(home, config, views_for(manifest) if with_views else views, runner)
            lesson = head_lesson(manifest, config)
            return measure_classifier(folder, lesson, sources, len(views), fold, engine.progress, until)

    try:
        record, path = home.store.reuse_or_make(key, MeasuredFold, make)
    except OutOfTime as stop:
        return StoppedFold(reason=str(stop))
    return record.model_copy(update={"entry_path": str(path)})


def _measure_network(
    home: Home, manifest: Manifest, config: TrainConfig, fold: int, trials: int, until: float
) -> MeasuredFold | StoppedFold:
    found, steps, folds = starting_weights(home, config), preprocessing_of(config), config.evaluation.folds or 0
    key = StageKey(
        stage="fold",
        version=f"{FOLD_VERSION}.{STAGE_VERSION}",
        inputs={**inputs_of(manifest), "weights": found.digest},
        config={
            "fold": fold,
            "trials": trials,
            "labels_per_image": manifest.labels_per_image,
            "training": config.training.model_dump(include={"algorithm", "network", "seed", "weights"}),
            **shape_of(steps, folds),
        },
        libraries=(*NETWORK_LIBRARIES, "optuna"),
    )
    work, pixels = home.work_path / key.digest[:32], pixels_path(home, manifest, config)

    def make(folder: Path) -> MeasuredFold:
        # torch takes seconds to load; a fold that is known does without.
        from tasks.train.classifier.measure import measure_network
        from tasks.train.classifier.teach import prepare

        for place in (work, pixels):
            place.mkdir(parents=True, exist_ok=True)
            # Of this measurement itself nothing is swept, however long ago it was killed.
            place.touch()
        home.sweep_work()
        weights = found.fetch(home, work / "earlier", config.task) if isinstance(found, EarlierVersion) else found
        lesson = classifier_lesson(manifest, config, weights)
        # Another comparison may be framing the same images: it is waited for, and its file taken.
        with home.lock(pixels.name):
            samples = prepare(pixels, lesson, within(engine.progress, until))
        return measure_network(folder, work, samples, lesson, fold, trials, until)

    # A second process with the same request would write the same checkpoints: it waits, and finds the fold.
    with home.lock(f"fold-{key.digest[:32]}"):
        try:
            record, path = home.store.reuse_or_make(key, MeasuredFold, make)
        except OutOfTime as stop:
            return StoppedFold(reason=str(stop))
        shutil.rmtree(work, ignore_errors=True)
    return record.model_copy(update={"entry_path": str(path)})
