"""One fold of a network that classifies: taught by the other folds, judged on images that it did not see."""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from tasks.train.classifier.learn import write_bundle
from tasks.train.classifier.samples import Samples
from tasks.train.classifier.search import Found, search_options
from tasks.train.classifier.teach import ClassifierLesson, answers_of, export_kept_stages, teach
from tasks.train.classifier.thresholds import choose_thresholds
from tasks.train.cross_validation import FoldAnswers
from tasks.train.deadline import Deadline
from tasks.train.learning.loop import Row, Schedule
from tasks.train.outer_fold import Learned, OuterFold, judge, outer_fold
from tasks.train.records import BUNDLE_FOLDER, MeasuredFold


def measure_network(
    folder: Path,
    work: Path,
    samples: Samples,
    lesson: ClassifierLesson,
    number: int,
    trials: int,
    until: float,
) -> MeasuredFold:
    """Teach without one fold and judge its images; of the first fold the bundle is made and measured too.

    Args:
        folder: to fill.
        work: what a killed measurement goes on from.
        samples: all images of the lesson (`prepare`).
        lesson: what is learned; its train and validation images are divided into its folds.
        number: of the fold, from 0 on.
        trials: how many options to try, on images held out inside the fold; 1 takes those of the lesson.
        until: when all folds must be over (seconds since 1970).

    Raises:
        OutOfTime: when the folds from this one on cannot be; what was learned is gone on from.
    """
    fold = outer_fold(lesson.root, lesson.images, samples.targets, lesson.labels, number, lesson.folds, lesson.seed)
    # Of all other users of torch in this process, none shall notice.
    with torch.random.fork_rng(devices=[]):
        found = _learn(lesson, samples, fold, work, trials, deadline_of(fold, lesson.schedule, until).check)
        thresholds, sources = choose_thresholds(lesson.labels, [found.taught.judged])
        answers = FoldAnswers(thresholds, answers_of(found.taught, samples.take(fold.held_out), lesson))
        chosen = {"algorithm": lesson.algorithm, **found.taught.chosen(sources), **found.options}
        if number == 0:
            write_bundle(folder / BUNDLE_FOLDER, found.lesson, found.taught, thresholds, chosen)
    return judge(folder, fold, Learned(answers, found.seconds, chosen, found.options))


def deadline_of(fold: OuterFold, schedule: Schedule, until: float) -> Deadline:
    """Return when the folds from this one on must be over, of which there may be fewer than were asked for."""
    least = min(schedule.epochs, schedule.patience + 1)
    return Deadline(until, least, fold.count - fold.number, since=time.time())


def _learn(
    lesson: ClassifierLesson, samples: Samples, fold: OuterFold, work: Path, trials: int, tell: Callable[[Row], None]
) -> Found:
    if trials > 1:
        return search_options(lesson, samples, fold.train, work, trials, tell)
    frozen = export_kept_stages(lesson, work / "frozen.onnx")
    taught = teach(lesson, samples, fold.train, len(fold.train), work / "checkpoint.pt", frozen, tell)
    return Found(taught, lesson, {}, taught.seconds)
