"""Learning of a detector: what an epoch goes through, what a batch costs, which epoch is the best."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection import FCOS

from tasks.bundle.preprocessing import Normalise
from tasks.train.detector.augment import Augmentation
from tasks.train.detector.network import losses_of
from tasks.train.detector.samples import Samples
from tasks.train.epochs import passes_per_epoch
from tasks.train.learning.frozen import Frozen
from tasks.train.learning.loop import Course, Fitted, Row, Schedule, take_course
from tasks.train.learning.pixels import stack_changed

NEGATIVES_PER_POSITIVE = 0.5
"""Images without boxes per image with boxes in an epoch; others take their turn in other epochs."""
BACKBONE_RATE = 0.2
"""Learning rate of the pretrained weights, as a share of that of the new ones."""
ADVICE = "lower training.detector.learning_rate, or look for broken images and boxes in the findings"

_LOSS_NAMES = {
    "classification": "classification_loss",
    "bbox_regression": "box_loss",
    "bbox_ctrness": "centreness_loss",
}


def fit(
    network: FCOS,
    samples: Samples,
    normalise: Normalise,
    schedule: Schedule,
    checkpoint: Path,
    validate: Callable[[FCOS], Row] | None = None,
    tell: Callable[[Row], None] = lambda row: None,
    report: Callable[[int, int], None] = lambda done, total: None,
    frozen: Frozen | None = None,
) -> Fitted[FCOS]:
    """Teach a network, going on from the checkpoint when there is one.

    Args:
        network: with its first weights.
        samples: what to learn from; at least one has a box.
        normalise: applied to every batch.
        schedule: how long and how fast.
        checkpoint: file that is written after every epoch.
        validate: figures of the averaged network, `validation_map` among them; None keeps the last epoch's weights.
        tell: called with the figures of every epoch, those of a checkpoint included.
        report: called with the steps done and the number of all.
        frozen: runs the stages that keep their weights; None runs them as the rest.

    Raises:
        TrainingError: when a loss is not finite.
    """
    augment, batches = Augmentation(schedule.augmentation), _batches_per_epoch(samples, schedule.batch_size)

    def losses(learner: FCOS, indices: list[int]) -> tuple[Tensor, dict[str, Tensor]]:
        images, targets = _load(samples, indices, augment, normalise, schedule.device)
        parts = losses_of(learner, images, targets, frozen)
        return torch.stack(list(parts.values())).sum(), {_LOSS_NAMES[name]: one for name, one in parts.items()}

    course = Course(_groups, batches, lambda: _epoch_batches(samples, batches), losses, validate, _worth, ADVICE)
    return take_course(network, course, schedule, checkpoint, tell, report)


def _groups(network: FCOS) -> list[dict[str, Any]]:
    named = [(name, one) for name, one in network.named_parameters() if one.requires_grad]
    pretrained = [one for name, one in named if name.startswith("backbone.body.")]
    new = [one for name, one in named if not name.startswith("backbone.body.")]
    return [{"params": pretrained, "share": BACKBONE_RATE}, {"params": new, "share": 1.0}]


def _worth(row: Row) -> float | None:
    # As long as nothing is found, there is nothing to compare.
    return row.get("validation_map") or None


def _images_per_epoch(samples: Samples) -> tuple[int, int]:
    positives = sum(len(boxes) > 0 for boxes in samples.boxes)
    return positives, min(len(samples) - positives, math.ceil(NEGATIVES_PER_POSITIVE * positives))


def _batches_per_epoch(samples: Samples, batch_size: int) -> int:
    pass_images = sum(_images_per_epoch(samples))
    return math.ceil(passes_per_epoch(pass_images) * pass_images / batch_size)


def _epoch_batches(samples: Samples, batches: int) -> Iterator[list[int]]:
    """Yield batches of nearly equal size: every image with boxes, and a part of those without, in random order."""
    positive = torch.tensor([place for place, boxes in enumerate(samples.boxes) if len(boxes)])
    negative = torch.tensor([place for place, boxes in enumerate(samples.boxes) if not len(boxes)], dtype=torch.long)
    count, negatives = _images_per_epoch(samples)
    passes = passes_per_epoch(count + negatives)
    chosen = [part for _ in range(passes) for part in (positive, negative[torch.randperm(len(negative))[:negatives]])]
    places = torch.cat(chosen)
    shuffled = places[torch.randperm(len(places))]
    for batch in torch.tensor_split(shuffled, batches):
        yield batch.tolist()


def _load(
    samples: Samples, indices: list[int], augment: Augmentation, normalise: Normalise, device: str
) -> tuple[Tensor, list[dict[str, Tensor]]]:
    images, targets = [], []
    for index in indices:
        boxes, labels = torch.from_numpy(samples.boxes[index].copy()), torch.from_numpy(samples.labels[index].copy())
        image, boxes, labels = augment(samples.image(index), boxes, labels)
        images.append(image)
        targets.append({"boxes": boxes.to(device), "labels": labels.to(device)})
    return stack_changed(images, normalise, device), targets
