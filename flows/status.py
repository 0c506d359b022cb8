"""What stands where: the ledger and the registry told as a table, or as one JSON line."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel

from flows.promote_config import StatusConfig
from tasks.errors import RequestError
from tasks.promote.moves import standing_versions
from tasks.stores.home import Home
from tasks.tracking.environment_names import ENVIRONMENTS
from tasks.tracking.ledger import EntryKind, Ledger, LedgerEntry, open_move, standing
from tasks.tracking.registry import Registry, VersionInfo

HEADLINES = ("test.macro_f1", "test.map_50", "test.image_auroc")
HISTORY_SHOWN = 10
HISTORY_TOLD = 100
"""Moves of one model; the ledger keeps them all."""

FiguresOf = Callable[[VersionInfo], Mapping[str, float]]


class Place(BaseModel, frozen=True):
    """A version in an environment.

    Attributes:
        since: when it came there, ISO 8601, UTC; empty when that was before there was a ledger.
        by: who approved it.
        why: the reason given.
        metrics: macro-F1 or mAP50 on the version's own test images.
    """

    environment: str
    version: str
    since: str = ""
    by: str = ""
    why: str = ""
    metrics: dict[str, float] = {}


class PastMove(BaseModel, frozen=True):
    """A move of the history; `outcome` is `done`, `reverted` or `begun` while it is open."""

    environment: str
    action: str
    from_version: str
    to_version: str
    outcome: str
    at: str
    by: str
    why: str


class ModelStatus(BaseModel, frozen=True):
    """One registered model: what stands where, and how it came there: the last moves, the newest first."""

    model: str
    versions: int
    places: tuple[Place, ...]
    history: tuple[PastMove, ...]


class StatusResult(BaseModel, frozen=True):
    """All registered models, or the one asked for."""

    schema_version: int = 1
    status: Literal["told"] = "told"
    models: tuple[ModelStatus, ...]

    def table(self) -> str:
        """Return what people read: a block per model."""
        return "\n\n".join(_block(model) for model in self.models) or "no models yet; `keeneye train` makes one"


def status(config: StatusConfig) -> StatusResult:
    """Tell what stands in staging and production.

    Raises:
        RequestError: when the registry has no such model.
        EnvironmentFailed: when registry or ledger do not answer.
    """
    home = Home.from_environment()
    registry = Registry(home)
    told = tell(
        registry,
        Ledger(home.database_uri, patience_seconds=0),
        registry.metrics,
        lambda name: config.model in ("", name),
    )
    if config.model and not told.models:
        raise RequestError(f"the registry has no model {config.model}; `keeneye status` lists all")
    return told


def tell(
    registry: Registry,
    ledger: Ledger,
    figures_of: FiguresOf,
    is_wanted: Callable[[str], bool],
    environments: Sequence[str] = ENVIRONMENTS,
) -> StatusResult:
    """Tell of the models whose names are wanted what stands in some environments, and how it came there.

    Args:
        registry: what is registered.
        ledger: what was moved.
        figures_of: the figures of a version's run.
        is_wanted: says of a model's name whether to tell of it.
        environments: those to tell of.

    Raises:
        EnvironmentFailed: when registry or ledger do not answer.
    """
    names = [one.name for one in registry.models() if is_wanted(one.name)]
    # A move has two entries, and one that is under way the first of them.
    of_model = {name: ledger.recent(name, environments, 2 * HISTORY_TOLD) for name in names}
    models = (
        _model_status(name, registry.versions(name), entries, environments, figures_of)
        for name, entries in of_model.items()
    )
    return StatusResult(models=tuple(models))


def _model_status(
    name: str,
    versions: list[VersionInfo],
    entries: list[LedgerEntry],
    environments: Sequence[str],
    figures_of: FiguresOf,
) -> ModelStatus:
    stands = standing_versions(versions, entries)
    known = {info.version: info for info in versions}
    places = (
        _place(environment, known.get(stands[environment]), stands[environment], standing(entries), figures_of)
        for environment in environments
        if environment in stands
    )
    return ModelStatus(model=name, versions=len(versions), places=tuple(places), history=tuple(_moves(entries)))


def _place(
    environment: str, info: VersionInfo | None, number: str, entries: dict[str, LedgerEntry], figures_of: FiguresOf
) -> Place:
    entry = entries.get(environment)
    figures = figures_of(info) if info else {}
    metrics = {name.removeprefix("test."): round(figures[name], 3) for name in HEADLINES if name in figures}
    if entry is None:
        return Place(environment=environment, version=number, metrics=metrics)
    return Place(
        environment=environment, version=number, since=_when(entry), by=entry.who, why=entry.why, metrics=metrics
    )


def _moves(entries: list[LedgerEntry]) -> list[PastMove]:
    unfinished = open_move(entries)
    told = [one for one in reversed(entries) if one.kind is not EntryKind.BEGUN or one == unfinished][:HISTORY_TOLD]
    return [
        PastMove(
            environment=one.environment,
            action=one.action,
            from_version=one.from_version,
            to_version=one.to_version,
            outcome=one.kind.value,
            at=_when(one),
            by=one.who,
            why=one.why,
        )
        for one in told
    ]


def _when(entry: LedgerEntry) -> str:
    return datetime.fromtimestamp(entry.at_ms / 1000, UTC).isoformat(timespec="seconds")


def _block(model: ModelStatus) -> str:
    lines = [f"{model.model} ({model.versions} version{'s' if model.versions != 1 else ''})"]
    for place in model.places:
        figures = ", ".join(f"{name} {value:.3f}" for name, value in place.metrics.items())
        since = f"since {place.since} by {place.by}" if place.since else "since before the ledger"
        lines.append(
            f"  {place.environment:<11} version {place.version:<4} {figures:<16} {since}  {place.why}".rstrip()
        )
    if not model.places:
        lines.append("  nothing stands in staging or production")
    if model.history:
        lines.append("  history")
    for move in model.history[:HISTORY_SHOWN]:
        way = f"{move.from_version or '-'} -> {move.to_version}"
        what = f"{move.environment:<11} {way:<9} {move.action:<9} {move.outcome:<9}"
        lines.append(f"    {move.at}  {what} {move.by}  {move.why}".rstrip())
    return "\n".join(lines)
