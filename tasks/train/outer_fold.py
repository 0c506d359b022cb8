"""The folds that all candidates of a comparison are measured on, and the judgement of one of them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tasks.dataset.entries import ImageEntry
from tasks.dataset.files import read_image_bytes
from tasks.errors import DataError
from tasks.train.bundle_cost import TIMED_IMAGES, cost_of
from tasks.train.cross_validation import FoldAnswers, score_fold, write_out_of_fold
from tasks.train.heads.folds import group_numbers
from tasks.train.heads.model import Indices
from tasks.train.heads.targets import Targets, as_truths, divide
from tasks.train.records import BUNDLE_FOLDER, OUT_OF_FOLD_FILE, MeasuredFold
from tasks.vision.images import decode_rgb

MIN_IMAGES_TO_LEARN = 2
"""Of every label, in every fold."""


@dataclass(frozen=True, slots=True)
class OuterFold:
    """One division of a dataset's images.

    Attributes:
        number: from 0 on.
        count: number of all folds.
        root: folder to which references are relative.
        entries: all images, of the train and validation splits.
        labels: all labels, sorted.
        targets: what is learned of the images.
        groups: number of each image's group, which no division parts.
        train: places of the images to learn from.
        held_out: places of the images to judge.
    """

    number: int
    count: int
    root: Path
    entries: Sequence[ImageEntry]
    labels: Sequence[str]
    targets: Targets
    groups: Indices
    train: Indices
    held_out: Indices


@dataclass(frozen=True, slots=True)
class Learned:
    """What learning without a fold gave.

    Attributes:
        answers: to the images of the fold.
        seconds: that learning took.
        chosen: what it settled on, by name.
        options: those of the network that a search settled on.
        features_computed: number of images of which a feature was not known yet.
        drops: by kind of features, what each of its shuffles costs in macro-F1.
    """

    answers: FoldAnswers
    seconds: float
    chosen: Mapping[str, str | int | float]
    options: Mapping[str, str | int | float]
    features_computed: int = 0
    drops: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


def outer_fold(
    root: Path,
    entries: Sequence[ImageEntry],
    targets: Targets,
    labels: Sequence[str],
    number: int,
    folds: int,
    seed: int,
) -> OuterFold:
    """Return one of the folds: stratified by label, no group parted, the same for everything that is compared.

    Raises:
        DataError: when a label cannot be learned from and held out in every fold.
    """
    groups = group_numbers([entry.unit for entry in entries])
    pairs = divide(targets, folds, seed, groups)
    truths = as_truths(targets, len(labels))
    rarest = min(truths[train].sum(axis=0).min() for train, _ in pairs)
    if rarest < MIN_IMAGES_TO_LEARN:
        raise DataError(
            f"a fold leaves a label with fewer than {MIN_IMAGES_TO_LEARN} images to learn from; add images of the "
            "rarest label, or remove it"
        )
    train, held_out = pairs[number]
    return OuterFold(number, len(pairs), root, entries, labels, targets, groups, train, held_out)


def judge(folder: Path, fold: OuterFold, learned: Learned) -> MeasuredFold:
    """Judge the answers to a fold's images and write them down; a bundle in the folder is measured too."""
    images = [fold.entries[place] for place in fold.held_out]
    score = score_fold(learned.answers, fold.targets[fold.held_out], fold.labels)
    write_out_of_fold(folder / OUT_OF_FOLD_FILE, images, fold.labels, learned.answers.probabilities)
    cost = None
    if (folder / BUNDLE_FOLDER).is_dir():
        shown = [decode_rgb(read_image_bytes(fold.root, entry)) for entry in images[:TIMED_IMAGES]]
        cost = cost_of(folder / BUNDLE_FOLDER, shown)
    return MeasuredFold(
        fold=fold.number,
        folds=fold.count,
        images=len(images),
        macro_f1=score.macro_f1,
        accuracy=score.accuracy,
        fit_seconds=learned.seconds,
        features_computed=learned.features_computed,
        measured_at=round(time.time(), 3),
        chosen=dict(learned.chosen),
        options=dict(learned.options),
        drops=dict(learned.drops),
        ms_per_image=cost.ms_per_image if cost else None,
        bundle_bytes=cost.size if cost else None,
    )
