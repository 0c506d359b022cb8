"""Learning of a classifier: what an epoch goes through, what a batch costs, which epoch is the best."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tasks.bundle.preprocessing import Normalise
from tasks.train.classifier.augment import Augmentation, mixed_up
from tasks.train.classifier.network import ClassifierNetwork
from tasks.train.classifier.samples import Samples
from tasks.train.epochs import passes_per_epoch
from tasks.train.heads.model import Probabilities
from tasks.train.heads.targets import Targets, are_multi_label, as_truths, log_loss
from tasks.train.learning.frozen import Frozen
from tasks.train.learning.loop import Course, Fitted, Row, Schedule, take_course
from tasks.train.learning.pixels import stack_changed, to_batch

BATCH_IMAGES = 16
ADVICE = "lower training.network.learning_rate, or look for broken images in the findings"


@dataclass(frozen=True, slots=True)
class Regularisation:
    """What keeps a network from learning its images by heart.

    Attributes:
        mixup: how much images are blended; 0 blends none.
        label_smoothing: share of every target that is spread evenly over the labels.
        layer_decay: learning rate of a stage, as a share of that of the stage behind it, the layer of labels being the
            last.
    """

    mixup: float
    label_smoothing: float
    layer_decay: float


def fit(
    network: ClassifierNetwork,
    learned: Samples,
    held_out: Samples,
    normalise: Normalise,
    schedule: Schedule,
    regularisation: Regularisation,
    checkpoint: Path,
    frozen: Frozen | None = None,
    tell: Callable[[Row], None] = lambda row: None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Fitted[ClassifierNetwork]:
    """Teach a network, going on from the checkpoint when there is one.

    Every label weighs alike however many images it has; where an image may have any number of labels, so do the images
    with a label and those without it. The best epoch is that with the lowest loss on what was held out, in which they
    weigh alike too.

    Args:
        network: with its first weights.
        learned: what to learn from; every label has an image.
        held_out: what to choose the best epoch on; every label has an image.
        normalise: applied to every batch.
        schedule: how long and how fast.
        regularisation: what keeps it from learning by heart.
        checkpoint: file that is written after every epoch.
        frozen: runs the stages that keep their weights; None runs them as the rest.
        tell: called with the figures of every epoch, those of a checkpoint included.
        report: called with the steps done and the number of all.

    Raises:
        TrainingError: when a loss is not finite.
    """
    augment, batches = Augmentation(schedule.augmentation), _batches_per_epoch(len(learned), schedule.batch_size)
    weights, truths = _label_weights(learned).to(schedule.device), learned.truths
    loss_of = _binary_cross_entropy if learned.is_multi_label else _cross_entropy

    def losses(learner: ClassifierNetwork, places: list[int]) -> tuple[Tensor, dict[str, Tensor]]:
        images = stack_changed([augment(learned.image(place)) for place in places], normalise, schedule.device)
        targets = torch.from_numpy(truths[places]).float()
        images, targets = mixed_up(images, targets.to(schedule.device), regularisation.mixup)
        logits = learner.learning((frozen or learner.frozen)(images))
        return loss_of(logits, targets, weights, regularisation.label_smoothing), {}

    def validate(learner: ClassifierNetwork) -> Row:
        return measure(probabilities_of(learner, held_out, normalise, frozen), held_out.targets)

    course = Course(
        groups=lambda learner: _groups(learner, regularisation.layer_decay),
        batches=batches,
        draw=lambda: _epoch_batches(len(learned), batches),
        losses=losses,
        validate=validate,
        worth=lambda row: -row["validation_loss"],
        advice=ADVICE,
    )
    return take_course(network, course, schedule, checkpoint, tell, report)


def probabilities_of(
    network: ClassifierNetwork, samples: Samples, normalise: Normalise, frozen: Frozen | None = None
) -> Probabilities:
    """Return N x L probabilities, not calibrated."""
    device = next(network.parameters()).device
    network.eval()
    rows = [np.zeros((0, samples.label_count))]
    for start in range(0, len(samples), BATCH_IMAGES):
        batch = to_batch(samples.pixels(start, start + BATCH_IMAGES), normalise, str(device))
        with torch.inference_mode():
            logits = network.learning((frozen or network.frozen)(batch))
        rows.append(network.shares(logits.double()).cpu().numpy())
    return np.concatenate(rows)


def measure(probabilities: Probabilities, targets: Targets) -> Row:
    """Return loss and accuracy in which every label, and its absence, weighs alike, over those that have an image.

    Args:
        probabilities: N x L.
        targets: of the N images. Where one may have any number of labels, one is taken for given from one half on.
    """
    truths = as_truths(targets, probabilities.shape[1])
    if are_multi_label(targets):
        right = (probabilities >= 0.5) == truths
        sides = [right[side, label] for label, truth in enumerate(truths.T) for side in (truth, ~truth)]
    else:
        right = probabilities.argmax(axis=1) == targets
        sides = [right[truth] for truth in truths.T]
    return {
        "validation_loss": log_loss(probabilities, targets),
        "validation_balanced_accuracy": float(np.mean([side.mean() for side in sides if len(side)])),
    }


def _cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor, smoothing: float) -> Tensor:
    return functional.cross_entropy(logits, targets, weights[1], label_smoothing=smoothing)


def _binary_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor, smoothing: float) -> Tensor:
    """Return the mean over images and labels, weighted by what is true of each; blended targets blend weights too."""
    smooth = targets * (1.0 - smoothing) + 0.5 * smoothing
    costs = functional.binary_cross_entropy_with_logits(logits, smooth, reduction="none")
    each = weights[0].lerp(weights[1], targets)
    return (each * costs).sum() / each.sum()


def _groups(network: ClassifierNetwork, layer_decay: float) -> list[dict[str, Any]]:
    """Return the weights that learn, stage by stage: pretrained ones the more slowly the nearer the image they are."""
    decay = layer_decay if network.keeps_statistics else 1.0
    stages = list(enumerate(network.stages))[network.frozen_stages :]
    body = [{"params": list(one.parameters()), "share": decay ** (len(network.stages) - n)} for n, one in stages]
    return [*body, {"params": list(network.head.parameters()), "share": 1.0}]


def _label_weights(learned: Samples) -> Tensor:
    """Return what an image counts of each label: without it and with it, 2 x L; the mean over all images is 1."""
    carriers = learned.truths.sum(axis=0)
    counts = np.maximum(np.stack([len(learned) - carriers, carriers]), 1)
    shared_by = 2 if learned.is_multi_label else learned.label_count
    return torch.from_numpy(len(learned) / (counts * shared_by)).float()


def _batches_per_epoch(images: int, batch_size: int) -> int:
    return math.ceil(passes_per_epoch(images) * images / batch_size)


def _epoch_batches(images: int, batches: int) -> Iterator[list[int]]:
    """Yield batches of nearly equal size: all images in random order, as often as makes an epoch."""
    places = torch.cat([torch.randperm(images) for _ in range(passes_per_epoch(images))])
    for batch in torch.tensor_split(places, batches):
        yield batch.tolist()
