"""The end of the time that a comparison may take, as a network's epochs meet it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass


class OutOfTime(Exception):
    """Learning cannot end in the time that is left; the message says why."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """When measuring must be over.

    Attributes:
        at: the end (seconds since 1970).
        least_epochs: that learning takes in every fold at least.
        folds_left: folds to measure, this one included.
    """

    at: float
    least_epochs: int
    folds_left: int

    def check(self, row: Mapping[str, float]) -> None:
        """Look at the time after an epoch, with its row of figures.

        Raises:
            OutOfTime: when not even the least number of epochs, each as long as this one, fits before the end.
        """
        left = self.at - time.time()
        here = max(self.least_epochs - int(row["epoch"]), 0)
        needed = row["seconds"] * (here + self.least_epochs * (self.folds_left - 1))
        if needed > left:
            raise OutOfTime(
                f"an epoch takes {row['seconds']:.1f} s, so that its folds take another {max(needed, 0.0):.0f} s at "
                f"least, and {max(left, 0.0):.0f} s are left"
            )
