"""Which version may move where: the rules that registry and ledger decide alone, before anything is measured."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ValidationError

from tasks.errors import RegistryError, RequestError
from tasks.promote.records import StagingOutcome, VersionComparison
from tasks.stores.content import StageRecord
from tasks.tracking.environment_names import EnvironmentName
from tasks.tracking.ledger import EntryKind, LedgerEntry, history, standing
from tasks.tracking.registry import BUNDLE_DIGEST_TAG, REASONS_TAG, STAGING, STATUS_TAG, VersionInfo

OFFERED_STATUSES = frozenset({"registered", "staged"})
"""Of versions that passed their gate and their inference test, and that nothing was said against since."""
TESTED_STATUSES = OFFERED_STATUSES | {"refused"}
"""Of all versions that passed both; one that staging refused is promoted only by its number."""


class PlannedMove(StageRecord, frozen=True):
    """A move that the rules allow so far.

    Attributes:
        action: `promote` or `rollback`.
        environment: `staging` or `production`.
        model_name: registered model.
        from_version: what stands there now; empty when nothing does.
        to_version: what is to stand there.
        bundle_digest: of the version to move.
    """

    action: str
    environment: EnvironmentName
    model_name: str
    from_version: str
    to_version: str
    bundle_digest: str

    @property
    def from_uri(self) -> str:
        """The `models:/` address of what stands there now; empty when nothing does."""
        return f"models:/{self.model_name}/{self.from_version}" if self.from_version else ""

    @property
    def to_uri(self) -> str:
        """The `models:/` address of the version to move."""
        return f"models:/{self.model_name}/{self.to_version}"


class PlannedStaging(StageRecord, frozen=True):
    """What is to be done to put a version that was just trained into staging.

    Attributes:
        move: to be made; None when the version had its turn: who asks for an older training again does not push out
            what came after it.
        outcome: of that turn, as the ledger tells it; of a move to be made, that it was not made.
    """

    move: PlannedMove | None = None
    outcome: StagingOutcome = StagingOutcome(stands=False)


class Approval(BaseModel, frozen=True, extra="forbid"):
    """Who decided about a move, and why.

    Attributes:
        approved: whether it may be made.
        who: a person, or `policy` where the environment's policy approves by itself.
        why: the reason given.
        waits_for_person: a person must say yes, and nobody was asked: there was no form to show.
    """

    approved: bool
    who: str
    why: str
    waits_for_person: bool = False


def plan_promotion(
    versions: Sequence[VersionInfo],
    entries: Sequence[LedgerEntry],
    environment: EnvironmentName,
    wanted: str,
    after: str,
) -> PlannedMove:
    """Choose and check the version to promote.

    Args:
        versions: of the model, the newest first; not empty.
        entries: the model's ledger.
        environment: where to.
        wanted: number of the version; empty takes what stands in `after`, or else the newest that was tested and not
            refused.
        after: the environment that a version must stand in before; empty for none.

    Raises:
        RequestError: for a version that does not exist, or that stands there already.
        RegistryError: for one that was rejected, was not tested, or skips the environment before.
    """
    name = versions[0].name
    stands = standing_versions(versions, entries)
    to = _wanted(versions, wanted) if wanted else _chosen(versions, stands, environment, after)
    _require_tested(to)
    if stands.get(environment) == to.version:
        raise RequestError(f"version {to.version} of {name} stands in {environment} already; there is nothing to do")
    if after and stands.get(after) != to.version:
        now = f"version {stands[after]} does" if after in stands else "nothing does"
        raise RegistryError(
            f"version {to.version} of {name} does not stand in {after} ({now}), and only what was tested there goes to "
            f"{environment}; promote it to {after} first"
        )
    return _planned("promote", environment, stands.get(environment, ""), to)


def plan_staging(
    versions: Sequence[VersionInfo], entries: Sequence[LedgerEntry], number: str, after: str
) -> PlannedStaging:
    """Plan the move of a version that was just trained into staging, once; arguments and errors as `plan_promotion`."""
    info = _wanted(versions, number)
    place = (info.version, info.tags.get(BUNDLE_DIGEST_TAG, ""))
    turns = (one for one in history(entries, STAGING) if (one.to_version, one.bundle_digest) == place)
    turn = next(turns, None)
    stands = standing_versions(versions, entries).get(STAGING) == number
    if turn:
        compared = _comparison_of(turn)
        return PlannedStaging(outcome=StagingOutcome(stands=stands, replaced=turn.from_version, comparison=compared))
    if stands:  # set before there was a ledger
        return PlannedStaging(outcome=StagingOutcome(stands=True))
    return PlannedStaging(move=plan_promotion(versions, entries, STAGING, number, after))


def plan_rollback(
    versions: Sequence[VersionInfo], entries: Sequence[LedgerEntry], environment: EnvironmentName, steps: int
) -> PlannedMove:
    """Find the version that stood in an environment so many moves ago.

    Steps go back through the versions that stood there in turn: after a rollback, the next step goes further back.

    Raises:
        RequestError: when the history does not go back so far.
        RegistryError: when that version is gone or was rejected since, or its number is that of another bundle now.
    """
    name = versions[0].name
    past = _trail(entries, environment)
    if len(past) <= steps:
        known = f"only {len(past) - 1} earlier" if len(past) > 1 else "no earlier"
        raise RequestError(
            f"{environment} of {name} has {known} version to go back to; `keeneye status {name}` shows all"
        )
    number = past[-1 - steps]
    found = next((one for one in versions if one.version == number), None)
    if found is None:
        raise RegistryError(f"version {number} of {name} stood in {environment} before, and is no longer registered")
    if found.tags.get(STATUS_TAG) == "rejected":
        raise RegistryError(f"version {number} of {name} was rejected since: {found.tags.get(REASONS_TAG, '')}")
    _require_same(found, entries, environment)
    return _planned("rollback", environment, past[-1], found)


def _require_same(info: VersionInfo, entries: Sequence[LedgerEntry], environment: str) -> None:
    """Refuse a version that has the number of the one that stood there, and not its bundle."""
    stood = (one.bundle_digest for one in history(entries, environment) if one.to_version == info.version)
    before, now = next(stood, ""), info.tags.get(BUNDLE_DIGEST_TAG, "")
    if not now or before not in {"", now}:
        holds = "another bundle: the model was deleted and registered again" if now else "no bundle of Keeneye"
        raise RegistryError(
            f"version {info.version} of {info.name} is not what stood in {environment} before, it holds {holds}; "
            "promote a version instead"
        )


def standing_versions(versions: Sequence[VersionInfo], entries: Sequence[LedgerEntry]) -> dict[str, str]:
    """Return environment to the number of the version that stands there.

    The ledger knows; of an environment that it says nothing of, the alias does, set before there was a ledger.
    """
    of_aliases = {alias: info.version for info in versions for alias in info.aliases}
    return of_aliases | {name: entry.to_version for name, entry in standing(entries).items()}


def _comparison_of(entry: LedgerEntry) -> VersionComparison | None:
    try:
        return VersionComparison.model_validate(entry.evidence.get("comparison"))
    except ValidationError:  # there was none, or an older Keeneye wrote it
        return None


def _trail(entries: Sequence[LedgerEntry], environment: str) -> list[str]:
    """Return the versions as if no move had ever been taken back: a rollback removes what it left behind."""
    trail: list[str] = []
    for entry in entries:
        if entry.kind != EntryKind.DONE or entry.environment != environment:
            continue
        if not trail and entry.from_version:
            trail.append(entry.from_version)
        if entry.action == "rollback" and entry.to_version in trail:
            del trail[_last(trail, entry.to_version) + 1 :]
        else:
            trail.append(entry.to_version)
    return trail


def _last(trail: Sequence[str], version: str) -> int:
    return len(trail) - 1 - list(reversed(trail)).index(version)


def _wanted(versions: Sequence[VersionInfo], number: str) -> VersionInfo:
    found = next((one for one in versions if one.version == number), None)
    if found is None:
        numbers = ", ".join(one.version for one in versions[:5])
        raise RequestError(f"{versions[0].name} has no version {number}; the newest are {numbers}")
    return found


def _chosen(versions: Sequence[VersionInfo], stands: Mapping[str, str], environment: str, after: str) -> VersionInfo:
    name = versions[0].name
    if after:
        if after not in stands:
            raise RegistryError(f"no version of {name} stands in {after}; promote one there before {environment}")
        return _wanted(versions, stands[after])
    offered = (one for one in versions if one.tags.get(STATUS_TAG) in OFFERED_STATUSES)
    chosen = next(offered, None)
    if chosen is None:
        raise RegistryError(
            f"no version of {name} has passed its gate, or staging refused those that did; train one, or name one with "
            "--version"
        )
    return chosen


def _require_tested(info: VersionInfo) -> None:
    status = info.tags.get(STATUS_TAG, "")
    if status == "rejected":
        why = info.tags.get(REASONS_TAG) or "no reason was kept"
        raise RegistryError(f"version {info.version} of {info.name} was rejected: {why}; promote one that passed")
    if status not in TESTED_STATUSES or not info.tags.get(BUNDLE_DIGEST_TAG):
        raise RegistryError(
            f"version {info.version} of {info.name} was not tested by Keeneye (status {status or 'none'}); train it "
            "with `keeneye train`"
        )


def _planned(action: str, environment: EnvironmentName, from_version: str, to: VersionInfo) -> PlannedMove:
    return PlannedMove(
        action=action,
        environment=environment,
        model_name=to.name,
        from_version=from_version,
        to_version=to.version,
        bundle_digest=to.tags[BUNDLE_DIGEST_TAG],
    )
