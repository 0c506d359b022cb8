"""Environments: the ledger says which version stands where, and the registry's aliases are made to say the same.

A move is begun (an entry), exposed (the alias), tested by the caller, and confirmed or taken back (an entry). Whatever
a crash leaves of it, the next command mends: it takes back what was left open, and sets the aliases anew.
"""

import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tasks.errors import RegistryError, RequestError
from tasks.tracking.environment_names import ENVIRONMENTS, EnvironmentName
from tasks.tracking.ledger import (
    EntryKind,
    Ledger,
    LedgerConflict,
    LedgerEntry,
    NewEntry,
    end_of,
    ending,
    open_move,
    standing,
)
from tasks.tracking.processes import has_ended, this_process
from tasks.tracking.registry import BUNDLE_DIGEST_TAG, Registry, VersionInfo

LEASE_SECONDS = 600.0
PROCESS_EVIDENCE = "process"


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A promotion or a rollback that somebody wants.

    Attributes:
        model: registered model.
        environment: where the version is to stand.
        to_version: the version.
        action: "promote" or "rollback".
        who: person who answers for it.
        why: for people.
        evidence: any JSON object: gate, comparison, approval.
        from_version: the version that it was compared with, "" for none; another one standing there is a conflict.
            None asks for nothing.
        bundle_digest: of the bundle that was tested; another one in the registry is refused. "" asks for nothing.
    """

    model: str
    environment: EnvironmentName
    to_version: str
    action: str
    who: str
    why: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    from_version: str | None = None
    bundle_digest: str = ""


@dataclass(frozen=True, slots=True)
class _Place:
    """The version that an environment's alias must name ("" for none), and its bundle's digest ("" for any)."""

    version: str
    bundle_digest: str


class Environments:
    """What stands in staging and production, for threads and processes alike."""

    def __init__(self, registry: Registry, ledger: Ledger) -> None:
        self._registry = registry
        self._ledger = ledger

    def begin(self, move: Move, *, lease_seconds: float = LEASE_SECONDS) -> LedgerEntry:
        """Open a move, after mending what earlier ones left; nobody else can move the model until it has ended.

        Args:
            move: what is wanted.
            lease_seconds: after which others may take the move back, even while this process lives.

        Returns:
            The BEGUN entry, whose `evidence` also tells of this process.

        Raises:
            LedgerConflict: when another move is open, or another version stands there than the move says.
            RegistryError: when there is no such version, it holds another bundle, or it stands there already.
            RequestError: when there is no such environment, or the ledger cannot keep what the move says.
            EnvironmentFailed: when registry or ledger do not answer.
        """
        if move.environment not in ENVIRONMENTS:
            raise RequestError(f"there is no environment {move.environment!r}; name staging or production")
        info = self._version(move.model, move.to_version, move.bundle_digest)
        self.repair(move.model)
        # The alias is read first: one that a rival sets from now on comes with a rival's entry.
        aliased = _holder(self._versions(move.model), move.environment)
        entries = self._ledger.entries(move.model)
        begun = _begun(move, info, entries, aliased)
        return self._ledger.append(begun, expected_sequence=len(entries), lease_seconds=lease_seconds)

    def expose(self, begun: LedgerEntry) -> VersionInfo:
        """Set the environment's alias to the new version.

        Raises:
            LedgerConflict: when somebody else has ended the move.
            RegistryError: when the version is gone, or holds another bundle.
            EnvironmentFailed: when registry or ledger do not answer.
        """
        self._refuse_ended(begun)
        info = self._version(begun.model, begun.to_version, begun.bundle_digest)
        if begun.environment not in info.aliases:
            info = self._registry.set_alias(info, begun.environment)
        self._refuse_ended(begun)  # its lease may have been over, and others faster
        return info

    def confirm(self, begun: LedgerEntry, evidence: Mapping[str, Any]) -> LedgerEntry:
        """End a move: the new version stands.

        Args:
            begun: what `begin` returned.
            evidence: any JSON object: what was tested; is added to that of the beginning.

        Returns:
            The DONE entry; the earlier one when the move was confirmed before.

        Raises:
            LedgerConflict: when somebody else took it back.
            RegistryError: when the version is gone, or holds another bundle.
            RequestError: when the ledger cannot keep the evidence.
            EnvironmentFailed: when registry or ledger do not answer.
        """
        if end_of(self._ledger.entries(begun.model), begun) is None:
            self.expose(begun)  # others may have begun to take it back, and died of it
        known = {name: value for name, value in begun.evidence.items() if name != PROCESS_EVIDENCE}
        return self._end(begun, ending(begun, EntryKind.DONE, begun.why, {**known, **evidence}))

    def take_back(self, begun: LedgerEntry, why: str, evidence: Mapping[str, Any]) -> LedgerEntry:
        """End a move: the alias is what it was before, or removed when that version is gone.

        Args:
            begun: what `begin` returned.
            why: for people.
            evidence: any JSON object: what was tested.

        Returns:
            The REVERTED entry; the earlier one when the move was taken back before, by whomever.

        Raises:
            LedgerConflict: when the move was confirmed.
            RequestError: when the ledger cannot keep the evidence.
            EnvironmentFailed: when registry or ledger do not answer.
        """
        return self._take_back(begun, ending(begun, EntryKind.REVERTED, why, evidence))

    def repair(self, model: str) -> list[str]:
        """Take back a move that was left open, and set the aliases to what the ledger says.

        A move counts as left when its lease is over, or its process was on this host and has ended. An environment
        that the ledger has never heard of is left alone, and so is that of a move that others are about.

        Returns:
            What was done or found wrong, a sentence each.

        Raises:
            EnvironmentFailed: when registry or ledger do not answer.
        """
        entries = self._ledger.entries(model)
        begun = open_move(entries)
        done = self._repair_left(begun) if begun else []
        return done + (self._align(model) if entries else [])

    def _repair_left(self, begun: LedgerEntry) -> list[str]:
        why = _why_left(begun)
        if not why:
            return []
        who = f"repair on {socket.gethostname()}"
        end = replace(ending(begun, EntryKind.REVERTED, why, {}), action="repair", who=who)
        try:
            self._take_back(begun, end)
        except LedgerConflict:  # its process was still there, and has just confirmed it
            return []
        return [f"{begun}, but {why}: the move was taken back"]

    def _end(self, begun: LedgerEntry, end: NewEntry) -> LedgerEntry:
        entries = self._ledger.entries(begun.model)
        ended = end_of(entries, begun)
        if ended is None:
            try:
                return self._ledger.append(end, expected_sequence=len(entries))
            except LedgerConflict as lost:
                ended = lost.winner
        if ended.kind is not end.kind:
            self._align(begun.model)  # before it lost, this process may have moved the alias
            raise LedgerConflict(ended)
        return ended

    def _take_back(self, begun: LedgerEntry, end: NewEntry) -> LedgerEntry:
        entries = self._ledger.entries(begun.model)
        if end_of(entries, begun) is None:
            # The alias first: a kill in between leaves the move open, and no untested version exposed.
            place = _places(entries)[begun.environment]
            self._point(begun.model, begun.environment, place, self._versions(begun.model))
        return self._end(begun, end)

    def _refuse_ended(self, begun: LedgerEntry) -> None:
        ended = end_of(self._ledger.entries(begun.model), begun)
        if ended:
            self._align(begun.model)
            raise LedgerConflict(ended)

    def _align(self, model: str) -> list[str]:
        # The registry is read first: what a move begun in between changes is then not taken for an error.
        versions = self._versions(model)
        entries = self._ledger.entries(model)
        under_way = open_move(entries)
        places = _places(entries)
        if under_way:
            places.pop(under_way.environment)
        return [said for alias, place in places.items() for said in self._point(model, alias, place, versions)]

    def _point(self, model: str, alias: str, place: _Place, versions: Mapping[str, VersionInfo]) -> list[str]:
        """Make an alias name a place's version, if that is still registered; tell what was changed or is missing."""
        held, wanted = _holder(versions, alias), versions.get(place.version)
        if wanted and place.bundle_digest not in {"", wanted.tags.get(BUNDLE_DIGEST_TAG)}:
            wanted = None  # the model was deleted and registered again, with the numbers of old
        if wanted and wanted.version != held:
            self._registry.set_alias(wanted, alias)
        elif held and not wanted:
            self._registry.remove_alias(versions[held], alias)
        if place.version and not wanted:
            return [
                f"version {place.version} of {model}, which the ledger has in {alias}, is no longer registered as it "
                f"was: {alias} is empty until another version is moved there"
            ]
        if held != place.version:
            now = place.version or "none"
            return [f"{alias} of {model} was at version {held or 'none'} and is now at {now}, as the ledger says"]
        return []

    def _versions(self, model: str) -> dict[str, VersionInfo]:
        return {info.version: info for info in self._registry.versions(model)}

    def _version(self, model: str, version: str, bundle_digest: str) -> VersionInfo:
        info = self._registry.version(model, version)
        if bundle_digest not in {"", info.tags.get(BUNDLE_DIGEST_TAG)}:
            raise RegistryError(f"{info.uri} holds another bundle than was tested; nothing was moved, test that one")
        return info


def _begun(move: Move, info: VersionInfo, entries: Sequence[LedgerEntry], aliased: str) -> NewEntry:
    under_way = open_move(entries)
    if under_way:
        raise LedgerConflict(under_way)
    digest = info.tags.get(BUNDLE_DIGEST_TAG, "")
    return NewEntry(
        model=move.model,
        kind=EntryKind.BEGUN,
        action=move.action,
        environment=move.environment,
        from_version=_from_version(move, _Place(info.version, digest), entries, aliased),
        to_version=info.version,
        who=move.who,
        why=move.why,
        bundle_digest=digest,
        evidence={**move.evidence, PROCESS_EVIDENCE: this_process()},
    )


def _from_version(move: Move, to: _Place, entries: Sequence[LedgerEntry], aliased: str) -> str:
    stands = standing(entries).get(move.environment)
    # What was aliased before there was a ledger is known to the registry only.
    found = _places(entries).get(move.environment, _Place(aliased, "")).version
    if move.from_version not in {None, found}:
        if stands:
            raise LedgerConflict(stands)
        raise RegistryError(
            f"{move.environment} of {move.model} is at version {found or 'none'}, not at "
            f"{move.from_version or 'none'} as when it was compared; nothing was moved, compare again"
        )
    if stands and _Place(stands.to_version, stands.bundle_digest) == to:
        raise RegistryError(f"{stands}: it stands there already, nothing was moved")
    return found


def _places(entries: Sequence[LedgerEntry]) -> dict[str, _Place]:
    before = {one.environment: _Place(one.from_version, "") for one in entries if one.kind is not EntryKind.DONE}
    return before | {name: _Place(one.to_version, one.bundle_digest) for name, one in standing(entries).items()}


def _holder(versions: Mapping[str, VersionInfo], alias: str) -> str:
    return next((info.version for info in versions.values() if alias in info.aliases), "")


def _why_left(begun: LedgerEntry) -> str:
    if time.time_ns() // 1_000_000 >= begun.lease_until_ms:
        return "its time was over"
    return "its process has ended" if has_ended(begun.evidence.get(PROCESS_EVIDENCE)) else ""
