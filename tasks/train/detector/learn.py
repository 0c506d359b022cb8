"""From a divided dataset to a detector's bundle: prepare, fit, estimate, choose thresholds, export, verify."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torchvision.models.detection import FCOS

from tasks.bundle.format import BoxDecoding
from tasks.bundle.preprocessing import DetectorSteps
from tasks.dataset.entries import ImageEntry
from tasks.dataset.files import read_image_bytes
from tasks.errors import DataError, TrainingError
from tasks.metrics.detection import CrossValidatedDetection, measure_detections
from tasks.metrics.matching import rank_boxes
from tasks.train.detector.export import require_parity, write_bundle
from tasks.train.detector.fit import fit
from tasks.train.detector.folds import cross_validate, fold_places
from tasks.train.detector.network import STRIDES, Architecture, build_network
from tasks.train.detector.predict import Detections, detect
from tasks.train.detector.samples import Samples, prepare_samples
from tasks.train.detector.thresholds import Judged, choose_thresholds
from tasks.train.detector.weights import give_first_weights
from tasks.train.learning.frozen import Frozen, export_frozen
from tasks.train.learning.lesson import NetworkLesson
from tasks.train.learning.loop import Fitted, Row
from tasks.train.records import BUNDLE_FOLDER, HISTORY_FILE, Progress, TrainedModel
from tasks.vision.images import decode_rgb

PARITY_IMAGES = 8
NMS_IOU = 0.4
"""Lower than is usual for scenes full of things: a defect that is told twice is a false alarm."""
MERGE_POWER = 6.0
"""With few images the places of boxes are learned last: merging raises the mAP over all overlaps (from 0.26 to
0.28, four trainings on 44 boxes); low powers also move boxes that were right, high ones move none."""
CENTRENESS_WEIGHT = 1 / 3
"""Less than FCOS's own half: after so few images the centreness is the least certain of the outputs."""
DECODING = BoxDecoding(strides=STRIDES, centreness_weight=CENTRENESS_WEIGHT, nms_iou=NMS_IOU, merge_power=MERGE_POWER)
CHECKPOINT_FILE = "checkpoint.pt"


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorLesson(NetworkLesson):
    """What a detector is to learn, and how.

    Attributes:
        steps: preprocessing.
        architecture: what the network is made of.
    """

    steps: DetectorSteps
    architecture: Architecture


def learn_detector(
    folder: Path, work: Path, lesson: DetectorLesson, progress: Progress, tell: Callable[[Row], None]
) -> TrainedModel:
    """Write the bundle and the figures of all epochs into `folder`; returns the record.

    Args:
        folder: to fill.
        work: what a killed training goes on from; emptied by the caller when all is done.
        lesson: what to learn.
        progress: shows how far it is.
        tell: called with the figures of every epoch.

    Raises:
        DataError: when the images cannot be divided into folds.
        TrainingError: when learning fails, the detector finds nothing, or its export differs from it.
    """
    if lesson.folds:
        # Refuses before hours of learning what it would refuse after them.
        fold_places(lesson.images, lesson.folds, lesson.seed)
    work.mkdir(parents=True, exist_ok=True)
    with progress("prepare images", "images") as report:
        samples = prepare_samples(work / "samples.npy", lesson.root, lesson.images, lesson.labels, lesson.steps, report)
    train = samples.take(range(len(lesson.train)))
    validation = samples.take(range(len(lesson.train), len(samples)))
    # Of all other users of torch in this process, none shall notice.
    with torch.random.fork_rng(devices=[]):
        frozen = _export_frozen(lesson, work / "frozen.onnx")
        with progress("train detector", "batches") as report:
            fitted, reused = _fit(lesson, train, validation, work / CHECKPOINT_FILE, frozen, tell, report)
        estimate, pooled = _estimate(lesson, samples, work, frozen, progress)
    judged = _judged(lesson, fitted.network, frozen, train, validation, pooled)
    _require_detections(judged[-1], lesson.labels)
    thresholds, sources = choose_thresholds(lesson.labels, judged)
    chosen = _chosen(fitted, sources) | reused
    digest = write_bundle(
        folder / BUNDLE_FOLDER,
        fitted.network,
        labels=lesson.labels,
        thresholds=thresholds,
        steps=lesson.steps,
        decoding=DECODING,
        dataset_digest=lesson.dataset_digest,
        provenance=_provenance(lesson) | chosen,
    )
    lines = [json.dumps(row) for row in fitted.history]
    (folder / HISTORY_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    sample = [decode_rgb(read_image_bytes(lesson.root, entry)) for entry in _sample(lesson.train)]
    scores, pixels = require_parity(
        folder / BUNDLE_FOLDER, fitted.network, sample, lesson.labels, lesson.steps, DECODING
    )
    return TrainedModel(
        bundle_digest=digest,
        input_size=lesson.steps[-2].size,
        seed=lesson.seed,
        chosen=chosen | {"parity_pixels": pixels},
        cross_validated=estimate,
        parity_difference=scores,
    )


def _require_visible_boxes(train: Samples) -> None:
    if not any(len(boxes) for boxes in train.boxes):
        raise DataError(
            "no box of the training images lies within training.preprocessing.crop; choose a larger part of the image"
        )


def _fit(
    lesson: DetectorLesson,
    train: Samples,
    validation: Samples | None,
    checkpoint: Path,
    frozen: Frozen | None,
    tell: Callable[[Row], None] = lambda row: None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Fitted[FCOS], dict[str, str]]:
    _require_visible_boxes(train)
    torch.manual_seed(lesson.seed)
    network, reused = _first_network(lesson)

    def validate(averaged: FCOS) -> Row:
        assert validation is not None  # noqa: S101 - is passed only with validation images
        found = detect(averaged, validation, lesson.labels, lesson.steps, DECODING, frozen)
        figures = measure_detections(validation.truths, found, lesson.labels, dict.fromkeys(lesson.labels, 0.5))
        return {"validation_map": figures.map, "validation_map_50": figures.map_50}

    has_validation = validation is not None and any(validation.truths)
    fitted = fit(
        network,
        train,
        lesson.steps[-1],
        lesson.schedule,
        checkpoint,
        validate if has_validation else None,
        tell,
        report,
        frozen,
    )
    return fitted, reused


def _export_frozen(lesson: DetectorLesson, path: Path) -> Frozen | None:
    torch.manual_seed(lesson.seed)
    network, _ = _first_network(lesson)
    return export_frozen(network.backbone, lesson.steps[-2].size, path, lesson.schedule.device)


def _first_network(lesson: DetectorLesson) -> tuple[FCOS, dict[str, str]]:
    network = build_network(lesson.architecture)
    return network, give_first_weights(network, lesson.architecture.backbone, lesson.weights, lesson.labels)


def _estimate(
    lesson: DetectorLesson, samples: Samples, work: Path, frozen: Frozen | None, progress: Progress
) -> tuple[CrossValidatedDetection | None, Judged | None]:
    if not lesson.folds:
        return None, None

    def fold(number: int, learned: Samples, held_out: Samples) -> Detections:
        fitted, _ = _fit(lesson, learned, None, work / f"fold-{number}.pt", frozen)
        return detect(fitted.network, held_out, lesson.labels, lesson.steps, DECODING, frozen)

    with progress("cross-validate", "folds") as report:
        return cross_validate(samples, lesson.images, lesson.labels, lesson.folds, lesson.seed, fold, report)


def _judged(
    lesson: DetectorLesson,
    network: FCOS,
    frozen: Frozen | None,
    train: Samples,
    validation: Samples,
    pooled: Judged | None,
) -> list[Judged]:
    """Return what thresholds may be chosen on, the most trustworthy first; the training images come last."""

    def found(name: str, samples: Samples, *, was_learned_from: bool = False) -> Judged:
        boxes = detect(network, samples, lesson.labels, lesson.steps, DECODING, frozen)
        return Judged(name, samples.truths, boxes, was_learned_from)

    own = [found("validation", validation)] if len(validation) else []
    return [*own, *([pooled] if pooled else []), found("training images", train, was_learned_from=True)]


def _require_detections(learned: Judged, labels: Sequence[str]) -> None:
    found = rank_boxes(learned.truths, learned.detections, labels)
    if not any(ranked.hits.any() for ranked in found.values()):
        raise TrainingError(
            "the trained detector finds not a single box, not even of those it learned from; train for more "
            "training.detector.epochs, choose a larger training.input_size when objects are small, or look at the "
            "boxes in the data report"
        )


def _sample(entries: Sequence[ImageEntry]) -> list[ImageEntry]:
    """Return images to compare bundle and network on: those with boxes first."""
    return sorted(entries, key=lambda entry: not entry.truth.boxes)[:PARITY_IMAGES]


def _chosen(fitted: Fitted[FCOS], sources: dict[str, str]) -> dict[str, str | int | float]:
    return {
        "epochs": len(fitted.history),
        "best_epoch": fitted.best_epoch,
        "thresholds_from": "; ".join(sorted(set(sources.values()))),
    }


def _provenance(lesson: DetectorLesson) -> dict[str, str | int | float]:
    return {
        "keeneye": version("keeneye"),
        "torch": version("torch"),
        "torchvision": version("torchvision"),
        "dataset": lesson.dataset_name,
        "backbone": lesson.architecture.backbone,
        "frozen_stages": lesson.architecture.frozen_stages,
        "algorithm": "fcos",
        **lesson.origin,
        "augmentation": lesson.schedule.augmentation,
        "seed": lesson.seed,
        "training_images": len(lesson.train),
    }
