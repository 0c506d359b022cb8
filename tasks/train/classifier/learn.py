"""From a divided dataset to a network's bundle: prepare, fit, calibrate, estimate, export, verify."""

import json
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from tasks.dataset.files import read_image_bytes
from tasks.train.build_bundle import require_parity
from tasks.train.classifier.graph import OUTPUT_NAME, Graph
from tasks.train.classifier.samples import Samples
from tasks.train.classifier.teach import ClassifierLesson, Taught, answers_of, export_kept_stages, prepare, teach
from tasks.train.classifier.thresholds import Judged, choose_thresholds
from tasks.train.cross_validation import (
    FoldAnswers,
    LabelEstimate,
    LearnFold,
    estimate_by_folds,
    write_out_of_fold,
)
from tasks.train.heads.folds import group_numbers
from tasks.train.heads.model import Indices
from tasks.train.learning.bundle import write_network_bundle
from tasks.train.learning.frozen import Frozen
from tasks.train.learning.loop import Row
from tasks.train.records import BUNDLE_FOLDER, HISTORY_FILE, OUT_OF_FOLD_FILE, Progress, TrainedModel
from tasks.vision.images import decode_rgb

PARITY_IMAGES = 32
CHECKPOINT_FILE = "checkpoint.pt"


def learn_classifier(
    folder: Path, work: Path, lesson: ClassifierLesson, progress: Progress, tell: Callable[[Row], None]
) -> TrainedModel:
    """Write the bundle, the figures of all epochs and the folds' answers into `folder`; returns the record.

    Args:
        folder: to fill.
        work: what a killed training goes on from.
        lesson: what to learn.
        progress: shows how far it is.
        tell: called with every epoch's row.

    Raises:
        RequestError: when the backbone is unknown, or its weights belong to another one.
        TrainingError: when learning fails, or the export differs from what was learned.
    """
    samples = prepare(work, lesson, progress)
    # Of all other users of torch in this process, none shall notice.
    with torch.random.fork_rng(devices=[]):
        frozen = export_kept_stages(lesson, work / "frozen.onnx")
        with progress("train network", "batches") as report:
            places = np.arange(len(samples))
            taught = teach(lesson, samples, places, len(lesson.train), work / CHECKPOINT_FILE, frozen, tell, report)
        estimate, pooled = _estimate(lesson, samples, work, frozen, progress)
    thresholds, sources = choose_thresholds(lesson.labels, [taught.judged, *([pooled] if pooled else [])])
    if pooled:
        write_out_of_fold(folder / OUT_OF_FOLD_FILE, lesson.images, lesson.labels, pooled.probabilities)
    chosen = taught.chosen(sources)
    digest = write_bundle(folder / BUNDLE_FOLDER, lesson, taught, thresholds, chosen)
    lines = [json.dumps(row) for row in taught.fitted.history]
    (folder / HISTORY_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return TrainedModel(
        bundle_digest=digest,
        input_size=lesson.steps[-2].width,
        seed=lesson.seed,
        chosen={"algorithm": lesson.algorithm, **chosen},
        cross_validated=estimate,
        parity_difference=_parity(folder / BUNDLE_FOLDER, lesson, samples, taught),
    )


def _estimate(
    lesson: ClassifierLesson, samples: Samples, work: Path, frozen: Frozen | None, progress: Progress
) -> tuple[LabelEstimate | None, Judged | None]:
    if not lesson.folds:
        return None, None

    learn = fold_learner(lesson, samples, work, frozen)
    groups = group_numbers([entry.unit for entry in lesson.images])
    with progress("cross-validate", "folds") as report:
        estimate, pooled = estimate_by_folds(
            learn, samples.targets, lesson.labels, lesson.folds, lesson.seed, report, groups
        )
    return estimate, Judged("cross-validation", pooled, samples.truths)


def fold_learner(
    lesson: ClassifierLesson,
    samples: Samples,
    work: Path,
    frozen: Frozen | None,
    tell: Callable[[int, Row], None] = lambda fold, row: None,
) -> LearnFold:
    """Return what teaches a network without a fold, going on from its checkpoint, and answers the fold's images.

    Args:
        lesson: what to learn.
        samples: all its images.
        work: folder of a checkpoint for each fold.
        frozen: runs the stages that keep their weights; None runs them as the rest.
        tell: called with the fold and every epoch's row; what it raises ends learning for now.
    """

    def learn(number: int, train: Indices, held_out: Indices) -> FoldAnswers:
        checkpoint = work / f"fold-{number}.pt"
        taught = teach(lesson, samples, train, len(train), checkpoint, frozen, lambda row: tell(number, row))
        thresholds, _ = choose_thresholds(lesson.labels, [taught.judged])
        return FoldAnswers(thresholds, answers_of(taught, samples.take(held_out), lesson))

    return learn


def write_bundle(
    folder: Path,
    lesson: ClassifierLesson,
    taught: Taught,
    thresholds: Mapping[str, float],
    chosen: Mapping[str, str | int | float],
) -> str:
    """Write a taught network's bundle into an empty folder; returns its digest."""
    network = taught.fitted.network
    return write_network_bundle(
        folder,
        network,
        Graph(network, taught.temperature),
        role="network",
        input_size=lesson.steps[-2].width,
        output_names=[OUTPUT_NAME],
        task="classification",
        labels=lesson.labels,
        labels_per_image="any" if lesson.architecture.is_multi_label else None,
        thresholds=thresholds,
        steps=lesson.steps,
        dataset_digest=lesson.dataset_digest,
        provenance=_provenance(lesson, taught) | dict(chosen),
    )


def _parity(bundle: Path, lesson: ClassifierLesson, samples: Samples, taught: Taught) -> float:
    """Compare the bundle with the network in torch, on images spread over all labels."""
    order = np.lexsort(samples.truths.T)
    places = order[np.linspace(0, len(order) - 1, min(PARITY_IMAGES, len(order))).astype(np.intp)]
    images = [decode_rgb(read_image_bytes(lesson.root, lesson.images[place])) for place in places]
    return require_parity(bundle, images, answers_of(taught, samples.take(places), lesson))


def _provenance(lesson: ClassifierLesson, taught: Taught) -> dict[str, str | int | float]:
    return {
        "keeneye": version("keeneye"),
        "torch": version("torch"),
        "torchvision": version("torchvision"),
        "timm": version("timm"),
        "dataset": lesson.dataset_name,
        "algorithm": lesson.algorithm,
        "backbone": lesson.architecture.backbone,
        "frozen_stages": taught.fitted.network.frozen_stages,
        **lesson.origin,
        "augmentation": lesson.schedule.augmentation,
        "mixup": lesson.regularisation.mixup,
        "seed": lesson.seed,
        "training_images": taught.learned_images,
    }
