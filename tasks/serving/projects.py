"""Projects and their versions: what there is, what runs, and how it is started and stopped.

A project is a registered model. A numbered version answers once it is started; an alias is started by being set and
follows the registry, until somebody stops it. Free of any wire format.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial

from tasks.errors import RegistryError, RequestError
from tasks.serving.arns import Owner, ProjectArn, VersionArn, fits_arn, is_number
from tasks.serving.errors import StateConflict, UnknownModel, UnknownVersion
from tasks.serving.paging import Page, Place, page_of
from tasks.serving.states import Status, VersionState, VersionStates
from tasks.serving.transitions import ModelService, Transitions
from tasks.tracking.registry import BUNDLE_DIGEST_TAG, RegisteredModel, Registry, VersionInfo

DEFAULT_OWNER = Owner(region="us-east-1", account="000000000000")
F1_METRIC = "test.macro_f1"
"""The mean of the labels' F1 at their thresholds, of a classifier as of a detector."""


@dataclass(frozen=True, slots=True)
class Project:
    """A registered model; `created_ms` is in ms since 1970, UTC."""

    arn: ProjectArn
    created_ms: int


@dataclass(frozen=True, slots=True)
class Version:
    """A version, named by its number or by an alias.

    Attributes:
        arn: its address; `arn.qualifier` is the number or the alias.
        info: the registry's record; of an alias, that of the version it points to.
        state: None when it was never started nor stopped.
        status: what it does now; None when it only has been trained.
        f1: mean F1 of its labels on the test images, 0 to 1; None when its run does not tell.
    """

    arn: VersionArn
    info: VersionInfo
    state: VersionState | None
    f1: float | None = None

    @property
    def status(self) -> Status | None:
        """What it does now; None when it has been trained and nobody has started it."""
        if self.state:
            return self.state.status
        return None if is_number(self.arn.qualifier) else Status.RUNNING


class Projects:
    """The projects and versions of a registry, with their states.

    Attributes:
        owner: what all its ARNs start with.
        transitions: the starts and stops of this process: resume them at its start, close them at its end.
    """

    def __init__(
        self,
        registry: Registry,
        states: VersionStates,
        service: ModelService,
        *,
        region: str = DEFAULT_OWNER.region,
        account: str = DEFAULT_OWNER.account,
    ) -> None:
        """Make the rules.

        Args:
            registry: of the models.
            states: of their versions.
            service: loads models.
            region: part of every ARN.
            account: part of every ARN, 12 digits.
        """
        self.owner = Owner(region, account)
        self.transitions = Transitions(states, service)
        self._registry, self._states, self._service = registry, states, service

    async def describe_projects(
        self, *, names: Collection[str] = (), visible: Callable[[str], bool], token: str = "", limit: int = 100
    ) -> Page[Project]:
        """List projects by name; models whose names do not fit an ARN are left out.

        Args:
            names: only these; unknown ones are left out. Empty means all.
            visible: whether the asker may see a project, by its name.
            token: of the page before.
            limit: projects per page.

        Raises:
            InvalidPageToken: when the token is of another list.
            EnvironmentFailed: when the registry does not answer.
        """
        wanted = [
            Project(self._project_arn(model), model.created_ms)
            for model in await asyncio.to_thread(self._registry.models)
            if fits_arn(model.name) and visible(model.name) and (not names or model.name in names)
        ]
        scope = repr(("projects", sorted(set(names))))
        return page_of(wanted, lambda one: (0, one.arn.name), scope=scope, token=token, limit=limit)

    async def describe_versions(
        self, arn: ProjectArn, *, qualifiers: Collection[str] = (), token: str = "", limit: int = 100
    ) -> Page[Version]:
        """List the versions of a project, the newest first; those that hold no Keeneye bundle are left out.

        Args:
            arn: of the project.
            qualifiers: only these numbers and aliases; unknown ones are left out. Empty means all numbered versions.
            token: of the page before.
            limit: versions per page.

        Raises:
            UnknownModel: when there is no such project.
            InvalidPageToken: when the token is of another list.
            EnvironmentFailed: when the registry or the states' database does not answer.
        """
        page, states = await asyncio.to_thread(self._page_of_versions, arn, qualifiers, token, limit)
        self.transitions.carry_on(states)
        return page

    async def require(self, arn: VersionArn) -> None:
        """Check that a version's ARN is one of ours; cheap, and without the registry, once the service knows it.

        The digits of a numbered version must be those of its creation. An alias is not looked up here: whoever
        resolves it says whether it is there.

        Raises:
            UnknownVersion: when there is no such version.
            ModelUnavailable: when the registry does not answer and the version is not known yet.
        """
        self._require_own(arn)
        if not is_number(arn.qualifier):
            return
        with contextlib.suppress(UnknownModel, UnknownVersion):
            if str((await self._service.version(arn.name, arn.qualifier)).created_ms) == arn.digits:
                return
        raise _unknown(arn)

    async def start(self, arn: VersionArn, *, min_units: int = 1, max_units: int | None = None) -> Status:
        """Start a version; it is loaded behind, and then RUNNING or FAILED.

        Args:
            arn: of the version.
            min_units: inference units to start with; kept and told, one process serves any number.
            max_units: to grow to.

        Raises:
            RequestError: when there are fewer units at most than at least.
            UnknownVersion: when there is no such version.
            StateConflict: when it runs, or is being started or stopped.
        """
        if max_units is not None and max_units < min_units:
            raise RequestError(f"MaxInferenceUnits {max_units} is below MinInferenceUnits {min_units}; raise it")
        startable: set[Status | None] = {Status.STOPPED, Status.FAILED}
        if is_number(arn.qualifier):
            startable.add(None)
        return await self._change(arn, startable, Status.STARTING, (min_units, max_units))

    async def stop(self, arn: VersionArn) -> Status:
        """Stop a version; what it has admitted is still answered.

        Raises:
            UnknownVersion: when there is no such version.
            StateConflict: when it does not run.
        """
        stoppable: set[Status | None] = {Status.RUNNING}
        if not is_number(arn.qualifier):
            stoppable.add(None)
        return await self._change(arn, stoppable, Status.STOPPING, None)

    def _page_of_versions(
        self, arn: ProjectArn, qualifiers: Collection[str], token: str, limit: int
    ) -> tuple[Page[Version], list[VersionState]]:
        model = self._model(arn)
        rows = self._states.all(model.name)
        infos = [info for info in self._registry.versions(model.name) if BUNDLE_DIGEST_TAG in info.tags]
        everything = [
            Version(self._version_arn(info, qualifier), info, _state_of(info, rows.get(qualifier)))
            for info in infos
            for qualifier in _qualifiers_of(info)
        ]
        wanted = [one for one in everything if _is_wanted(one.arn.qualifier, qualifiers)]
        scope = repr(("versions", arn.name, sorted(set(qualifiers))))
        page = page_of(wanted, _newest_first, scope=scope, token=token, limit=limit)
        told = [replace(one, f1=self._registry.metrics(one.info).get(F1_METRIC)) for one in page.items]
        return Page(told, page.next_token), [one.state for one in everything if one.state]

    async def _change(
        self, arn: VersionArn, expected: Collection[Status | None], to: Status, units: tuple[int, int | None] | None
    ) -> Status:
        self._require_own(arn)
        since_ms = (await asyncio.to_thread(self._info, arn)).named_since_ms(arn.qualifier)
        begin = self.transitions.begin
        if not await begin(arn.name, arn.qualifier, expected, to, units=units, since_ms=since_ms):
            state = await asyncio.to_thread(partial(self._states.get, arn.name, arn.qualifier, since_ms=since_ms))
            raise StateConflict(f"version {arn.qualifier} of {arn.name} {_now(arn, state)}")
        return to

    def _require_own(self, arn: ProjectArn | VersionArn) -> None:
        if arn.owner != self.owner:
            raise UnknownModel(f"{arn} is not served here: the ARNs of this endpoint start with {self.owner}")

    def _model(self, arn: ProjectArn) -> RegisteredModel:
        self._require_own(arn)
        for model in self._registry.models():
            if model.name == arn.name and str(model.created_ms) == arn.digits:
                return model
        raise UnknownModel(f"there is no project {arn}; DescribeProjects lists all")

    def _info(self, arn: VersionArn) -> VersionInfo:
        separator = "/" if is_number(arn.qualifier) else "@"
        info = None
        with contextlib.suppress(RegistryError):
            info = self._registry.resolve(f"models:/{arn.name}{separator}{arn.qualifier}")
        if info is None or (is_number(arn.qualifier) and str(info.created_ms) != arn.digits):
            raise _unknown(arn)
        return info

    def _project_arn(self, model: RegisteredModel) -> ProjectArn:
        return ProjectArn(self.owner, model.name, str(model.created_ms))

    def _version_arn(self, info: VersionInfo, qualifier: str) -> VersionArn:
        # An alias moves, and its ARN does not: its digits are the model's.
        return VersionArn(self.owner, info.name, qualifier, str(info.named_since_ms(qualifier)))


def _unknown(arn: VersionArn) -> UnknownVersion:
    return UnknownVersion(f"there is no version {arn}; DescribeProjectVersions lists all")


def _state_of(info: VersionInfo, row: VersionState | None) -> VersionState | None:
    return row if row and row.changed_ms >= info.named_since_ms(row.qualifier) else None


def _qualifiers_of(info: VersionInfo) -> list[str]:
    return [info.version, *(alias for alias in info.aliases if fits_arn(alias) and not is_number(alias))]


def _is_wanted(qualifier: str, qualifiers: Collection[str]) -> bool:
    return qualifier in qualifiers if qualifiers else is_number(qualifier)


def _newest_first(version: Version) -> Place:
    return -int(version.info.version), version.arn.qualifier


def _now(arn: VersionArn, state: VersionState | None) -> str:
    if state is None:
        return "has not been started" if is_number(arn.qualifier) else "is RUNNING: an alias is started by being set"
    return f"is {state.status}"
