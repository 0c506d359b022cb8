"""The model registry: versions of registered models, their tags and aliases, and the bundle behind a version."""

import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.entities.model_registry import RegisteredModel as MlflowModel
from mlflow.exceptions import MlflowException

from tasks.bundle.format import bundle_digest, read_model_card
from tasks.errors import BundleError, RegistryError
from tasks.stores.home import Home
from tasks.tracking.client import answered, asked_once, connect
from tasks.tracking.packaging import BUNDLE_ARTIFACT, log_model
from tasks.tracking.runs import RUN_KEY_TAG, Run

STAGING: Final = "staging"
POLICY = "policy"
"""Who answers for a move that no person had to approve."""
STATUS_TAG = "keeneye.status"
REASONS_TAG = "keeneye.reasons"
BUNDLE_DIGEST_TAG = "keeneye.bundle_digest"
DATASET_DIGEST_TAG = "keeneye.dataset_digest"
MAX_TAG_CHARACTERS = 5000
PAGE_ROWS = 500


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """A registered version as the registry tells it.

    `created_ms` is its own creation and `model_created_ms` that of its model, in ms since 1970, UTC.
    """

    name: str
    version: str
    run_id: str
    tags: dict[str, str]
    aliases: tuple[str, ...]
    created_ms: int = 0
    model_created_ms: int = 0

    @property
    def uri(self) -> str:
        """Its `models:/` address."""
        return f"models:/{self.name}/{self.version}"

    def named_since_ms(self, qualifier: str) -> int:
        """Since when its number, or an alias of its model, can mean what it means now; ms since 1970, UTC.

        A model that was deleted and registered again has the numbers and aliases of old.
        """
        return self.created_ms if qualifier == self.version else self.model_created_ms


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A registered model as the registry tells it; `aliases` maps alias to version."""

    name: str
    created_ms: int
    aliases: dict[str, str]


class Registry:
    """The registered models of one MLflow."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._client: MlflowClient = connect(home)

    def version(self, name: str, version: str) -> VersionInfo:
        """Return one version.

        Raises:
            RegistryError: when there is none.
        """
        with answered(self._home):
            return self._info(self._client.get_model_version(name, version))

    def resolve(self, model_uri: str) -> VersionInfo:
        """Return the version that `models:/NAME@ALIAS` or `models:/NAME/VERSION` means now.

        Raises:
            RegistryError: when there is none.
        """
        address = model_uri.removeprefix("models:/")
        name, separator, alias = address.partition("@")
        with answered(self._home):
            if separator:
                return self._info(self._client.get_model_version_by_alias(name, alias))
            name, _, number = address.rpartition("/")
            return self._info(self._client.get_model_version(name, number))

    def models(self) -> list[RegisteredModel]:
        """Return all registered models, by name."""
        found: list[RegisteredModel] = []
        token = None
        while True:
            with answered(self._home):
                page = self._client.search_registered_models(max_results=PAGE_ROWS, page_token=token)
            found += [
                RegisteredModel(one.name, int(one.creation_timestamp), {a: str(v) for a, v in one.aliases.items()})
                for one in page
            ]
            token = page.token
            if not token:
                return sorted(found, key=lambda one: one.name)

    def versions(self, name: str) -> list[VersionInfo]:
        """Return a model's versions, the newest first; none of a model that is not there."""
        if set(name) & set("'\\"):  # which MLflow's filters cannot hold; Keeneye registers no such name
            return []
        with answered(self._home):
            known = self._client.search_registered_models(f"name = '{name}'", max_results=1)
        if not known:
            return []
        found: list[VersionInfo] = []
        token = None
        while True:
            with answered(self._home):
                page = self._client.search_model_versions(f"name = '{name}'", max_results=PAGE_ROWS, page_token=token)
            found += [_version_info(one, known[0]) for one in page]
            token = page.token
            if not token:
                return sorted(found, key=lambda one: -int(one.version))

    def metrics(self, info: VersionInfo) -> dict[str, float]:
        """Return the figures of the run that made a version; none when the run is gone."""
        with answered(self._home):
            try:
                return dict(self._client.get_run(info.run_id).data.metrics)
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return {}
                raise

    def cached_bundle(self, info: VersionInfo) -> Path:
        """Return the bundle of a version, fetched once and kept under its digest in the home.

        What was damaged meanwhile is fetched anew. Nothing removes what is kept: its folders may be deleted to free
        the disk, and come back when they are needed.

        Raises:
            RegistryError: when the version holds no bundle.
            BundleError: when the registry's own copy is not what was registered.
        """
        digest = info.tags.get(BUNDLE_DIGEST_TAG, "")
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise RegistryError(f"{info.uri} holds no Keeneye bundle; name a model that Keeneye registered")
        kept = self._home.bundles_path / digest
        with self._home.lock(f"bundle-{digest}"):  # else one process could remove what another has just fetched
            if not _holds_bundle(kept, digest):
                self._fetch_kept(info, digest, kept)
        return kept

    def _fetch_kept(self, info: VersionInfo, digest: str, kept: Path) -> None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=kept.parent) as scratch:
            bundle = self.fetch_bundle(info.uri, Path(scratch))
            read_model_card(bundle, expected_digest=digest)
            if kept.exists():
                shutil.rmtree(kept)
            bundle.rename(kept)

    def version_of_key(self, name: str, run_key: str) -> VersionInfo | None:
        """Return the version that a run key has registered, or None."""
        with answered(self._home):
            number = self._number_of_key(name, run_key)
            return self._info(self._client.get_model_version(name, number)) if number else None

    def _has_model(self, name: str) -> bool:
        return bool(self._client.search_registered_models(f"name = '{name}'", max_results=1))

    def _number_of_key(self, name: str, run_key: str) -> str | None:
        query = f"name = '{name}' and tags.`{RUN_KEY_TAG}` = '{run_key}'"
        found = self._client.search_model_versions(query, max_results=1)
        return str(found[0].version) if found else None

    def register(
        self, run: Run, name: str, run_key: str, bundle: Path, example: bytes, tags: Mapping[str, str]
    ) -> VersionInfo:
        """Log a bundle as a pyfunc model and register it; a run key registers one version, however often asked.

        Args:
            run: the MLflow run it belongs to.
            name: registered model.
            run_key: identifies the request.
            bundle: the bundle's folder.
            example: an image file, for the model's input example.
            tags: of the version, set together with its creation.
        """
        with self._home.lock(f"register-{name}"):
            known = self.version_of_key(name, run_key)
            if known:
                return known
            with answered(self._home):
                logged = log_model(self._client, run.run_id, run.experiment_id, bundle, example)
            own_tags = {RUN_KEY_TAG: run_key, BUNDLE_DIGEST_TAG: bundle_digest(bundle)}
            with answered(self._home):
                if not self._has_model(name):
                    asked_once(
                        lambda: self._client.create_registered_model(name), lambda: self._has_model(name) or None
                    )
                # The tags come with the creation: a kill right after it leaves a version that is found again.
                created = asked_once(
                    lambda: str(
                        self._client.create_model_version(
                            name, logged.model_uri, run.run_id, tags={**own_tags, **tags}, model_id=logged.model_id
                        ).version
                    ),
                    lambda: self._number_of_key(name, run_key),
                )
            return self.version(name, created)

    def set_status(self, info: VersionInfo, status: str, reasons: tuple[str, ...]) -> VersionInfo:
        """Tag a version with its status and the reasons for it."""
        with answered(self._home):
            for tag, value in ((STATUS_TAG, status), (REASONS_TAG, "; ".join(reasons)[:MAX_TAG_CHARACTERS])):
                self._client.set_model_version_tag(info.name, info.version, tag, value)
        return self.version(info.name, info.version)

    def remove_alias(self, info: VersionInfo, alias: str) -> VersionInfo:
        """Take an alias away from a version, if it is the one that has it."""
        if alias in self.version(info.name, info.version).aliases:
            with answered(self._home):
                self._client.delete_registered_model_alias(info.name, alias)
        return self.version(info.name, info.version)

    def set_alias(self, info: VersionInfo, alias: str) -> VersionInfo:
        """Move an alias to a version."""
        with answered(self._home):
            self._client.set_registered_model_alias(info.name, alias, info.version)
        return self.version(info.name, info.version)

    def fetch_bundle(self, model_uri: str, target: Path) -> Path:
        """Download the bundle of a `models:/` address into a folder; returns the bundle's folder.

        Raises:
            RegistryError: when there is no such model, or it holds no bundle.
        """
        with answered(self._home):
            try:
                fetched = Path(mlflow.artifacts.download_artifacts(model_uri, dst_path=str(target)))
            except FileNotFoundError as error:
                raise RegistryError(
                    f"the files of {model_uri} cannot be fetched: {error}; delete that version and train again"
                ) from error
        bundle = fetched / "artifacts" / BUNDLE_ARTIFACT
        if not bundle.is_dir():
            raise RegistryError(f"{model_uri} holds no Keeneye bundle; name a model that Keeneye registered")
        return bundle

    def _info(self, found: ModelVersion) -> VersionInfo:
        return _version_info(found, self._client.get_registered_model(found.name))


def _version_info(found: ModelVersion, model: MlflowModel) -> VersionInfo:
    version = str(found.version)
    return VersionInfo(
        name=found.name,
        version=version,
        run_id=found.run_id,
        tags=dict(found.tags),
        aliases=tuple(sorted(alias for alias, number in model.aliases.items() if str(number) == version)),
        created_ms=int(found.creation_timestamp),
        model_created_ms=int(model.creation_timestamp),
    )


def _holds_bundle(folder: Path, digest: str) -> bool:
    try:
        read_model_card(folder, expected_digest=digest)
    except BundleError:
        return False
    return True
