"""The page of a comparison: the leaderboard, which candidate to prefer when, and why others were stopped."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.compare.records import WINNER_FILE, Leaderboard, Standing
from tasks.report.page import page_environment, page_script
from tasks.report.why import Look, worth_chart

STRIP_WIDTH, STRIP_HEIGHT = 160, 22
"""Of the drawing of a candidate's folds (SVG units)."""
STRIP_MARGIN = 6


@dataclass(frozen=True, slots=True)
class Strip:
    """A candidate's macro-F1 as places on a line (SVG units): of each fold, and their mean."""

    folds: tuple[float, ...]
    mean: float


def render_leaderboard(board: Leaderboard, looks: Sequence[Look] = ()) -> str:
    """Return the leaderboard as one HTML page that refers to nothing outside itself.

    Args:
        board: the comparison.
        looks: where the recommended candidate looks, in images that it did not learn from.
    """
    script, script_digest = page_script()
    lowest = lowest_shown(board.ranking.standings)
    ranking = board.ranking
    return (
        page_environment()
        .get_template("leaderboard.html.j2")
        .render(
            board=board,
            best=ranking.of(ranking.most_accurate),
            chosen=ranking.of(ranking.recommended),
            strips={one.candidate: strip_of(one, lowest) for one in ranking.standings},
            lowest=lowest,
            strip=(STRIP_WIDTH, STRIP_HEIGHT, STRIP_MARGIN),
            features_computed=sum(one.features_computed for one in ranking.standings),
            winner_file=WINNER_FILE,
            importances=worth_chart(ranking.of(ranking.recommended).importances),
            looks=looks,
            script=script,
            script_digest=script_digest,
        )
    )


def lowest_shown(standings: Sequence[Standing]) -> float:
    """Return the left end of the strips: the lowest macro-F1, rounded down to a tenth."""
    return min((int(10.0 * value) / 10.0 for one in standings for value in one.macro_f1), default=0.0)


def strip_of(standing: Standing, lowest: float) -> Strip | None:
    """Place a candidate's folds between `lowest` and 1; None without a fold."""
    if standing.macro_f1_mean is None:
        return None
    room, extent = STRIP_WIDTH - 2 * STRIP_MARGIN, max(1.0 - lowest, 1e-9)

    def place(value: float) -> float:
        return round(STRIP_MARGIN + room * (value - lowest) / extent, 1)

    return Strip(tuple(map(place, standing.macro_f1)), place(standing.macro_f1_mean))
