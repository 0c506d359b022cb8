"""One environment's view: of each model the version that stands there, by the alias of its name and by nothing else.

Whatever asks the registry, the states or the rules of projects sees this view; so it holds for every protocol alike.
"""

from collections.abc import Collection
from dataclasses import replace

from tasks.errors import RegistryError
from tasks.serving.arns import ProjectArn, VersionArn
from tasks.serving.errors import UnknownModel, UnknownVersion
from tasks.serving.paging import Page
from tasks.serving.projects import Projects, Version
from tasks.serving.service import PredictionService
from tasks.serving.states import Status, VersionState, VersionStates
from tasks.stores.home import Home
from tasks.tracking.registry import RegisteredModel, Registry, VersionInfo


class EnvironmentRegistry(Registry):
    """A registry of which only what stands in one environment is seen."""

    def __init__(self, home: Home, environment: str) -> None:
        super().__init__(home)
        self._environment = environment

    def version(self, name: str, version: str) -> VersionInfo:
        """Refuse a numbered version: a move would not move it.

        Raises:
            UnknownVersion: always.
        """
        raise _elsewhere(f"{name}/{version}", self._environment)

    def resolve(self, model_uri: str) -> VersionInfo:
        """Return the version that stands here, by `models:/NAME@ENVIRONMENT`.

        Raises:
            UnknownVersion: for any other alias, and for a number.
            UnknownModel: when no version of the model stands here.
            RegistryError: when one does, and the registry refuses it.
        """
        address = model_uri.removeprefix("models:/")
        name, _, alias = address.partition("@")
        if alias != self._environment:
            raise _elsewhere(address, self._environment)
        try:
            return self._seen(super().resolve(model_uri))
        except RegistryError:
            # MLflow refuses for many reasons; only its own list tells that nothing stands here.
            if any(model.name == name for model in self.models()):
                raise
            raise UnknownModel(
                f"no version of {name[:100]!r} stands in {self._environment}, which is all that is served here"
            ) from None

    def models(self) -> list[RegisteredModel]:
        """Return the models of which a version stands here, by name."""
        return [
            replace(model, aliases={self._environment: model.aliases[self._environment]})
            for model in super().models()
            if self._environment in model.aliases
        ]

    def versions(self, name: str) -> list[VersionInfo]:
        """Return the one version that stands here, or none."""
        return [self._seen(info) for info in super().versions(name) if self._environment in info.aliases]

    def _seen(self, info: VersionInfo) -> VersionInfo:
        return replace(info, aliases=(self._environment,))


class EnvironmentStates(VersionStates):
    """States of which only those of one environment's alias are seen; what others start and stop is left to them."""

    def __init__(self, url: str, environment: str) -> None:
        super().__init__(url)
        self._environment = environment

    def all(self, model: str) -> dict[str, VersionState]:
        """Return the state of the alias, if it was ever stopped or started."""
        return {name: state for name, state in super().all(model).items() if name == self._environment}

    def having(self, statuses: Collection[Status]) -> list[VersionState]:
        """Return the states of the alias, of all models, that are one of `statuses`."""
        return [state for state in super().having(statuses) if state.qualifier == self._environment]


class EnvironmentProjects(Projects):
    """Projects whose one version is the alias of an environment."""

    def __init__(
        self,
        environment: str,
        registry: Registry,
        states: VersionStates,
        service: PredictionService,
        *,
        region: str,
        account: str,
    ) -> None:
        super().__init__(registry, states, service, region=region, account=account)
        self._environment = environment

    async def require(self, arn: VersionArn) -> None:
        """Check that an ARN is one of ours, and that of the environment's alias.

        Raises:
            UnknownVersion: when it is another version's.
            UnknownModel: when it is of another region or account.
        """
        if arn.qualifier != self._environment:
            raise _elsewhere(f"{arn.name} version {arn.qualifier}", self._environment)
        await super().require(arn)

    async def describe_versions(
        self, arn: ProjectArn, *, qualifiers: Collection[str] = (), token: str = "", limit: int = 100
    ) -> Page[Version]:
        """List the alias of the environment, whose ARN is the one that answers; raises as the base does."""
        page = await super().describe_versions(arn, qualifiers=(self._environment,), token=token, limit=limit)
        return page if not qualifiers or self._environment in qualifiers else Page([], "")


def _elsewhere(address: str, environment: str) -> UnknownVersion:
    return UnknownVersion(
        f"{address[:200]} is not served here: this endpoint answers only for what stands in {environment}; "
        f"ask for NAME@{environment}"
    )
