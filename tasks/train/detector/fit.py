"""Learning: epochs of shuffled batches, a moving average of the weights, early stopping, a checkpoint per epoch."""

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS

from tasks.bundle.preprocessing import Normalise
from tasks.errors import TrainingError
from tasks.train.detector.augment import Augmentation, Strength
from tasks.train.detector.checkpoint import Checkpoint, read_checkpoint
from tasks.train.detector.network import Frozen, losses_of
from tasks.train.detector.samples import Samples

MIN_IMAGES_PER_EPOCH = 64
"""Smaller sets are gone through several times: an epoch is worth a checkpoint and a validation."""
NEGATIVES_PER_POSITIVE = 0.5
"""Images without boxes per image with boxes in an epoch; others take their turn in other epochs."""
BACKBONE_RATE = 0.2
"""Learning rate of the pretrained weights, as a share of that of the new ones."""
WEIGHT_DECAY = 1e-4
MAX_GRADIENT_NORM = 5.0
FINAL_RATE = 0.01
"""Share of the learning rate at the end of the cosine."""
AVERAGE_DECAY = 0.98
"""Of the moving average per step, less at the start: it looks back over about 50 steps."""

_LOSS_NAMES = {
    "loss": "loss",
    "classification": "classification_loss",
    "bbox_regression": "box_loss",
    "bbox_ctrness": "centreness_loss",
}
Row = dict[str, float]
"""Figures of one epoch: `epoch` from 1 on, the losses, `learning_rate`, `seconds`, `validation_map_50` and so on."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to learn.

    Attributes:
        epochs: the most.
        patience: epochs without a better validation mAP after which learning ends.
        batch_size: images per step.
        learning_rate: the highest, of the new weights.
        warm_up: share of all steps over which the rate rises.
        augmentation: how much images are changed.
        device: torch's name of the device.
    """

    epochs: int
    patience: int
    batch_size: int
    learning_rate: float
    warm_up: float
    augmentation: Strength
    device: str


@dataclass(frozen=True, slots=True)
class Fitted:
    """A network with the kept weights, and how it came to them."""

    network: FCOS
    best_epoch: int
    history: list[Row]


@dataclass(slots=True)
class _Training:
    """What changes while learning."""

    network: FCOS
    averaged: FCOS
    optimiser: torch.optim.Optimizer
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    history: list[Row] = field(default_factory=list)


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
) -> Fitted:
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
    with _flushed_denormals():
        return _fit(network, samples, normalise, schedule, checkpoint, validate, tell, report, frozen)


def _fit(
    network: FCOS,
    samples: Samples,
    normalise: Normalise,
    schedule: Schedule,
    checkpoint: Path,
    validate: Callable[[FCOS], Row] | None,
    tell: Callable[[Row], None],
    report: Callable[[int, int], None],
    frozen: Frozen | None,
) -> Fitted:
    training = _begin(network.to(schedule.device), schedule)
    kept = read_checkpoint(checkpoint)
    if kept:
        _restore(training, kept)
    for row in training.history:
        tell(row)
    batches = _batches_per_epoch(samples, schedule.batch_size)
    for epoch in range(len(training.history) + 1, schedule.epochs + 1):
        if _is_over(training, schedule):
            break
        start = time.perf_counter()
        row = _run_epoch(training, samples, normalise, schedule, frozen, epoch, batches, report)
        row |= validate(training.averaged) if validate else {}
        row |= {"seconds": round(time.perf_counter() - start, 3), "time": round(time.time(), 3)}
        training.history.append(row)
        _keep_best(training, row)
        _checkpoint_of(training).write(checkpoint)
        tell(row)
    training.averaged.load_state_dict(training.best)
    report(schedule.epochs * batches, schedule.epochs * batches)
    return Fitted(training.averaged.cpu().eval(), training.best_epoch, training.history)


@contextmanager
def _flushed_denormals() -> Iterator[None]:
    """Take tiny numbers below the normal range for zero: they slow a CPU down fourfold, and add nothing."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        # Of the whole thread, in which others may need them.
        torch.set_flush_denormal(False)


def _begin(network: FCOS, schedule: Schedule) -> _Training:
    named = [(name, one) for name, one in network.named_parameters() if one.requires_grad]
    pretrained = [one for name, one in named if name.startswith("backbone.body.")]
    new = [one for name, one in named if not name.startswith("backbone.body.")]
    groups = [{"params": pretrained, "share": BACKBONE_RATE}, {"params": new, "share": 1.0}]
    optimiser = torch.optim.AdamW(groups, lr=schedule.learning_rate, weight_decay=WEIGHT_DECAY)
    return _Training(network, copy.deepcopy(network).eval(), optimiser)


def _run_epoch(
    training: _Training,
    samples: Samples,
    normalise: Normalise,
    schedule: Schedule,
    frozen: Frozen | None,
    epoch: int,
    batches: int,
    report: Callable[[int, int], None],
) -> Row:
    augment, total = Augmentation(schedule.augmentation), schedule.epochs * batches
    sums: Row = dict.fromkeys(_LOSS_NAMES.values(), 0.0)
    training.network.train()
    for place, indices in enumerate(_epoch_batches(samples, batches)):
        step = (epoch - 1) * batches + place
        rate = schedule.learning_rate * rate_at(step, total, schedule.warm_up)
        for group in training.optimiser.param_groups:
            group["lr"] = rate * group["share"]
        images, targets = _load(samples, indices, augment, normalise, schedule.device)
        losses = losses_of(training.network, images, targets, frozen)
        loss = torch.stack(list(losses.values())).sum()
        _require_finite(loss, epoch, place + 1)
        training.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(training.network.parameters(), MAX_GRADIENT_NORM)
        training.optimiser.step()
        _average(training.averaged, training.network, step)
        for name, value in {"loss": loss, **losses}.items():
            sums[_LOSS_NAMES[name]] += float(value.detach()) / batches
        report(step + 1, total)
    return {"epoch": float(epoch), **sums, "learning_rate": rate}


def rate_at(step: int, total: int, warm_up: float) -> float:
    """Return the share of the highest learning rate: a linear rise, then half a cosine down to `FINAL_RATE`."""
    rise = max(1, round(warm_up * total))
    if step < rise:
        return (step + 1) / rise
    progress = (step - rise) / max(1, total - rise)
    return FINAL_RATE + (1.0 - FINAL_RATE) * 0.5 * (1.0 + math.cos(math.pi * progress))


def _images_per_epoch(samples: Samples) -> tuple[int, int]:
    positives = sum(len(boxes) > 0 for boxes in samples.boxes)
    return positives, min(len(samples) - positives, math.ceil(NEGATIVES_PER_POSITIVE * positives))


def _batches_per_epoch(samples: Samples, batch_size: int) -> int:
    pass_images = sum(_images_per_epoch(samples))
    passes = math.ceil(MIN_IMAGES_PER_EPOCH / pass_images)
    return math.ceil(passes * pass_images / batch_size)


def _epoch_batches(samples: Samples, batches: int) -> Iterator[list[int]]:
    """Yield batches of nearly equal size: every image with boxes, and a part of those without, in random order."""
    positive = torch.tensor([place for place, boxes in enumerate(samples.boxes) if len(boxes)])
    negative = torch.tensor([place for place, boxes in enumerate(samples.boxes) if not len(boxes)], dtype=torch.long)
    count, negatives = _images_per_epoch(samples)
    passes = math.ceil(MIN_IMAGES_PER_EPOCH / (count + negatives))
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
    stacked = torch.stack(images).permute(0, 2, 3, 1).numpy()
    batch = torch.from_numpy(normalise.apply_to_batch(stacked)).to(device)
    return batch.contiguous(memory_format=torch.channels_last), targets


def _average(averaged: FCOS, network: FCOS, step: int) -> None:
    decay = min(AVERAGE_DECAY, (1.0 + step) / (10.0 + step))
    with torch.no_grad():
        for mean, now in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(now, 1.0 - decay)
            else:
                mean.copy_(now)


def _require_finite(loss: Tensor, epoch: int, batch: int) -> None:
    if not torch.isfinite(loss):
        raise TrainingError(
            f"the loss became {float(loss.detach()):g} in epoch {epoch}, batch {batch}; lower "
            "training.detector.learning_rate, or look for broken images and boxes in the findings"
        )


def _keep_best(training: _Training, row: Row) -> None:
    # Of equal epochs the later one, which has seen more; without validation always the last.
    known = [one.get("validation_map", 0.0) for one in training.history]
    if row.get("validation_map", 0.0) >= max(known):
        training.best = {name: tensor.detach().clone() for name, tensor in training.averaged.state_dict().items()}
        training.best_epoch = int(row["epoch"])


def _is_over(training: _Training, schedule: Schedule) -> bool:
    scores = [row["validation_map"] for row in training.history if "validation_map" in row]
    # As long as nothing is found, there is nothing to compare.
    if not scores or max(scores) == 0.0:
        return False
    # An equal epoch is kept, but is not better.
    return len(scores) - (scores.index(max(scores)) + 1) >= schedule.patience


def _checkpoint_of(training: _Training) -> Checkpoint:
    return Checkpoint(
        network=training.network.state_dict(),
        averaged=training.averaged.state_dict(),
        optimiser=training.optimiser.state_dict(),
        random_state=torch.get_rng_state(),
        best=training.best,
        best_epoch=training.best_epoch,
        history=training.history,
    )


def _restore(training: _Training, kept: Checkpoint) -> None:
    training.network.load_state_dict(kept.network)
    training.averaged.load_state_dict(kept.averaged)
    training.optimiser.load_state_dict(kept.optimiser)
    training.best, training.best_epoch, training.history = kept.best, kept.best_epoch, kept.history
    torch.set_rng_state(kept.random_state)
