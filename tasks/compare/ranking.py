"""Who is the most accurate, and who is recommended.

The one-standard-error rule of Breiman, Friedman, Olshen and Stone, "Classification and Regression Trees", 1984: what
lies within one standard error of the best is as good for all one can tell; among such, the fastest is recommended, and
of those that are equally fast the simplest.
"""

import math
from collections.abc import Sequence

from tasks.compare.candidates import simplicity
from tasks.compare.records import Ranking, Standing
from tasks.errors import DataError, RequestError

EQUALLY_FAST = 1.1
"""Up to this ratio of times, measured on a machine that does other things too, two candidates are equally fast."""
EQUALLY_LARGE = 1.1


def rank(standings: Sequence[Standing], budget: str) -> Ranking:
    """Put candidates in order and say which to prefer when.

    Args:
        standings: all candidates.
        budget: as it was asked for.

    Raises:
        RequestError: when the budget was too small for any candidate.
        DataError: when all candidates failed.
    """
    measured = sorted((one for one in standings if one.outcome == "measured"), key=_worst_last)
    if not measured:
        raise _nobody(standings, budget)
    others = [one for one in standings if one.outcome != "measured"]
    best = measured[0]
    near = [one for one in measured if _mean(one) >= _mean(best) - standard_error(best)]
    chosen = _simplest_of_the_fastest(near)
    return Ranking(
        standings=(*measured, *sorted(others, key=lambda one: (-len(one.macro_f1), simplicity(one.candidate)))),
        most_accurate=best.candidate,
        recommended=chosen.candidate,
        advice=tuple(_advice(best, chosen, measured)),
    )


def standard_error(standing: Standing) -> float:
    """Return the standard error of the mean macro-F1 over the folds."""
    return (standing.macro_f1_std or 0.0) / math.sqrt(len(standing.macro_f1))


def _mean(standing: Standing) -> float:
    return standing.macro_f1_mean or 0.0


def _worst_last(standing: Standing) -> tuple[float, tuple[bool, int, int, str]]:
    return -round(_mean(standing), 4), simplicity(standing.candidate)


def _ms(standing: Standing) -> float:
    return standing.ms_per_image if standing.ms_per_image is not None else math.inf


def _simplest_of_the_fastest(near: Sequence[Standing]) -> Standing:
    limit = EQUALLY_FAST * min(map(_ms, near))
    return min((one for one in near if _ms(one) <= limit), key=lambda one: simplicity(one.candidate))


def _advice(best: Standing, chosen: Standing, measured: Sequence[Standing]) -> list[str]:
    figures = f"macro-F1 {_mean(best):.3f} (standard deviation {best.macro_f1_std or 0.0:.3f} over {best.folds} folds)"
    sentences = [f"Most accurate: {best.candidate}, {figures}."]
    error = standard_error(best)
    if chosen is best:
        sentences.append(
            f"Recommended: {best.candidate} too; nothing within one standard error ({error:.3f}) of it answers faster."
        )
    else:
        sentences.append(
            f"Recommended: {chosen.candidate}; its {_mean(chosen):.3f} lies within one standard error ({error:.3f}) of "
            f"the best, and {_why(chosen, best)}."
        )
    smallest = min(measured, key=lambda one: (one.bundle_bytes or math.inf, simplicity(one.candidate)))
    if (smallest.bundle_bytes or 0) * EQUALLY_LARGE < (chosen.bundle_bytes or 0):
        sentences.append(
            f"Smallest: {smallest.candidate}, {_megabytes(smallest)} instead of {_megabytes(chosen)}, with macro-F1 "
            f"{_mean(smallest):.3f}."
        )
    return sentences


def _why(chosen: Standing, best: Standing) -> str:
    if _ms(chosen) * EQUALLY_FAST < _ms(best):
        return f"it answers in {_ms(chosen):.1f} ms an image instead of {_ms(best):.1f}"
    return "it is simpler and as fast"


def _megabytes(standing: Standing) -> str:
    return f"{(standing.bundle_bytes or 0) / 1e6:.1f} MB"


def _nobody(standings: Sequence[Standing], budget: str) -> RequestError | DataError:
    timely = [one for one in standings if one.outcome != "failed"]
    if not timely:
        reasons = "; ".join(dict.fromkeys(f"{one.candidate}: {one.reason}" for one in standings))
        return DataError(f"no candidate could be measured: {reasons}")
    first = max(timely, key=lambda one: len(one.macro_f1))
    return RequestError(
        f"the budget of {budget} is too small for one candidate ({first.candidate} was {first.note}); what was "
        "measured is kept, so give more time, or name fewer folds"
    )
