"""The search for a network's options, on images held out inside the ones it is given.

Optuna proposes options, Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011, and the median
rule stops what lags behind: Golovin et al., "Google Vizier", KDD 2017. What was tried is kept in a journal, and each
trial's epochs in a checkpoint of its own, so that a killed search goes on where it was.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial, TrialState

from tasks.errors import TrainingError
from tasks.stores.content import digest_of
from tasks.train.classifier.fit import ADVICE, Regularisation
from tasks.train.classifier.network import Architecture
from tasks.train.classifier.samples import Samples
from tasks.train.classifier.teach import ClassifierLesson, Taught, export_kept_stages, teach
from tasks.train.heads.model import Indices
from tasks.train.learning.loop import Row, Schedule
from tasks.train.option_limits import MAX_FROZEN_STAGES, MAX_LEARNING_RATE

STUDY_FILE = "study.journal"
SECONDS = "seconds"
RATE_FACTOR = 3.0
"""The learning rate is searched from a third to three times the one asked for."""
UNPRUNED_TRIALS = 2
UNPRUNED_EPOCHS = 2

Options = Mapping[str, Any]
"""Fields of `training.network`."""


@dataclass(frozen=True, slots=True)
class Found:
    """The network with the lowest loss on what was held out, the options that gave it, and the time of all epochs."""

    taught: Taught
    lesson: ClassifierLesson
    options: Options
    seconds: float


def search_options(
    lesson: ClassifierLesson,
    samples: Samples,
    places: Indices,
    work: Path,
    trials: int,
    tell: Callable[[Row], None] = lambda row: None,
) -> Found:
    """Teach networks the images at some places, each with other options, and keep the best.

    The first trial takes the options as they were asked for. Every trial's proposal depends on the seed and on the
    trials before it alone, so that a search that was killed ends as if it was not.

    Args:
        lesson: what to learn; its options are those of the first trial.
        samples: all its images.
        places: those to learn from and to hold out.
        work: what a killed search goes on from.
        trials: how many options to try.
        tell: called with every epoch's row; what it raises ends the search for now.

    Raises:
        TrainingError: when the loss of every trial became infinite.
    """
    study = _study(work / STUDY_FILE, lesson)
    while (number := len(study.get_trials(deepcopy=False, states=_OVER))) < trials:
        study.sampler = optuna.samplers.TPESampler(seed=lesson.seed + number, n_startup_trials=max(2, trials // 2))
        trial = study.ask(space_of(lesson))
        _try(study, trial, lesson, samples, places, work, tell)
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        raise TrainingError(f"with none of the {trials} options that were tried the network learned; {ADVICE}")
    best = study.best_trial.params
    chosen = lesson_with(lesson, best)
    seconds = sum(trial.user_attrs[SECONDS] for trial in study.get_trials(deepcopy=False, states=_OVER))
    # It has learned: this reads its checkpoint.
    return Found(_teach(chosen, best, samples, places, work, lambda row: None), chosen, best, seconds)


def space_of(lesson: ClassifierLesson) -> dict[str, BaseDistribution]:
    """Return what is searched, by the names of the request's fields; what was asked for lies in it."""
    given = options_of(lesson)
    rate = given["learning_rate"]
    space: dict[str, BaseDistribution] = {
        "learning_rate": FloatDistribution(rate / RATE_FACTOR, min(rate * RATE_FACTOR, MAX_LEARNING_RATE), log=True),
        "augmentation": CategoricalDistribution(
            tuple({given["augmentation"]: 0, "light": 0, "standard": 0, "strong": 0})
        ),
        "mixup": CategoricalDistribution(_with(given["mixup"], 0.0, 0.2)),
    }
    if "layer_decay" in given:
        decay, frozen = given["layer_decay"], given["frozen_stages"]
        most = MAX_FROZEN_STAGES - (MAX_FROZEN_STAGES - frozen) % 2
        space["layer_decay"] = FloatDistribution(min(0.4, decay), max(0.9, decay))
        space["frozen_stages"] = IntDistribution(max(frozen - 2, frozen % 2), min(frozen + 2, most), step=2)
    return space


def options_of(lesson: ClassifierLesson) -> dict[str, Any]:
    """Return the options of a lesson that a search may change."""
    options: dict[str, Any] = {
        "learning_rate": lesson.schedule.learning_rate,
        "augmentation": lesson.schedule.augmentation,
        "mixup": lesson.regularisation.mixup,
    }
    if lesson.algorithm == "finetune" and lesson.architecture.is_pretrained:
        options["layer_decay"] = lesson.regularisation.layer_decay
        options["frozen_stages"] = lesson.architecture.frozen_stages
    return options


def lesson_with(lesson: ClassifierLesson, options: Options) -> ClassifierLesson:
    """Return the lesson with other options."""
    return replace(
        lesson,
        schedule=_changed(lesson.schedule, options),
        regularisation=_changed(lesson.regularisation, options),
        architecture=_changed(lesson.architecture, options),
    )


_Part = TypeVar("_Part", Schedule, Regularisation, Architecture)


def _changed(part: _Part, options: Options) -> _Part:
    own = {field.name for field in fields(part)}
    return replace(part, **{name: value for name, value in options.items() if name in own})


def _with(given: Any, *usual: Any) -> tuple[Any, ...]:  # noqa: ANN401 - values of any option
    return tuple(dict.fromkeys((given, *usual)))


_OVER = (TrialState.COMPLETE, TrialState.PRUNED)


def _study(journal: Path, lesson: ClassifierLesson) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED_TRIALS, n_warmup_steps=UNPRUNED_EPOCHS)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal))),
        study_name="options",
        pruner=pruner,
        direction="minimize",
        load_if_exists=True,
    )
    killed = study.get_trials(states=(TrialState.RUNNING,))
    if not study.trials:
        study.enqueue_trial(options_of(lesson))
    for trial in killed:
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)
    return study


def _try(
    study: optuna.Study,
    trial: Trial,
    lesson: ClassifierLesson,
    samples: Samples,
    places: Indices,
    work: Path,
    tell: Callable[[Row], None],
) -> None:
    rows = []

    def watched(row: Row) -> None:
        rows.append(row)
        tell(row)
        trial.report(row["validation_loss"], int(row["epoch"]))
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        _teach(lesson_with(lesson, trial.params), trial.params, samples, places, work, watched)
        state = TrialState.COMPLETE
    except (optuna.TrialPruned, TrainingError):
        # Options whose loss is no longer finite are no reason to give up the others.
        state = TrialState.PRUNED
    trial.set_user_attr(SECONDS, sum(row["seconds"] for row in rows))
    losses = [row["validation_loss"] for row in rows]
    study.tell(trial, min(losses) if state is TrialState.COMPLETE else None, state)


def _teach(
    lesson: ClassifierLesson,
    options: Options,
    samples: Samples,
    places: Indices,
    work: Path,
    tell: Callable[[Row], None],
) -> Taught:
    name = digest_of(dict(options))[:16]
    frozen = export_kept_stages(lesson, work / f"frozen-{lesson.architecture.frozen_stages}.onnx")
    return teach(lesson, samples, places, len(places), work / f"trial-{name}.pt", frozen, tell)
