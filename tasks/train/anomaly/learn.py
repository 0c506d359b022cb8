"""From normal images to a finished bundle: remember, measure held-out images, calibrate, assemble, verify."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.bundle.anomaly import smooth
from tasks.bundle.format import AnomalyScoring
from tasks.bundle.predictor import OnnxNetwork
from tasks.bundle.preprocessing import Resize, StretchedSteps
from tasks.dataset.entries import ImageEntry
from tasks.train.anomaly.build_bundle import build_bundle, require_parity
from tasks.train.anomaly.calibrate import calibrate, choose_threshold
from tasks.train.anomaly.embed import candidate_patches, patches_of
from tasks.train.anomaly.memory import Patches, choose_memory, memory_to_onnx
from tasks.train.anomaly.parts import Arrays, Parts
from tasks.train.anomaly.patch_network import STRIDE, patch_network
from tasks.train.backbone import BACKBONE_NAME
from tasks.train.records import BUNDLE_FOLDER, Progress, TrainedModel
from tasks.vision.heat_maps import Heat

FOLDS = 4
MAX_HELD_OUT_IMAGES = 400
"""Each goes through the network again; more say little more of how far normal images lie."""


@dataclass(frozen=True, slots=True)
class AnomalyLesson:
    """What is to be learned, and how.

    Attributes:
        dataset_name: the dataset.
        dataset_digest: its version.
        root: folder to which references are relative.
        normal: normal images to remember.
        validation: images to choose the threshold on, normal or not.
        steps: preprocessing.
        memory_patches: size of the memory.
        false_alarm_rate: share of normal images that may be given the label, where normal images alone decide.
        seed: of everything random.
    """

    dataset_name: str
    dataset_digest: str
    root: Path
    normal: Sequence[ImageEntry]
    validation: Sequence[ImageEntry]
    steps: StretchedSteps
    memory_patches: int
    false_alarm_rate: float
    seed: int


def learn_normal(folder: Path, work: Path, lesson: AnomalyLesson, backbone: Path, progress: Progress) -> TrainedModel:
    """Write the bundle into `folder`; returns the record.

    Args:
        folder: to fill.
        work: what a killed training goes on from: candidate patches by shard of images, the memory, and each fold's
            heat maps.
        lesson: what to learn.
        backbone: the exported one.
        progress: shows how far it is.

    Raises:
        SourceChanged: when a file's bytes are not those that were checked at ingest.
        TrainingError: when the bundle does not answer like the pieces it was made from.
    """
    patches, parts = patch_network(backbone), Parts(work)
    network = OnnxNetwork(patches)
    with progress("remember normal patches", "images") as report:
        candidates, owners = candidate_patches(
            network, lesson.root, lesson.normal, lesson.steps, lesson.seed, parts, report
        )
        memory = candidates[
            parts.reuse_or_make(
                "memory", lambda: {"places": choose_memory(candidates, lesson.memory_patches, lesson.seed)}
            )["places"]
        ]
    held_out = held_out_heats(network, lesson, candidates, owners, parts, progress)
    scoring = calibrate(held_out, unscaled_scoring(lesson.steps[-2]), lesson.false_alarm_rate)
    remembered = memory_to_onnx(memory)
    threshold, chosen_on = _threshold(network, OnnxNetwork(remembered), lesson, scoring)
    chosen: dict[str, str | int | float] = {
        "memory_patches": len(memory),
        "limit": scoring.limit,
        "region_limit": scoring.region_limit,
        "threshold_chosen_on": chosen_on,
        "held_out_normal_images": len(held_out),
    }
    digest = build_bundle(
        folder / BUNDLE_FOLDER,
        backbone=patches,
        memory=remembered,
        scoring=scoring,
        threshold=threshold,
        steps=lesson.steps,
        dataset_digest=lesson.dataset_digest,
        provenance=_provenance(lesson) | chosen,
    )
    return TrainedModel(
        bundle_digest=digest,
        input_size=lesson.steps[-2].width,
        seed=lesson.seed,
        chosen=chosen,
        cross_validated=None,
        parity_difference=require_parity(folder / BUNDLE_FOLDER, lesson.root, lesson.normal, network, memory),
    )


def _threshold(
    network: OnnxNetwork, memory: OnnxNetwork, lesson: AnomalyLesson, scoring: AnomalyScoring
) -> tuple[float, str]:
    heats = heats_of(network, memory, lesson, lesson.validation, scoring)
    return choose_threshold(heats, np.array([bool(one.truth.labels) for one in lesson.validation], np.bool_), scoring)


def _provenance(lesson: AnomalyLesson) -> dict[str, str | int | float | bool]:
    return {
        "keeneye": version("keeneye"),
        "dataset": lesson.dataset_name,
        "backbone": BACKBONE_NAME,
        "algorithm": "nearest-patch",
        "seed": lesson.seed,
        "training_images": len(lesson.normal),
    }


def unscaled_scoring(framing: Resize) -> AnomalyScoring:
    """Return the scoring of an input of this size before it is calibrated."""
    return AnomalyScoring(
        rows=framing.height // STRIDE, columns=framing.width // STRIDE, limit=1.0, steepness=1.0, region_limit=1.0
    )


def held_out_heats(
    network: OnnxNetwork,
    lesson: AnomalyLesson,
    candidates: Patches,
    owners: NDArray[np.intp],
    parts: Parts,
    progress: Progress,
) -> list[Heat]:
    """Return heat maps of normal images, each by a memory that was made without its fold; groups stay together."""
    fold_of = divide_into_folds([entry.unit for entry in lesson.normal], lesson.seed)
    measured = np.linspace(0, len(lesson.normal) - 1, min(len(lesson.normal), MAX_HELD_OUT_IMAGES)).round().astype(int)
    scoring = unscaled_scoring(lesson.steps[-2])

    def measure(fold: int) -> Arrays:
        known = candidates[fold_of[owners] != fold]
        memory = memory_to_onnx(known[choose_memory(known, lesson.memory_patches, lesson.seed)])
        entries = [lesson.normal[place] for place in measured if fold_of[place] == fold]
        found = heats_of(network, OnnxNetwork(memory), lesson, entries, scoring)
        return {"heats": np.stack(found) if found else np.zeros((0, scoring.rows, scoring.columns), np.float32)}

    heats: list[Heat] = []
    with progress("measure held-out normal images", "images") as report:
        for fold in np.unique(fold_of):
            heats += list(parts.reuse_or_make(f"fold {fold}", partial(measure, fold))["heats"])
            report(len(heats), len(measured))
    return heats


def divide_into_folds(groups: Sequence[str], seed: int) -> NDArray[np.intp]:
    """Return the fold of each image, at most `FOLDS` of about equally many groups; images of one group share a fold.

    Where all images are of one group, they are divided image by image: nothing could be measured otherwise.
    """
    units = groups if len(set(groups)) > 1 else [str(place) for place in range(len(groups))]
    names, group_of = np.unique(np.array(units), return_inverse=True)
    places = np.random.default_rng(seed).permutation(len(names))
    return np.asarray(places[group_of] % min(FOLDS, len(names)), np.intp)


def heats_of(
    network: OnnxNetwork,
    memory: OnnxNetwork,
    lesson: AnomalyLesson,
    entries: Sequence[ImageEntry],
    scoring: AnomalyScoring,
) -> list[Heat]:
    """Return the heat map of each image."""
    heats: list[Heat] = []
    for batch in patches_of(network, lesson.root, entries, lesson.steps):
        for patches in batch:
            distances = memory.run(patches.reshape(-1, patches.shape[-1]))
            heats.append(smooth(distances.reshape(patches.shape[:2]), scoring))
    return heats
