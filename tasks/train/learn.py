"""From a divided dataset to a finished bundle: embed, fit, choose thresholds, estimate, assemble, verify."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

from tasks.bundle.preprocessing import ClassifierSteps
from tasks.dataset.entries import ImageEntry
from tasks.dataset.files import read_image_bytes
from tasks.train.backbone import BACKBONE_NAME
from tasks.train.build_bundle import build_bundle, require_head_parity, require_parity
from tasks.train.candidates import Classifier, Search, fit_best
from tasks.train.cross_validation import cross_validate, write_out_of_fold
from tasks.train.feature_cache import FeatureCache, Features
from tasks.train.heads.model import Indices
from tasks.train.heads.thresholds import MIN_VALIDATION_IMAGES, choose_thresholds, one_label_each
from tasks.train.records import BUNDLE_FOLDER, OUT_OF_FOLD_FILE, Progress, TrainedModel
from tasks.vision.images import decode_rgb

PARITY_IMAGES = 32


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is to be learned, and how.

    Attributes:
        dataset_name: the dataset.
        dataset_digest: its version.
        labels: all labels, sorted.
        root: folder to which references are relative.
        train: images to learn from.
        validation: images to choose thresholds on.
        steps: preprocessing.
        search: what is tried.
        folds: of the cross-validated estimate.
    """

    dataset_name: str
    dataset_digest: str
    labels: Sequence[str]
    root: Path
    train: Sequence[ImageEntry]
    validation: Sequence[ImageEntry]
    steps: ClassifierSteps
    search: Search
    folds: int


def learn(folder: Path, lesson: Lesson, backbone: Path, cache: FeatureCache, progress: Progress) -> TrainedModel:
    """Write the bundle and the out-of-fold predictions into `folder`; returns the record."""
    entries = [*lesson.train, *lesson.validation]
    with progress("embed images", "images") as report:
        features = cache.features(lesson.root, entries, report)
    y = np.array([lesson.labels.index(entry.truth.stratum) for entry in entries], dtype=np.intp)
    classifier, thresholds, learned = fit_and_choose(lesson.search, features, y, len(lesson.train), lesson.labels)
    fit, seed = partial(fit_best, lesson.search), lesson.search.seed
    with progress("cross-validate", "folds") as report:
        estimate, pooled = cross_validate(fit, features, y, lesson.labels, lesson.folds, seed, report)
    write_out_of_fold(folder / OUT_OF_FOLD_FILE, entries, lesson.labels, pooled)
    digest = build_bundle(
        folder / BUNDLE_FOLDER,
        backbone=backbone,
        classifier=classifier,
        labels=lesson.labels,
        thresholds=thresholds,
        steps=lesson.steps,
        dataset_digest=lesson.dataset_digest,
        provenance={
            "keeneye": version("keeneye"),
            "dataset": lesson.dataset_name,
            "backbone": BACKBONE_NAME,
            **classifier.chosen,
            "seed": seed,
            "training_images": learned,
        },
    )
    sample = [decode_rgb(read_image_bytes(lesson.root, entry)) for entry in entries[:PARITY_IMAGES]]
    expected = classifier.probabilities(features[: len(sample)])
    parity = max(
        require_head_parity(folder / BUNDLE_FOLDER, classifier, features),
        require_parity(folder / BUNDLE_FOLDER, sample, expected),
    )
    return TrainedModel(
        bundle_digest=digest,
        input_size=lesson.steps[-2].width,
        seed=seed,
        chosen=dict(classifier.chosen),
        trials=classifier.trials,
        cross_validated=estimate,
        parity_difference=parity,
    )


def fit_and_choose(
    search: Search, features: Features, y: Indices, train_images: int, labels: Sequence[str]
) -> tuple[Classifier, dict[str, float], int]:
    """Fit the classifier and choose thresholds; the first `train_images` rows are the train split.

    When no label has enough validation images for a threshold, all thresholds come from out-of-fold predictions
    anyway; the validation images are then learned from too, which is what each fold of the estimate does.

    Returns:
        The classifier, the thresholds by label, and the number of images learned from.
    """
    held_counts = np.bincount(y[train_images:], minlength=len(labels))
    learned = train_images if held_counts.max() >= MIN_VALIDATION_IMAGES else len(y)
    classifier = fit_best(search, features[:learned], y[:learned])
    truths = one_label_each(y, len(labels))
    validation = (classifier.probabilities(features[learned:]), truths[learned:])
    return classifier, choose_thresholds((classifier.out_of_fold, truths[:learned]), validation, labels), learned
