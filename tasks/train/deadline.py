"""The end of the time that learning may take, as a network's epochs and the making of features meet it."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from tasks.train.records import Progress


class OutOfTime(Exception):
    """Learning cannot end in the time that is left; the message says why."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """When measuring must be over.

    Attributes:
        at: the end (seconds since 1970).
        least_epochs: that learning takes in every fold at least.
        folds_left: folds to measure, this one included.
        since: when this measurement began (seconds since 1970); epochs from before a kill ask for nothing.
    """

    at: float
    least_epochs: int
    folds_left: int
    since: float = 0.0

    def check(self, row: Mapping[str, float]) -> None:
        """Look at the time after an epoch, with its row of figures, its `time` (seconds since 1970) among them.

        Raises:
            OutOfTime: when not even the least number of epochs, each as long as this one, fits before the end.
        """
        if row["time"] < self.since:
            return
        left = self.at - time.time()
        here = max(self.least_epochs - int(row["epoch"]), 0)
        needed = row["seconds"] * (here + self.least_epochs * (self.folds_left - 1))
        if needed > left:
            raise OutOfTime(
                f"an epoch takes {row['seconds']:.1f} s, so that its folds take another {max(needed, 0.0):.0f} s at "
                f"least, and {max(left, 0.0):.0f} s are left"
            )


def require_time(at: float, where: str) -> None:
    """Look at the time before more is begun.

    Args:
        at: the end (seconds since 1970).
        where: how far it is, for people.

    Raises:
        OutOfTime: when the end is past.
    """
    if time.time() > at:
        raise OutOfTime(f"the time was over {where}")


def within(progress: Progress, at: float) -> Progress:
    """Return progress that also ends a long step when its time is over, the items done by then being kept.

    Args:
        progress: shows how far it is; what it gives raises `OutOfTime` when called after `at`, and items are left.
        at: the end (seconds since 1970).
    """

    @contextmanager
    def watched(description: str, unit: str) -> Iterator[Callable[[int, int], None]]:
        with progress(description, unit) as report:

            def reported(done: int, total: int) -> None:
                report(done, total)
                if done < total:
                    require_time(at, f"after {done} of {total} {unit} ({description})")

            yield reported

    return watched
