"""From a divided dataset to a network's bundle: prepare, fit, calibrate, estimate, export, verify."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from tasks.bundle.preprocessing import ClassifierSteps
from tasks.dataset.entries import ImageEntry
from tasks.dataset.files import read_image_bytes
from tasks.metrics.classification import CrossValidated
from tasks.train.build_bundle import require_parity
from tasks.train.classifier.division import divide
from tasks.train.classifier.fit import Regularisation, fit, probabilities_of
from tasks.train.classifier.graph import OUTPUT_NAME, Graph
from tasks.train.classifier.network import (
    BACKBONE_FIELD,
    CLASS_LAYER,
    Architecture,
    ClassifierNetwork,
    build_network,
)
from tasks.train.classifier.samples import Samples
from tasks.train.classifier.thresholds import Judged, choose_thresholds
from tasks.train.cross_validation import FoldAnswers, estimate_by_folds, write_out_of_fold
from tasks.train.earlier import Earlier
from tasks.train.heads.calibration import calibrated, fit_temperature
from tasks.train.heads.model import Indices, Probabilities
from tasks.train.learning.bundle import write_network_bundle
from tasks.train.learning.frozen import Frozen, export_frozen
from tasks.train.learning.lesson import NetworkLesson
from tasks.train.learning.loop import Fitted, Row
from tasks.train.learning.pixels import frame_images
from tasks.train.learning.weights import continue_from, load_first
from tasks.train.records import BUNDLE_FOLDER, HISTORY_FILE, OUT_OF_FOLD_FILE, Progress, TrainedModel
from tasks.vision.images import decode_rgb

PARITY_IMAGES = 32
CHECKPOINT_FILE = "checkpoint.pt"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierLesson(NetworkLesson):
    """What a classifier is to learn, and how.

    Attributes:
        algorithm: the request's word for it.
        steps: preprocessing.
        architecture: what the network is made of.
        regularisation: what keeps it from learning by heart.
    """

    algorithm: str
    steps: ClassifierSteps
    architecture: Architecture
    regularisation: Regularisation


@dataclass(frozen=True, slots=True)
class _Taught:
    """A network that has learned, with what was found on the images that were held out."""

    fitted: Fitted[ClassifierNetwork]
    reused: dict[str, str]
    temperature: float
    learned_images: int
    judged: Judged


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
    samples = _prepare(work, lesson, progress)
    # Of all other users of torch in this process, none shall notice.
    with torch.random.fork_rng(devices=[]):
        frozen = _export_frozen(lesson, work / "frozen.onnx")
        with progress("train network", "batches") as report:
            places = np.arange(len(samples))
            taught = _teach(lesson, samples, places, len(lesson.train), work / CHECKPOINT_FILE, frozen, tell, report)
        estimate, pooled = _estimate(lesson, samples, work, frozen, progress)
    thresholds, sources = choose_thresholds(lesson.labels, [taught.judged, *([pooled] if pooled else [])])
    if pooled:
        write_out_of_fold(folder / OUT_OF_FOLD_FILE, lesson.images, lesson.labels, pooled.probabilities)
    chosen = _chosen(taught, sources) | taught.reused
    digest = _write_bundle(folder / BUNDLE_FOLDER, lesson, taught, thresholds, chosen)
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


def _prepare(work: Path, lesson: ClassifierLesson, progress: Progress) -> Samples:
    framing = lesson.steps[-2]
    y = np.array([lesson.labels.index(entry.truth.stratum) for entry in lesson.images], dtype=np.intp)
    with progress("prepare images", "images") as report:
        shape = framing.height, framing.width
        stored = frame_images(work / "pixels.npy", lesson.root, lesson.images, lesson.steps, shape, report)
    return Samples(stored, np.arange(len(y)), y, len(lesson.labels))


def _teach(
    lesson: ClassifierLesson,
    samples: Samples,
    places: Indices,
    train_images: int,
    checkpoint: Path,
    frozen: Frozen | None,
    tell: Callable[[Row], None] = lambda row: None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> _Taught:
    """Teach a network the images at some places, of which the first `train_images` are of the train split."""
    mine = samples.take(places)
    groups = [_group(lesson.images[place]) for place in places]
    learned, held_out, name = divide(mine.y, groups, train_images, len(lesson.labels), lesson.seed)
    judged = mine.take(held_out)
    torch.manual_seed(lesson.seed)
    network, reused = _first_network(lesson)
    fitted = fit(
        network,
        mine.take(learned),
        judged,
        lesson.steps[-1],
        lesson.schedule,
        lesson.regularisation,
        checkpoint,
        frozen,
        tell,
        report,
    )
    shares = probabilities_of(fitted.network, judged, lesson.steps[-1])
    temperature = fit_temperature(shares, judged.y)
    answers = Judged(name, calibrated(shares, temperature), judged.truths)
    return _Taught(fitted, reused, temperature, len(learned), answers)


def _group(entry: ImageEntry) -> str:
    return entry.group or entry.sha256


def _first_network(lesson: ClassifierLesson) -> tuple[ClassifierNetwork, dict[str, str]]:
    network = build_network(lesson.architecture)
    if isinstance(lesson.weights, Earlier):
        reused = continue_from(network, lesson.weights, lesson.labels, CLASS_LAYER, BACKBONE_FIELD)
        return network, {"continues": lesson.weights.model_uri, **reused}
    load_first(network.body, lesson.architecture.backbone, lesson.weights)
    return network, {}


def _export_frozen(lesson: ClassifierLesson, path: Path) -> Frozen | None:
    torch.manual_seed(lesson.seed)
    network, _ = _first_network(lesson)
    return export_frozen(network, lesson.steps[-2].width, path, lesson.schedule.device)


def _estimate(
    lesson: ClassifierLesson, samples: Samples, work: Path, frozen: Frozen | None, progress: Progress
) -> tuple[CrossValidated | None, Judged | None]:
    if not lesson.folds:
        return None, None

    def fold(number: int, train: Indices, held_out: Indices) -> FoldAnswers:
        taught = _teach(lesson, samples, train, len(train), work / f"fold-{number}.pt", frozen)
        thresholds, _ = choose_thresholds(lesson.labels, [taught.judged])
        return FoldAnswers(thresholds, _answers(taught, samples.take(held_out), lesson))

    with progress("cross-validate", "folds") as report:
        estimate, pooled = estimate_by_folds(fold, samples.y, lesson.labels, lesson.folds, lesson.seed, report)
    return estimate, Judged("cross-validation", pooled, samples.truths)


def _answers(taught: _Taught, samples: Samples, lesson: ClassifierLesson) -> Probabilities:
    return calibrated(probabilities_of(taught.fitted.network, samples, lesson.steps[-1]), taught.temperature)


def _write_bundle(
    folder: Path,
    lesson: ClassifierLesson,
    taught: _Taught,
    thresholds: dict[str, float],
    chosen: dict[str, str | int | float],
) -> str:
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
        thresholds=thresholds,
        steps=lesson.steps,
        dataset_digest=lesson.dataset_digest,
        provenance=_provenance(lesson, taught) | chosen,
    )


def _parity(bundle: Path, lesson: ClassifierLesson, samples: Samples, taught: _Taught) -> float:
    """Compare the bundle with the network in torch, on images spread over all labels."""
    order = np.argsort(samples.y, kind="stable")
    places = order[np.linspace(0, len(order) - 1, min(PARITY_IMAGES, len(order))).astype(np.intp)]
    images = [decode_rgb(read_image_bytes(lesson.root, lesson.images[place])) for place in places]
    return require_parity(bundle, images, _answers(taught, samples.take(places), lesson))


def _chosen(taught: _Taught, sources: dict[str, str]) -> dict[str, str | int | float]:
    return {
        "epochs": len(taught.fitted.history),
        "best_epoch": taught.fitted.best_epoch,
        "temperature": taught.temperature,
        "thresholds_from": "; ".join(sorted(set(sources.values()))),
    }


def _provenance(lesson: ClassifierLesson, taught: _Taught) -> dict[str, str | int | float]:
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
