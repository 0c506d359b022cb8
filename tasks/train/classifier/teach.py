"""Teaching of one network: from a lesson and some of its images to calibrated answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tasks.bundle.preprocessing import Steps
from tasks.train.classifier.division import divide
from tasks.train.classifier.fit import Regularisation, fit, probabilities_of
from tasks.train.classifier.network import (
    BACKBONE_FIELD,
    CLASS_LAYER,
    Architecture,
    ClassifierNetwork,
    build_network,
)
from tasks.train.classifier.samples import Samples
from tasks.train.classifier.thresholds import Judged
from tasks.train.earlier import Earlier
from tasks.train.heads.model import Indices, Probabilities
from tasks.train.heads.targets import calibrated_by, targets_of, temperature_of
from tasks.train.learning.frozen import Frozen, export_frozen
from tasks.train.learning.lesson import NetworkLesson
from tasks.train.learning.loop import Fitted, Row
from tasks.train.learning.pixels import frame_images
from tasks.train.learning.weights import continue_from, load_first
from tasks.train.records import Progress


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
    steps: Steps
    architecture: Architecture
    regularisation: Regularisation


@dataclass(frozen=True, slots=True)
class Taught:
    """A network that has learned, with what was found on the images that were held out.

    Attributes:
        fitted: the network and how it came to its weights.
        reused: for the record, what of an earlier network it went on with.
        temperature: that calibrates it.
        learned_images: number of images learned from.
        judged: the images held out, with its calibrated answers.
    """

    fitted: Fitted[ClassifierNetwork]
    reused: dict[str, str]
    temperature: float
    learned_images: int
    judged: Judged

    @property
    def seconds(self) -> float:
        """Time of all its epochs, those before a kill included."""
        return sum(row["seconds"] for row in self.fitted.history)

    def chosen(self, thresholds_from: Mapping[str, str]) -> dict[str, str | int | float]:
        """Return what learning settled on, by name, with what each label's threshold was chosen on."""
        return {
            "epochs": len(self.fitted.history),
            "best_epoch": self.fitted.best_epoch,
            "temperature": self.temperature,
            "thresholds_from": "; ".join(sorted(set(thresholds_from.values()))),
            **self.reused,
        }


def prepare(work: Path, lesson: ClassifierLesson, progress: Progress) -> Samples:
    """Frame all images of a lesson into a file below `work`, those to learn from first; take it when it is there.

    Two processes must not frame into one folder at once: the caller holds a lock.

    Raises:
        SourceChanged: when a file's bytes are not those that were checked at ingest.
    """
    framing = lesson.steps[-2]
    targets = targets_of(lesson.images, lesson.labels, is_multi_label=lesson.architecture.is_multi_label)
    with progress("prepare images", "images") as report:
        shape = framing.height, framing.width
        path, part = work / "pixels.npy", work / "part.npy"
        if not path.exists():
            frame_images(part, lesson.root, lesson.images, lesson.steps, shape, report)
            part.replace(path)
    stored = np.load(path, mmap_mode="r")
    return Samples(stored, np.arange(len(targets)), targets, len(lesson.labels))


def teach(
    lesson: ClassifierLesson,
    samples: Samples,
    places: Indices,
    train_images: int,
    checkpoint: Path,
    frozen: Frozen | None,
    tell: Callable[[Row], None] = lambda row: None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Taught:
    """Teach a network the images at some places, of which the first `train_images` are of the train split.

    Args:
        lesson: what to learn.
        samples: all its images.
        places: those to learn from and to hold out (`divide`).
        train_images: number of the first of them that are no validation images.
        checkpoint: file that is written after every epoch, and gone on from.
        frozen: runs the stages that keep their weights; None runs them as the rest.
        tell: called with every epoch's row.
        report: called with the steps done and the number of all.

    Raises:
        RequestError: when the backbone is unknown, or its weights belong to another one.
        TrainingError: when learning fails.
    """
    mine = samples.take(places)
    groups = [lesson.images[place].unit for place in places]
    learned, held_out, name = divide(mine.targets, groups, train_images, len(lesson.labels), lesson.seed)
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
    temperature = temperature_of(shares, judged.targets)
    answers = Judged(name, calibrated_by(temperature, shares, judged.targets), judged.truths)
    return Taught(fitted, reused, temperature, len(learned), answers)


def answers_of(taught: Taught, samples: Samples, lesson: ClassifierLesson) -> Probabilities:
    """Return N x L calibrated probabilities of images."""
    shares = probabilities_of(taught.fitted.network, samples, lesson.steps[-1])
    return calibrated_by(taught.temperature, shares, samples.targets)


def export_kept_stages(lesson: ClassifierLesson, path: Path) -> Frozen | None:
    """Export the stages that keep their weights; None where there are none, or torch runs them better."""
    torch.manual_seed(lesson.seed)
    network, _ = _first_network(lesson)
    return export_frozen(network, lesson.steps[-2].width, path, lesson.schedule.device)


def _first_network(lesson: ClassifierLesson) -> tuple[ClassifierNetwork, dict[str, str]]:
    network = build_network(lesson.architecture)
    if isinstance(lesson.weights, Earlier):
        reused = continue_from(network, lesson.weights, lesson.labels, CLASS_LAYER, BACKBONE_FIELD)
        return network, {"continues": lesson.weights.model_uri, **reused}
    load_first(network.body, lesson.architecture.backbone, lesson.weights)
    return network, {}
