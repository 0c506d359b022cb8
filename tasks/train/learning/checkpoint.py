"""What a training needs to go on after a kill: one file, written whole after every epoch."""

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch


@dataclass(slots=True)
class Checkpoint:
    """The state at the end of an epoch.

    Attributes:
        network: its tensors.
        averaged: tensors of the moving average.
        optimiser: state of the optimiser.
        random_state: of torch's generator.
        best: tensors of the best average so far; empty before the first.
        best_epoch: the epoch that gave them, from 1 on; 0 before the first.
        history: a row of figures per epoch.
    """

    network: dict[str, Any]
    averaged: dict[str, Any]
    optimiser: dict[str, Any]
    random_state: Any
    best: dict[str, Any]
    best_epoch: int
    history: list[dict[str, float]]

    def write(self, path: Path) -> None:
        """Write all of it so that a reader finds the old checkpoint or the new one, never a part."""
        partial = path.with_suffix(".partial")
        with partial.open("wb") as stream:
            torch.save({field.name: getattr(self, field.name) for field in fields(self)}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Return the checkpoint of a file; None when there is none that can be read."""
    if not path.is_file():
        return None
    try:
        return Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except Exception:
        # A damaged file makes torch raise nearly anything, and whatever it is, there is no checkpoint.
        return None
