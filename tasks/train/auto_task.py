"""Training with the choice left open, as Prefect runs it: heads on features, and a network where the time covers it."""

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from flows.config import TrainConfig
from tasks import engine
from tasks.errors import EnvironmentFailed, KeeneyeError, TrainingError
from tasks.manifest.records import Manifest
from tasks.shards.runner import open_runner
from tasks.stores.disk import full_disk, is_nearly_full
from tasks.stores.home import Home
from tasks.train.deadline import OutOfTime
from tasks.train.head_task import (
    CLASSIFIER_FOLDS,
    exported_backbone,
    feature_sources,
    head_key,
    head_lesson,
    train_head,
    views_of,
)
from tasks.train.network_cost import forward_seconds, in_words, teaching_seconds
from tasks.train.network_task import EPOCHS, NETWORK_LIBRARIES, classifier_lesson, log_epoch, starting_weights
from tasks.train.records import TrainedModel, Trial
from tasks.train.requirements import require_classifiable
from tasks.train.stage_key import STAGE_VERSION
from tasks.train.weights import FirstWeights

if TYPE_CHECKING:
    from tasks.train.cross_validation import FoldAnswers

NETWORK = "finetune"
"""What is tried besides heads: of the networks, the one that learns most from many images."""
CARD = Path("/proc/driver/nvidia")
"""Where there is none, torch need not be asked for a graphics card."""
FAILURES = (TrainingError, ArithmeticError, RuntimeError, ValueError)
"""Of the network, which leave the heads as they are: torch raises the latter ones."""


def train_auto(home: Home, manifest: Manifest, config: TrainConfig) -> tuple[TrainedModel, Path]:
    """Learn the best head, and try a network beside it; returns the record and the entry that holds the model."""
    limit = config.training.limit_seconds
    if config.training.features or not limit:
        return train_head(home, manifest, config)
    require_classifiable(manifest)
    views, request = views_of(manifest, config), _network_request(config)
    key = head_key(
        "train",
        STAGE_VERSION,
        manifest,
        config,
        views,
        libraries=NETWORK_LIBRARIES,
        limit=limit,
        device=config.training.device,
        network=request.training.network.model_dump(),
        network_input_size=request.input_size,
    )
    work = home.work_path / key.digest[:32]

    def make(folder: Path) -> TrainedModel:
        # scikit-learn takes seconds to load; a run that finds its model does without.
        from tasks.train.learn import learn_and_answer

        with open_runner(home.store.root, config.shards) as runner:
            sources = feature_sources(home, config, views, runner)
            heads, answers = learn_and_answer(folder, head_lesson(manifest, config), sources, engine.progress)
        return _beside(home, manifest, request, folder, work, heads, answers, config)

    # A second process with the same request would write the same checkpoints: it waits, and finds the model.
    with home.lock(f"train-{key.digest[:32]}"):
        made = home.store.reuse_or_make(key, TrainedModel, make)
        shutil.rmtree(work, ignore_errors=True)
    return made


def _network_request(config: TrainConfig) -> TrainConfig:
    evaluation = config.evaluation.model_copy(update={"folds": config.evaluation.folds or CLASSIFIER_FOLDS})
    training = config.training.model_copy(update={"algorithm": NETWORK})
    return config.model_copy(update={"training": training, "evaluation": evaluation})


def _beside(
    home: Home,
    manifest: Manifest,
    request: TrainConfig,
    folder: Path,
    work: Path,
    heads: TrainedModel,
    answers: "list[FoldAnswers]",
    config: TrainConfig,
) -> TrainedModel:
    seconds = expected_seconds(home, manifest, request, config.input_size)
    if seconds > config.training.limit_seconds:
        return _without(heads, f"not tried: would take up to {in_words(seconds)}, and the limit is {_limit(config)}")
    try:
        # torch takes seconds to load; who tries no network does without.
        from tasks.train.classifier.beside_heads import contend

        work.mkdir(parents=True, exist_ok=True)
        # Of this training itself nothing is swept, however long ago it was killed.
        work.touch()
        home.sweep_work()
        weights = starting_weights(home, request)
        if not isinstance(weights, FirstWeights):
            raise TypeError(f"{NETWORK} beside heads starts from a package, not from {weights}")
        lesson, until = classifier_lesson(manifest, request, weights), time.time() + config.training.limit_seconds
        return contend(folder, work, lesson, heads, answers, until, engine.progress, log_epoch)
    except OutOfTime as stop:
        return _without(heads, f"stopped, for {stop}; the limit is {_limit(config)}")
    except FAILURES as error:
        _refuse_what_may_pass(error, home)
        reason = error.message if isinstance(error, KeeneyeError) else " ".join(str(error).split())
        return _without(heads, f"failed: {reason}")


def _refuse_what_may_pass(error: Exception, home: Home) -> None:
    """Raise what may end otherwise another time: what is kept is taken for the model of this request from then on."""
    import torch

    if full_disk(error, home.root) or is_nearly_full(home.root):
        raise error
    if isinstance(error, torch.OutOfMemoryError):
        raise EnvironmentFailed(
            f"the graphics card has no room for {NETWORK}: make room and start the same again, or leave the card alone "
            "with --training.device cpu, or networks with --training.limit 0s"
        ) from error


def expected_seconds(home: Home, manifest: Manifest, request: TrainConfig, head_size: int) -> float:
    """Return how long trying the network takes on this machine, at most (seconds); 0 with a graphics card.

    Args:
        home: holds the exported backbone.
        manifest: the images.
        request: to teach the network by.
        head_size: side of the square that the exported backbone sees (pixels).
    """
    if CARD.is_dir():
        from tasks.train.learning.device import choose_device

        if choose_device(request.training.device) != "cpu":
            # What an epoch takes there is seen after the first one.
            return 0.0
    return teaching_seconds(
        forward_seconds(exported_backbone(home, head_size), head_size),
        (request.input_size / head_size) ** 2,
        manifest.totals["train"] + manifest.totals["validation"],
        request.training.network.epochs or EPOCHS[NETWORK],
        # One for each fold, and one for all images where it is kept.
        (request.evaluation.folds or 0) + 1,
    )


def _without(heads: TrainedModel, note: str) -> TrainedModel:
    engine.logger().info("%s %s", NETWORK, note)
    return heads.model_copy(update={"trials": (*heads.trials, Trial(name=NETWORK, log_loss=None, note=note))})


def _limit(config: TrainConfig) -> str:
    return f"{config.training.limit} (training.limit)"
