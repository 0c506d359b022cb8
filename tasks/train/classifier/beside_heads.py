"""A network beside the heads that `auto` tried: taught on the same folds, and kept where it is better."""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from tasks.train.classifier.learn import fold_learner, learn_classifier
from tasks.train.classifier.teach import ClassifierLesson, export_kept_stages, prepare
from tasks.train.contest import chosen_by_the_other_folds, fold_losses
from tasks.train.cross_validation import FoldAnswers, estimate_of, learn_folds, write_out_of_fold
from tasks.train.deadline import Deadline, within
from tasks.train.heads.folds import group_numbers
from tasks.train.heads.targets import divide
from tasks.train.learning.loop import Row
from tasks.train.records import BUNDLE_FOLDER, HISTORY_FILE, OUT_OF_FOLD_FILE, Progress, TrainedModel, Trial
from tasks.train.surely_better import is_better


def contend(
    folder: Path,
    work: Path,
    lesson: ClassifierLesson,
    heads: TrainedModel,
    heads_answers: Sequence[FoldAnswers],
    until: float,
    progress: Progress,
    tell: Callable[[Row], None],
) -> TrainedModel:
    """Teach the network on the folds that the heads answered; where it is better, it takes the place of their bundle.

    Args:
        folder: holds what the heads made, and then what is kept.
        work: what a killed training goes on from.
        lesson: what the network is to learn.
        heads: the best of the heads.
        heads_answers: to the images of each fold.
        until: when it must be over (seconds since 1970); teaching on all images at the end is counted in.
        progress: shows how far it is.
        tell: called with the row of every epoch, those in folds included.

    Raises:
        OutOfTime: when it cannot be over by then. What the heads made stays as it is.
        KeeneyeError: when learning fails. Likewise.
    """
    samples = prepare(work, lesson, within(progress, until))
    groups = group_numbers([entry.unit for entry in lesson.images])
    # Those of the heads' estimate, too.
    splits = divide(samples.targets, lesson.folds, lesson.seed, groups)
    least, start = min(lesson.schedule.epochs, lesson.schedule.patience + 1), time.time()

    def watch(fold: int, row: Row) -> None:
        tell(row)
        Deadline(until, least, len(splits) - fold + 1, start).check(row)

    # Of all other users of torch in this process, none shall notice.
    with torch.random.fork_rng(devices=[]), progress("teach a network in the folds", "folds") as report:
        frozen = export_kept_stages(lesson, work / "frozen.onnx")
        answers = learn_folds(fold_learner(lesson, samples, work, frozen, watch), splits, report)
    simple, other = (fold_losses(one, splits, samples.targets) for one in (heads_answers, answers))
    wins = is_better(simple, other)
    rows = (
        Trial(name=f"the best of these, chosen anew in {len(splits)} folds", log_loss=round(float(simple.mean()), 4)),
        Trial(name=f"{lesson.algorithm}, in the same folds", log_loss=round(float(other.mean()), 4), kept=wins),
    )
    if not wins:
        return heads.model_copy(update={"trials": (*heads.trials, *rows)})
    made = work / "model"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    # The folds are read from their checkpoints.
    network = learn_classifier(made, work, lesson, progress, tell)
    shutil.rmtree(folder / BUNDLE_FOLDER)
    for name in (BUNDLE_FOLDER, HISTORY_FILE):
        shutil.move(made / name, folder / name)
    chosen = [
        mine if is_mine else theirs
        for is_mine, mine, theirs in zip(chosen_by_the_other_folds(simple, other), answers, heads_answers, strict=True)
    ]
    estimate, pooled = estimate_of(chosen, splits, samples.targets, lesson.labels)
    write_out_of_fold(folder / OUT_OF_FOLD_FILE, lesson.images, lesson.labels, pooled)
    beaten = [one.model_copy(update={"kept": False}) for one in heads.trials]
    return network.model_copy(update={"cross_validated": estimate, "trials": (*beaten, *rows)})
