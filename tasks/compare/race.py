"""Whose turn it is, and who is stopped: cheap candidates first, fold by fold, until the time is over.

Of time only what is left decides, so that a comparison that was killed goes on with the same rules: folds known from
before cost nothing.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Literal

from tasks.compare.candidates import simplicity
from tasks.compare.records import Options, Standing
from tasks.metrics.importance import pool_drops
from tasks.train.records import MeasuredFold, StoppedFold

MIN_RIVALS = 3
"""Candidates with as many folds that the median rule needs."""
MIN_FOLDS = 2
"""That it waits for: one fold may be an unlucky one."""
MIN_SAVED_SECONDS = 30.0
"""What stopping must save; cheap candidates are measured to their end, however they fare."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A fold of a candidate, from 0 on."""

    candidate: str
    fold: int


@dataclass(slots=True)
class _Lane:
    folds: list[MeasuredFold] = field(default_factory=list)
    outcome: Literal["measured", "pruned", "out of time", "failed"] = "measured"
    reason: str = ""


class Race:
    """Candidates on their way through the folds.

    Attributes:
        until: when measuring must be over (seconds since 1970).
    """

    def __init__(
        self, candidates: Sequence[str], folds: int, seconds: float, now: Callable[[], float] = time.time
    ) -> None:
        self._lanes = {name: _Lane() for name in sorted(candidates, key=simplicity)}
        self._folds, self._now = folds, now
        self.until = now() + seconds

    def turns(self) -> Iterator[Turn]:
        """Yield whose turn it is; each is answered by `measured` or `failed` before the next."""
        for name, lane in self._lanes.items():
            while lane.outcome == "measured" and len(lane.folds) < self._folds:
                if self._left() <= 0.0:
                    self._stop(lane, "out of time", "the time was over")
                    break
                yield Turn(name, len(lane.folds))

    def measured(self, turn: Turn, record: MeasuredFold | StoppedFold) -> None:
        """Take what a fold gave, and stop the candidate when it cannot end in time or lags far behind."""
        lane = self._lanes[turn.candidate]
        if isinstance(record, StoppedFold):
            self._stop(lane, "out of time", record.reason)
            return
        lane.folds.append(record)
        self._folds = record.folds
        missing = self._folds - len(lane.folds)
        a_fold = fmean(one.fit_seconds for one in lane.folds)
        if missing and not record.reused and missing * a_fold > self._left():
            reason = f"a fold takes {a_fold:.0f} s, and {max(self._left(), 0.0):.0f} s were left for {missing} more"
            self._stop(lane, "out of time", reason)
        elif missing * a_fold > MIN_SAVED_SECONDS:
            self._stop_if_behind(lane)

    def failed(self, turn: Turn, reason: str) -> None:
        """Take that a fold could not be measured; its candidate is out."""
        self._stop(self._lanes[turn.candidate], "failed", reason)

    def standings(self) -> list[Standing]:
        """Return how all candidates fared."""
        return [self._standing(name, lane) for name, lane in self._lanes.items()]

    def _left(self) -> float:
        return self.until - self._now()

    def _stop(self, lane: _Lane, outcome: Literal["pruned", "out of time", "failed"], reason: str) -> None:
        lane.outcome, lane.reason = outcome, reason

    def _stop_if_behind(self, lane: _Lane) -> None:
        done = len(lane.folds)
        rivals = [_mean_of(one, done) for one in self._lanes.values() if one is not lane and len(one.folds) >= done]
        if done < MIN_FOLDS or len(rivals) < MIN_RIVALS:
            return
        own, usual = _mean_of(lane, done), median(rivals)
        if own < usual:
            reason = f"macro-F1 {own:.3f}, below {usual:.3f}, the median of the others on the same folds"
            self._stop(lane, "pruned", reason)

    def _standing(self, name: str, lane: _Lane) -> Standing:
        first = lane.folds[0] if lane.folds else None
        return Standing(
            candidate=name,
            outcome=lane.outcome,
            reason=lane.reason,
            folds=self._folds,
            macro_f1=tuple(one.macro_f1 for one in lane.folds),
            accuracy=tuple(one.accuracy for one in lane.folds),
            measured_at=tuple(one.measured_at for one in lane.folds),
            fit_seconds=fmean(one.fit_seconds for one in lane.folds) if lane.folds else None,
            ms_per_image=first.ms_per_image if first else None,
            bundle_bytes=first.bundle_bytes if first else None,
            features_computed=sum(one.features_computed for one in lane.folds),
            options=_most_chosen([one.options for one in lane.folds]),
            entry_path=first.entry_path if first else "",
            importances=pool_drops([one.drops for one in lane.folds]) if lane.outcome == "measured" else None,
        )


def _mean_of(lane: _Lane, folds: int) -> float:
    return fmean(one.macro_f1 for one in lane.folds[:folds])


def _most_chosen(options: Sequence[Options]) -> Options:
    """Return the options that most folds chose, those of the earlier fold on a tie."""
    counts = Counter(tuple(sorted(one.items())) for one in options)
    return dict(counts.most_common(1)[0][0]) if counts else {}
