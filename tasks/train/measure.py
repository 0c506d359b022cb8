"""One fold of a classifier on features: learned from the other folds, judged on images that it did not see."""

import time
from functools import partial
from pathlib import Path

from tasks.train.candidates import fit_best
from tasks.train.cross_validation import FoldAnswers, fit_fold
from tasks.train.deadline import require_time, within
from tasks.train.gather import FeatureSources, gather_features
from tasks.train.importance import drops_of, shuffles_of
from tasks.train.learn import Lesson, require_variety, write_classifier
from tasks.train.outer_fold import Learned, judge, outer_fold
from tasks.train.records import BUNDLE_FOLDER, MeasuredFold, Progress


def measure_classifier(
    folder: Path, lesson: Lesson, sources: FeatureSources, views: int, number: int, progress: Progress, until: float
) -> MeasuredFold:
    """Learn without one fold and judge its images; of the first fold the bundle is made and measured too.

    Args:
        folder: to fill.
        lesson: what is learned; its train and validation images are divided into its folds.
        sources: what features come from.
        views: number of views that are learned from besides the image itself; the sources have as many or more.
        number: of the fold, from 0 on.
        progress: shows how far it is.
        until: when it must be over (seconds since 1970).

    Raises:
        DataError: when there is too little of a label, or all features are the same.
        OutOfTime: when it is over before the features are there, or a head is fitted; features made by then are kept.
    """
    entries = [*lesson.train, *lesson.validation]
    fold = outer_fold(
        lesson.root, entries, lesson.targets(entries), lesson.labels, number, lesson.folds, lesson.search.seed
    )
    features = gather_features(lesson.search.kinds, lesson.root, entries, sources, within(progress, until))
    features = features.first_views(1 + views)
    require_variety(lesson.search, features)
    check, train = partial(require_time, until, "before all was fitted"), fold.train
    fit = partial(fit_best, lesson.search, check=check)
    start = time.perf_counter()
    classifier, thresholds = fit_fold(fit, features[train], fold.targets[train], fold.groups[train], lesson.labels)
    seconds = time.perf_counter() - start
    held_out, truth = features[fold.held_out], fold.targets[fold.held_out]
    answers = FoldAnswers(thresholds, classifier.probabilities(held_out))
    shuffles = shuffles_of(len(entries))
    drops = drops_of(classifier, thresholds, held_out, truth, lesson.labels, shuffles, lesson.search.seed)
    if number == 0:
        write_classifier(folder / BUNDLE_FOLDER, lesson, sources, classifier, thresholds, len(train))
    computed = sum(sources.computed.values())
    return judge(folder, fold, Learned(answers, seconds, classifier.chosen, {}, computed, drops))
