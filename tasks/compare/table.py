"""The leaderboard as rows of text, for a terminal and for the Prefect UI."""

from collections.abc import Sequence

from tasks.compare.records import Ranking, Standing

COLUMNS = ("candidate", "macro-F1", "accuracy", "training", "per image", "size", "")


def rows_of(ranking: Ranking) -> list[dict[str, str]]:
    """Return a row for each candidate, by column."""
    named = (*COLUMNS[:-1], "note")
    return [dict(zip(named, _cells(one, _honours(one, ranking)), strict=True)) for one in ranking.standings]


def as_text(ranking: Ranking) -> str:
    """Return the table as lines of aligned columns."""
    rows = [COLUMNS, *(_cells(one, _honours(one, ranking)) for one in ranking.standings)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(COLUMNS))]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *figures, note = row
    aligned = [f"{cell:>{width}}" for cell, width in zip(figures, widths[1:-1], strict=True)]
    return "  ".join([f"{first:<{widths[0]}}", *aligned, note]).rstrip()


def _cells(one: Standing, honours: str) -> tuple[str, ...]:
    return (
        one.candidate,
        _spread(one.macro_f1_mean, one.macro_f1_std),
        _spread(one.accuracy_mean, one.accuracy_std),
        "-" if one.fit_seconds is None else f"{one.fit_seconds:.1f} s",
        "-" if one.ms_per_image is None else f"{one.ms_per_image:.1f} ms",
        "-" if one.bundle_bytes is None else f"{one.bundle_bytes / 1e6:.1f} MB",
        one.note or honours,
    )


def _honours(one: Standing, ranking: Ranking) -> str:
    names = {"most accurate": ranking.most_accurate, "recommended": ranking.recommended}
    return ", ".join(honour for honour, name in names.items() if name == one.candidate)


def _spread(mean: float | None, std: float | None) -> str:
    if mean is None:
        return "-"
    return f"{mean:.3f}" if std is None else f"{mean:.3f} +/- {std:.3f}"
