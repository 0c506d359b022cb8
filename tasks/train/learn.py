"""From a divided dataset to a finished bundle: embed, fit, choose thresholds, estimate, assemble, verify."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from tasks.dataset.entries import ImageEntry
from tasks.dataset.files import read_image_bytes
from tasks.errors import DataError
from tasks.metrics.importance import pool_drops
from tasks.train.backbone import BACKBONE_NAME
from tasks.train.build_bundle import build_bundle, require_head_parity, require_parity
from tasks.train.candidates import Classifier, Search, fit_best, listed
from tasks.train.cross_validation import FoldAnswers, cross_validate, write_out_of_fold
from tasks.train.feature_table import FeatureTable
from tasks.train.gather import FeatureSources, gather_features
from tasks.train.heads.folds import group_numbers
from tasks.train.heads.model import Indices
from tasks.train.heads.scaling import Scaling
from tasks.train.heads.targets import Targets, as_truths, targets_of
from tasks.train.heads.thresholds import MIN_VALIDATION_IMAGES, choose_thresholds
from tasks.train.importance import drops_of, shuffles_of
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
        search: what is tried.
        folds: of the cross-validated estimate.
        is_multi_label: whether an image may have several labels, or none.
    """

    dataset_name: str
    dataset_digest: str
    labels: Sequence[str]
    root: Path
    train: Sequence[ImageEntry]
    validation: Sequence[ImageEntry]
    search: Search
    folds: int
    is_multi_label: bool = False

    def targets(self, entries: Sequence[ImageEntry]) -> Targets:
        """Return what is to be learned of images."""
        return targets_of(entries, self.labels, is_multi_label=self.is_multi_label)


def learn(folder: Path, lesson: Lesson, sources: FeatureSources, progress: Progress) -> TrainedModel:
    """Write the bundle and the out-of-fold predictions into `folder`; returns the record."""
    return learn_and_answer(folder, lesson, sources, progress)[0]


def learn_and_answer(
    folder: Path, lesson: Lesson, sources: FeatureSources, progress: Progress
) -> tuple[TrainedModel, list[FoldAnswers]]:
    """Do as `learn` does; returns the answers to the images of each fold of the estimate too."""
    entries = [*lesson.train, *lesson.validation]
    features = gather_features(lesson.search.kinds, lesson.root, entries, sources, progress)
    require_variety(lesson.search, features)
    targets, labels = lesson.targets(entries), lesson.labels
    groups = group_numbers([entry.unit for entry in entries])
    classifier, thresholds, learned = fit_and_choose(
        lesson.search, features, targets, groups, len(lesson.train), labels
    )
    fit, seed = partial(fit_best, lesson.search), lesson.search.seed
    drops, shuffles = [], shuffles_of(len(entries))

    def watch(fitted: Classifier, cuts: Mapping[str, float], held_out: Indices) -> None:
        drops.append(drops_of(fitted, cuts, features[held_out], targets[held_out], labels, shuffles, seed))

    answers: list[FoldAnswers] = []
    with progress("cross-validate", "folds") as report:
        estimate, pooled = cross_validate(
            fit, features, targets, labels, lesson.folds, seed, report, groups, watch, answers.append
        )
    write_out_of_fold(folder / OUT_OF_FOLD_FILE, entries, lesson.labels, pooled)
    digest = write_classifier(folder / BUNDLE_FOLDER, lesson, sources, classifier, thresholds, learned)
    sample = [decode_rgb(read_image_bytes(lesson.root, entry)) for entry in entries[:PARITY_IMAGES]]
    expected = classifier.probabilities(features[: len(sample)])
    parity = max(
        require_head_parity(folder / BUNDLE_FOLDER, classifier, features),
        require_parity(folder / BUNDLE_FOLDER, sample, expected),
    )
    model = TrainedModel(
        bundle_digest=digest,
        input_size=sources.steps[-2].width,
        seed=seed,
        chosen=dict(classifier.chosen),
        trials=classifier.trials,
        cross_validated=estimate.model_copy(update={"importances": pool_drops(drops)}),
        parity_difference=parity,
    )
    return model, answers


def write_classifier(
    folder: Path,
    lesson: Lesson,
    sources: FeatureSources,
    classifier: Classifier,
    thresholds: Mapping[str, float],
    learned_images: int,
) -> str:
    """Write a fitted classifier's bundle into an empty folder; returns its digest."""
    return build_bundle(
        folder,
        backbone=sources.backbone,
        classifier=classifier,
        labels=lesson.labels,
        labels_per_image="any" if lesson.is_multi_label else None,
        thresholds=thresholds,
        steps=sources.steps,
        dataset_digest=lesson.dataset_digest,
        provenance={
            "keeneye": version("keeneye"),
            "dataset": lesson.dataset_name,
            **({"backbone": BACKBONE_NAME} if classifier.backbone_features else {}),
            **classifier.chosen,
            "seed": lesson.search.seed,
            "training_images": learned_images,
        },
    )


def require_variety(search: Search, features: FeatureTable) -> None:
    """Refuse images whose features are all the same.

    Raises:
        DataError: when they are.
    """
    sets = [features.see(kinds, features.learn(kinds), views=1)[:, 0] for kinds in search.feature_sets]
    if not any(Scaling.of(rows).inverse_spread.any() for rows in sets):
        raise DataError(
            f"every value of {listed(search.kinds)} is the same for all {len(features)} training images, so nothing "
            "can be learned from them; images of one colour, for instance, have no outlines: choose other "
            "training.features, or look at the images"
        )


def fit_and_choose(
    search: Search, features: FeatureTable, targets: Targets, groups: Indices, train_images: int, labels: Sequence[str]
) -> tuple[Classifier, dict[str, float], int]:
    """Fit the classifier and choose thresholds; the first `train_images` rows are the train split.

    When no label has enough validation images for a threshold, all thresholds come from out-of-fold predictions
    anyway; the validation images are then learned from too, which is what each fold of the estimate does.

    Returns:
        The classifier, the thresholds by label, and the number of images learned from.
    """
    truths = as_truths(targets, len(labels))
    held_counts = truths[train_images:].sum(axis=0)
    learned = train_images if held_counts.max() >= MIN_VALIDATION_IMAGES else len(truths)
    classifier = fit_best(search, features[:learned], targets[:learned], groups[:learned])
    validation = (classifier.probabilities(features[learned:]), truths[learned:])
    return classifier, choose_thresholds((classifier.out_of_fold, truths[:learned]), validation, labels), learned
