"""The loop: epochs of batches, a moving average of the weights, early stopping, a checkpoint per epoch."""

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import Tensor, nn

from tasks.errors import TrainingError
from tasks.train.learning.checkpoint import Checkpoint, read_checkpoint

WEIGHT_DECAY = 1e-4
MAX_GRADIENT_NORM = 5.0
FINAL_RATE = 0.01
"""Share of the learning rate at the end of the cosine."""
AVERAGE_DECAY = 0.98
"""Of the moving average per step, less at the start: it looks back over about 50 steps."""

Strength = Literal["none", "light", "standard", "strong"]
"""How much training images are changed at random."""
Row = dict[str, float]
"""Figures of one epoch: `epoch` from 1 on, `loss` and its parts, `learning_rate`, `seconds`, those of validation."""
Learner = TypeVar("Learner", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to learn.

    Attributes:
        epochs: the most.
        patience: epochs without a better one, by validation, after which learning ends.
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
class Course(Generic[Learner]):
    """What the loop asks of a kind of network.

    Attributes:
        groups: the weights that learn, each group with the `share` of the learning rate that it gets.
        batches: steps per epoch.
        draw: yields an epoch's batches, each the places of its images, in random order.
        losses: of a batch: what is made smaller, and its parts by name; the network is in training mode.
        validate: figures of the averaged network; None when no image is held out.
        worth: of an epoch's figures, the higher the better; None when there is nothing to compare.
        advice: what to do when the loss is no longer finite.
    """

    groups: Callable[[Learner], list[dict[str, Any]]]
    batches: int
    draw: Callable[[], Iterator[list[int]]]
    losses: Callable[[Learner, list[int]], tuple[Tensor, dict[str, Tensor]]]
    validate: Callable[[Learner], Row] | None
    worth: Callable[[Row], float | None]
    advice: str


@dataclass(frozen=True, slots=True)
class Fitted(Generic[Learner]):
    """A network with the kept weights, and how it came to them."""

    network: Learner
    best_epoch: int
    history: list[Row]


@dataclass(slots=True)
class _Training(Generic[Learner]):
    """What changes while learning."""

    network: Learner
    averaged: Learner
    optimiser: torch.optim.Optimizer
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    history: list[Row] = field(default_factory=list)


def take_course(
    network: Learner,
    course: Course[Learner],
    schedule: Schedule,
    checkpoint: Path,
    tell: Callable[[Row], None] = lambda row: None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Fitted[Learner]:
    """Teach a network, going on from the checkpoint when there is one.

    Args:
        network: with its first weights.
        course: what to learn from.
        schedule: how long and how fast.
        checkpoint: file that is written after every epoch.
        tell: called with the figures of every epoch, those of a checkpoint included.
        report: called with the steps done and the number of all.

    Raises:
        TrainingError: when a loss is not finite.
    """
    with _flushed_denormals():
        return _take(network, course, schedule, checkpoint, tell, report)


def _take(
    network: Learner,
    course: Course[Learner],
    schedule: Schedule,
    checkpoint: Path,
    tell: Callable[[Row], None],
    report: Callable[[int, int], None],
) -> Fitted[Learner]:
    training = _begin(network.to(schedule.device), course, schedule)
    kept = read_checkpoint(checkpoint)
    if kept:
        _restore(training, kept)
    for row in training.history:
        tell(row)
    for epoch in range(len(training.history) + 1, schedule.epochs + 1):
        if _is_over(training, course, schedule):
            break
        start = time.perf_counter()
        row = _run_epoch(training, course, schedule, epoch, report)
        row |= course.validate(training.averaged) if course.validate else {}
        row |= {"seconds": round(time.perf_counter() - start, 3), "time": round(time.time(), 3)}
        training.history.append(row)
        _keep_best(training, course)
        _checkpoint_of(training).write(checkpoint)
        tell(row)
    training.averaged.load_state_dict(training.best)
    steps = schedule.epochs * course.batches
    report(steps, steps)
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


def _begin(network: Learner, course: Course[Learner], schedule: Schedule) -> _Training[Learner]:
    optimiser = torch.optim.AdamW(course.groups(network), lr=schedule.learning_rate, weight_decay=WEIGHT_DECAY)
    return _Training(network, copy.deepcopy(network).eval(), optimiser)


def _run_epoch(
    training: _Training[Learner],
    course: Course[Learner],
    schedule: Schedule,
    epoch: int,
    report: Callable[[int, int], None],
) -> Row:
    total = schedule.epochs * course.batches
    sums: Row = {"loss": 0.0}
    training.network.train()
    for place, indices in enumerate(course.draw()):
        step = (epoch - 1) * course.batches + place
        rate = schedule.learning_rate * rate_at(step, total, schedule.warm_up)
        for group in training.optimiser.param_groups:
            group["lr"] = rate * group["share"]
        loss, parts = course.losses(training.network, indices)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss became {float(loss.detach()):g} in epoch {epoch}, batch {place + 1}; {course.advice}"
            )
        training.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(training.network.parameters(), MAX_GRADIENT_NORM)
        training.optimiser.step()
        _average(training.averaged, training.network, step)
        for name, value in {"loss": loss, **parts}.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach()) / course.batches
        report(step + 1, total)
    return {"epoch": float(epoch), **sums, "learning_rate": rate}


def rate_at(step: int, total: int, warm_up: float) -> float:
    """Return the share of the highest learning rate: a linear rise, then half a cosine down to `FINAL_RATE`."""
    rise = max(1, round(warm_up * total))
    if step < rise:
        return (step + 1) / rise
    progress = (step - rise) / max(1, total - rise)
    return FINAL_RATE + (1.0 - FINAL_RATE) * 0.5 * (1.0 + math.cos(math.pi * progress))


def _average(averaged: nn.Module, network: nn.Module, step: int) -> None:
    decay = min(AVERAGE_DECAY, (1.0 + step) / (10.0 + step))
    with torch.no_grad():
        for mean, now in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(now, 1.0 - decay)
            else:
                mean.copy_(now)


def _keep_best(training: _Training[Learner], course: Course[Learner]) -> None:
    # Of equal epochs the later one, which has seen more; without validation always the last.
    worths = _worths(training, course)
    if worths[-1] >= max(worths):
        training.best = {name: tensor.detach().clone() for name, tensor in training.averaged.state_dict().items()}
        training.best_epoch = int(training.history[-1]["epoch"])


def _is_over(training: _Training[Learner], course: Course[Learner], schedule: Schedule) -> bool:
    worths = _worths(training, course)
    if max(worths, default=-math.inf) == -math.inf:
        return False
    # An equal epoch is kept, but is not better.
    return len(worths) - (worths.index(max(worths)) + 1) >= schedule.patience


def _worths(training: _Training[Learner], course: Course[Learner]) -> list[float]:
    known = [course.worth(row) for row in training.history]
    return [-math.inf if worth is None else worth for worth in known]


def _checkpoint_of(training: _Training[Learner]) -> Checkpoint:
    return Checkpoint(
        network=training.network.state_dict(),
        averaged=training.averaged.state_dict(),
        optimiser=training.optimiser.state_dict(),
        random_state=torch.get_rng_state(),
        best=training.best,
        best_epoch=training.best_epoch,
        history=training.history,
    )


def _restore(training: _Training[Learner], kept: Checkpoint) -> None:
    training.network.load_state_dict(kept.network)
    training.averaged.load_state_dict(kept.averaged)
    training.optimiser.load_state_dict(kept.optimiser)
    training.best, training.best_epoch, training.history = kept.best, kept.best_epoch, kept.history
    torch.set_rng_state(kept.random_state)
